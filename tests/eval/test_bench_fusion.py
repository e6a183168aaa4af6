"""``cormorant bench fusion``: what it measures, without its data."""

from __future__ import annotations

from rich.console import Console

from cormorant.eval.bench import fusion
from cormorant.eval.bench.fusion import ASKED, SUPERVISED, pipelines, rows_of
from cormorant.eval.bench.shown import show
from cormorant.eval.result import EvalResult
from cormorant.retrieval.pipeline import pipeline_from_json


def test_every_pipeline_has_a_name_and_travels_as_json():
    found = pipelines()
    assert {"bm25", "dense", "hybrid", "rrf", "isr", "borda", "comb_sum", "comb_mnz"} <= set(found)
    assert {f"hybrid+{what}.{where}" for what in ("prf", "rm3") for where in (
        "before", "after", "both")} <= set(found)  # fmt: skip
    assert {f"convex.{norm}.{missing}" for norm in fusion.NORMS for missing in fusion.MISSING} <= {
        *found
    }
    assert len({repr(pipeline) for pipeline in found.values()}) == len(found)
    for name, pipeline in found.items():
        assert pipeline_from_json(pipeline.as_json()) == pipeline
        assert not name.startswith(SUPERVISED)
    assert list(ASKED) == ["nfcorpus", "cranfield", "cisi", "vaswani"]


def result(name: str, values: list[float], note: str = "") -> EvalResult:
    per_query = {f"q{n}": {"nDCG@10": value, "R@100": value / 2} for n, value in enumerate(values)}
    means = {m: sum(own[m] for own in per_query.values()) / len(values) for m in fusion.MEASURES}
    flags = {note: len(values)} if note else {}
    return EvalResult("d", name, means, per_query, {}, len(values), flags=flags)


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
