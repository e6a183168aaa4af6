"""``cormorant bench fusion``: what it measures, without its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from cormorant.eval.bench.fusion import ASKED, SUPERVISED, pipelines
from cormorant.eval.bench.fusion_results import MEASURES, Searched, rows_of
from cormorant.eval.bench.shown import show
from cormorant.eval.datasets import Dataset
from cormorant.eval.result import EvalResult
from cormorant.rankers.checks import INTERPOLATE
from cormorant.rankers.norms import MISSING, NORMS
from cormorant.retrieval.pipeline import Pipeline, pipeline_from_json


def test_every_pipeline_has_a_name_and_travels_as_json():
    found = pipelines()
    assert {"bm25", "dense", "hybrid", "rrf", "isr", "borda", "comb_sum", "comb_mnz"} <= set(found)
    feedback = ("prf.rocchio", "prf.average", "rm3", "rocchio")
    assert {f"hybrid+{what}.{where}" for what in feedback for where in INTERPOLATE} <= set(found)
    assert {f"convex.{norm}.{missing}" for norm in NORMS for missing in MISSING} <= set(found)
    assert len({repr(pipeline) for pipeline in found.values()}) == len(found)
    for name, pipeline in found.items():
        assert pipeline_from_json(pipeline.as_json()) == pipeline
        assert not name.startswith(SUPERVISED)
    assert list(ASKED) == ["nfcorpus", "cranfield", "cisi", "vaswani"]


def result(name: str, values: list[float], note: str = "") -> EvalResult:
    per_query = {f"q{n}": {"nDCG@10": value, "R@100": value / 2} for n, value in enumerate(values)}
    means = {m: sum(own[m] for own in per_query.values()) / len(values) for m in MEASURES}
    flags = {note: len(values)} if note else {}
    return EvalResult("d", name, means, per_query, {}, len(values), flags=flags)


class Found(Searched):
    """Six queries, each judged for one document; BM25 finds it for even ones, the others never."""

    def __init__(self, name: str = "d") -> None:
        self.queries = [f"q{number}" for number in range(6)]
        qrels = {query: {f"of {query}": 1} for query in self.queries}
        queries, nowhere = dict.fromkeys(self.queries, "text"), Path("nowhere")
        self.dataset = Dataset(name, nowhere, "test", nowhere, nowhere, nowhere, queries, qrels)
        self._values = {}

    def found(self, pipeline: Pipeline, k: int = 100) -> dict[str, Any]:
        even = pipeline.retrieve[0].index == "bm25"
        return {
            query: ([f"of {query}" if even and number % 2 == 0 else "other"], [1.0])
            for number, query in enumerate(self.queries)
        }


def test_a_choice_is_measured_on_queries_that_it_was_not_made_on():
    asked, trained = Found(), Found("train")
    assert asked.values(Pipeline("bm25")).tolist() == [1.0, 0.0] * 3
    seen: list[list[int]] = []

    def choose(numbers: Any) -> Any:
        seen.append(numbers.tolist())
        return Pipeline("bm25"), f"chosen from {len(numbers)}"

    apart = asked.chosen("tuned", choose, trained)
    assert seen == [list(range(6))]
    assert (apart.pipeline, list(apart.flags)) == ("tuned", ["chosen from 6"])
    assert apart.measures["nDCG@10"] == 0.5
    seen.clear()
    halves = asked.chosen("tuned", choose, asked)
    assert sorted(seen[0] + seen[1]) == list(range(6))
    assert list(halves.flags) == ["chosen from 3 | chosen from 3"]
    assert list(halves.run) == asked.queries

    def by_half(numbers: Any) -> Any:
        return Pipeline("bm25" if numbers.tolist() == seen[0] else "dense"), ""

    # Queries of the half that was not seen get what was chosen: here BM25.
    mixed = asked.chosen("tuned", by_half, asked)
    unseen = [number for number in range(6) if number not in seen[0]]
    assert [mixed.per_query[f"q{number}"]["nDCG@10"] for number in unseen] == [
        float(number % 2 == 0) for number in unseen
    ]
    assert not any(mixed.per_query[f"q{number}"]["nDCG@10"] for number in seen[0])


def test_rows_stand_beside_hybrid_best_first():
    rows = rows_of([result("hybrid", [0.5] * 8), result("rrf", [0.75] * 8, "a note")])
    assert [row["system"] for row in rows] == ["rrf", "hybrid"]
    assert rows[0]["nDCG@10 vs hybrid"] == 0.25
    assert rows[0]["nDCG@10 p"] == 2 * 2 / 2**8  # exact, two sides, Holm of two measures
    assert rows[0]["note"] == "a note"
    assert "nDCG@10 p" not in rows[1]


def test_the_table_holds_notes_and_figures(capsys):
    rows = rows_of([result("hybrid", [0.5] * 8), result("rrf", [0.75] * 8, "a note")])
    show(rows, {"hybrid_vs_asked": 1.25}, Console(width=160))
    shown = capsys.readouterr().out
    assert "a note" in shown and "0.750" in shown and "1.250" in shown
