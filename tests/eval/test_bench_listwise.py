"""The listwise benchmark: what its scripted server gets wrong, and a run of it to the end."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cormorant.eval.bench.listwise import NOISES, SHUFFLES, bench
from cormorant.eval.bench.listwise_server import KNOWN_BY, Labels
from cormorant.rankers.language_models import openai
from cormorant.rankers.listwise.settings import Listwise
from cormorant.stages import Completion

TEXTS = [f"passage {number:03} of a hundred" for number in range(100)]


class Direct:
    """A scripted server without the way to it."""

    def __init__(self, noise: float, noise_of: str, seed: int) -> None:
        self.grades = np.random.default_rng(seed).integers(0, 3, len(TEXTS))
        known = {text[:KNOWN_BY]: float(grade) for text, grade in zip(TEXTS, self.grades)}  # noqa: B905
        self.labels = Labels({"q": known}, noise, noise_of, seed)
        self.calls = 0

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        self.calls += 1
        return Completion(self.labels(prompt), 0, 0)

    def gained(self, method: str, shuffles: int = 1) -> float:
        """The discounted gain of the first ten places."""
        stage = Listwise(self, method=method, shuffles=shuffles, prior_weight=0.0, concurrency=1)
        order = stage.judge("q", TEXTS).order[:10]
        return float((self.grades[list(order)] / np.log2(np.arange(10) + 2)).sum())


@pytest.mark.parametrize("noise", [0.0, 0.5, 2.0])
def test_under_noise_of_the_passage_one_call_does_what_nine_windows_do(noise: float) -> None:
    for seed in range(5):
        one, nine = Direct(noise, "passage", seed), Direct(noise, "passage", seed)
        assert one.gained("full") == nine.gained("windows")
        assert (one.calls, nine.calls) == (1, 9)


def test_under_noise_of_the_call_equal_calls_do_no_worse_than_windows() -> None:
    for noise in NOISES:
        windows = [Direct(noise, "call", seed).gained("windows") for seed in range(20)]
        shuffled = [Direct(noise, "call", seed).gained("full", SHUFFLES) for seed in range(20)]
        assert np.mean(shuffled) >= np.mean(windows)


def test_noise_of_the_call_is_new_in_each_and_of_the_passage_is_not() -> None:
    prompts = ["Query: q\n[1] a\n[2] b\n[3] c", "Query: q\n[1] c\n[2] b\n[3] a"]
    prompts = [f"{prompt}\nidentifiers of the 3 most relevant" for prompt in prompts]
    differ = {"passage": 0, "call": 0}
    for seed in range(20):
        for noise_of in differ:
            labels = Labels({}, 1.0, noise_of, seed)
            one, other = (labels(prompt) for prompt in prompts)
            assert one == labels(prompts[0])
            swapped = other.translate(str.maketrans("13", "31"))
            differ[noise_of] += one != swapped
    assert differ["passage"] == 0
    assert differ["call"] > 5


def test_a_run_to_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{n}", "title": "", "text": f"reed {n} tide {n % 7}"} for n in range(110)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(json.dumps({"_id": "q", "text": "reed tide"}) + "\n")
    judged = "".join(f"q\td{number}\t{1 + number % 2}\n" for number in range(0, 110, 5))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    shown = Console(file=io.StringIO(), width=200)
    try:
        found, ratios, _ = bench(full=False, corpus=folder, model=None, console=shown)
    finally:
        openai._client().close()
        openai._client.cache_clear()
    assert ratios["calls_vs_windows"] == 9.0
    assert ratios["latency_vs_windows"] > 1.0
    for noise in NOISES:
        assert ratios[f"ndcg_one_call@{noise:g}_passage"] == 1.0
    systems = {row["system"]: row for row in found if row["setting"] == "no noise"}
    assert {name: row["calls"] for name, row in systems.items()} == {
        "one call": 1.0, "two calls": 2.0, "windows": 9.0, "nine calls": 9.0,
    }  # fmt: skip
    assert sum(row["setting"] == "noise 2 of the call" for row in found) == 4
