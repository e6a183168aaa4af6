"""The drafting benchmark, small: a model of a few steps, three collections of a few documents."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from tiny_models import make_model

from cormorant.errors import InputError
from cormorant.eval.bench import drafting, drafting_prompts, drafting_systems, run_bench
from cormorant.eval.training import drafting as training
from cormorant.eval.training.material import pairs_source
from cormorant.indexers.dense.settings import Dense

BIRDS = ["eel", "gull", "kelp", "mist", "reed", "tide", "rank", "crab", "clam"]


def texts() -> list[str]:
    return [
        f"The {bird} is a thing of the shore. It is seen on day {place} of the month. "
        f"Nobody has told where the {bird} goes in winter."
        for place, bird in enumerate(BIRDS)
    ]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name in drafting_prompts.SETS:
        folder = tmp_path / "data" / name
        (folder / "qrels").mkdir(parents=True)
        documents = [{"_id": f"d{n}", "title": "", "text": text} for n, text in enumerate(texts())]
        queries = [{"_id": f"q{n}", "text": f"when is the {b} seen"} for n, b in enumerate(BIRDS)]
        for file, rows in (("corpus", documents), ("queries", queries)):
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{file}.jsonl").write_text(lines)
        judged = "".join(f"q{n}\td{n}\t1\n" for n in range(len(BIRDS)))
        (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{judged}")
    return tmp_path / "data"


def test_the_benchmark_runs(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = str(make_model(tmp_path / "encoder"))
    monkeypatch.setattr(drafting_prompts, "Dense", lambda: Dense(model=encoder))
    monkeypatch.setattr(drafting, "PROMPTS", 8)
    monkeypatch.setattr(drafting, "PAIRS", 2)
    for module in (drafting, drafting_systems):
        monkeypatch.setattr(module, "MAX_TOKENS", 8)
    monkeypatch.setattr(training, "_TOKENIZER_EXAMPLES", 40)
    pairs = pairs_source("birds", [(f"when is day {n}?", "", t) for n, t in enumerate(texts())])
    settings = training.DraftingTraining(
        width=16, layers=2, heads=4, vocabulary=2000, window=1024, batch=1, steps=1
    )
    model = training.train_drafting_model([pairs], [], tmp_path / "run", settings).model
    out = Console(file=io.StringIO(), width=200)

    def run(model: str | None) -> Any:
        return run_bench(
            "drafting", full=False, prepare=False, corpus=corpus, model=model, console=out
        )

    found = run(f"{model},{model}")
    assert found["bench"] == "drafting"
    rows = {(row["system"], row["setting"]): row for row in found["rows"]}
    for size in (1, 8):
        for kind in ("extractive", "abstractive"):
            drafted = rows["cormorant", f"{kind}, batch {size}"]
            assert drafted["identical"] == 1.0
            assert drafted["tokens_per_forward"] >= 1.0
            assert drafted["beyond_plain_forwards"] == 0
            assert 0 <= drafted["realignment_share"] < 1
            plain = rows["transformers generate", f"{kind}, batch {size}"]
            assert plain["tokens_per_forward"] == 1
            assert "realignment_share" not in plain
    both = {
        "speed_vs_plain", "speed_vs_plain_batch8", "accepted_vs_prompt_lookup", "identical",
        "identical_batch8", "speed_vs_prompt_lookup", "speed_vs_assisted",
    }  # fmt: skip
    asked = both | {f"{name}_abstractive" for name in both}
    losses = {"never_right_vs_undrafted_95", "misled_vs_undrafted_95"}
    assert found["ratios"].keys() == asked | losses | {"certified_bfloat16"}
    assert found["ratios"]["identical"] == found["ratios"]["identical_abstractive"] == 1.0
    assert found["ratios"]["certified_bfloat16"] == 1.0
    assert rows["cormorant", "bfloat16, batch 8 against 1 undrafted"]["texts"] == 24
    with pytest.raises(InputError, match="model"):
        run(None)
