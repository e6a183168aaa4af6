"""The latency of an inference-free search, from its string, beside BM25's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from tiny_sparse import make_sparse_model, vocabulary

import cormorant as cm
from cormorant.eval.bench import run_bench


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    words = [word for word in vocabulary() if word.isalpha()]
    texts = [" ".join(words[n % 7 : n % 7 + 5]) for n in range(40)]
    lines = [
        json.dumps({"_id": f"d{n}", "title": "", "text": text}) for n, text in enumerate(texts)
    ]
    asked = [json.dumps({"_id": f"q{n}", "text": words[n % len(words)]}) for n in range(25)]
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text("\n".join(asked))
    pairs = "".join(f"q{n}\td{n}\t1\n" for n in range(25))
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{pairs}")
    return folder


def test_it_measures_both(corpus: Path, tmp_path: Path) -> None:
    model = make_sparse_model(tmp_path / "model", inference_free=True)
    told = io.StringIO()
    console = Console(file=told, width=200)
    value = run_bench(
        "sparse-latency",
        full=False,
        prepare=False,
        corpus=corpus,
        model=str(model),
        console=console,
    )
    assert value is not None
    assert [row["system"] for row in value["rows"]] == [
        "cormorant bm25",
        "cormorant sparse",
        "cormorant exact",
    ]
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in value["rows"])
    assert value["ratios"]["latency_vs_bm25"] > 0
    for name, given in (("sparse-latency", None), ("bm25", "some")):
        with pytest.raises(cm.InputError, match="--model"):
            run_bench(name, full=False, prepare=False, corpus=corpus, model=given, console=console)
