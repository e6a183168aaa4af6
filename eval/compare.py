"""Saved runs of any system, measured by one file of judgements, gaps in these included.

What nobody judged is taken for not relevant, which is unfair to a system whose hits were not
pooled. So beside the measures stand: how many of the first ten hits are judged; bpref, which looks
at judged documents only (Buckley and Voorhees, "Retrieval Evaluation with Incomplete Information",
SIGIR 2004); and the measures on condensed lists, from which unjudged documents are taken out
(Sakai, "Alternatives to Bpref", SIGIR 2007). A document with a line in the qrels is judged,
whatever its grade.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..documents import JsonObject
from .grids import Cell, Grid
from .measures import evaluate, judged_queries, measure_names
from .result import EvalResult
from .runner import judged_run
from .trec import Run, read_run

GAPS = ("Judged@10", "Bpref")
_MISSING = "judged, but not in the run, which counts as nothing found"
_UNJUDGED = "in the run, but without a relevant judgement, and left out"


@dataclass(frozen=True, slots=True)
class Compared:
    """One run: its result as it is, and what its unjudged documents may have done to it.

    ``gaps``: ``Judged@10`` and ``Bpref``; ``condensed``: measure -> mean on condensed lists.
    """

    result: EvalResult
    gaps: dict[str, float]
    condensed: dict[str, float]

    def as_json(self) -> JsonObject:
        """What ``compare --json`` adds to the result's own figures."""
        return {"gaps": dict(self.gaps), "condensed": dict(self.condensed)}


def compare_run(
    name: str,
    file: Path,
    judged_by: str,
    qrels: Mapping[str, Mapping[str, int]],
    measures: Sequence[str],
) -> Compared:
    """Read and measure one run; ``judged_by`` is what the judgements are called.

    Raises :class:`~cormorant.errors.InputError` as :func:`~cormorant.eval.trec.read_run` and
    :func:`~cormorant.eval.runner.judged_run` do.
    """
    measures = measure_names(measures)
    found = read_run(file)
    run = judged_run(found, qrels, file)
    missing = len(judged_queries(qrels)) - len(run)
    counts = {_MISSING: missing, _UNJUDGED: len(found) - len(run)}
    worth = evaluate(measures, qrels, run)
    return Compared(
        result=EvalResult(
            dataset=judged_by,
            pipeline=name,
            measures=worth.means,
            per_query=worth.per_query,
            run=run,
            queries=len(worth.per_query),
            flags={what: count for what, count in counts.items() if count},
        ),
        gaps=evaluate(GAPS, qrels, run).means,
        condensed=evaluate(measures, qrels, condensed(run, qrels)).means,
    )


def condensed(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> Run:
    """The run without the documents that nobody judged for their query."""
    return {
        query: [(document, score) for document, score in hits if document in qrels.get(query, {})]
        for query, hits in run.items()
    }


def gaps_grid(compared: Sequence[Compared], qrels: Mapping[str, Mapping[str, int]]) -> Grid:
    """One row a run: what is judged of it, and its measures on condensed lists.

    A note says where the judgements cannot tell a gap from a bad hit: where all are relevant.
    """
    rows = [
        [
            Cell(one.result.pipeline),
            *(Cell(f"{value:.4f}") for value in (*one.gaps.values(), *one.condensed.values())),
        ]
        for one in compared
    ]
    names = tuple(f"{name}'" for name in compared[0].condensed)
    notes = ["': on condensed lists, without the documents that nobody judged"]
    if all(grade > 0 for judged in qrels.values() for grade in judged.values()):
        notes.append(
            "all judged documents are relevant: Bpref and condensed lists say only how many were "
            "found"
        )
    return Grid(("run",), (*GAPS, *names), rows, notes)


def of_runs(grid: Grid) -> Grid:
    """The same without its data set; a pipeline is called a run."""
    texts = tuple("run" if heading == "pipeline" else heading for heading in grid.texts[1:])
    return Grid(texts, grid.figures, [row[1:] for row in grid.rows], grid.notes)
