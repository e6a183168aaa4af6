"""Published figures, to stand beside ours: ``baselines.json``, each with its source.

They are others' measurements with others' text processing, copied with three digits; nothing here
was computed by this program.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import NamedTuple

from .grids import Cell, Grid
from .result import EvalResult


class Baseline(NamedTuple):
    """What somebody published for a system: one measure on one data set."""

    dataset: str
    system: str
    measure: str
    value: float
    source: str


def published(results: Sequence[EvalResult], split: str) -> list[Baseline]:
    """The published figures of the same data sets, by name, split and measure, best first.

    A set that has another number of judgements than the published one is another set.
    """
    known = json.loads(files(__package__).joinpath("baselines.json").read_text("utf-8"))
    rows, judgements = known["systems"], known["judgements"]["values"]
    measured = dict.fromkeys(
        (result.dataset, measure)
        for result in results
        for measure in result.measures
        if judgements.get(result.dataset) == result.judgements
    )
    found = []
    for dataset, measure in measured:
        own = [
            Baseline(dataset, row["system"], measure, row["values"][dataset], row["source"])
            for row in rows
            if (row["measure"], row["split"]) == (measure, split) and dataset in row["values"]
        ]
        found += sorted(own, key=lambda one: -one.value)
    return found


def published_grid(baselines: Sequence[Baseline], results: Sequence[EvalResult]) -> Grid:
    """One row a figure, ours among them, with three decimals, best first."""
    rows = []
    for dataset, measure in dict.fromkeys((one.dataset, one.measure) for one in baselines):
        ours = [
            Baseline(dataset, result.pipeline, measure, result.measures[measure], "measured now")
            for result in results
            if result.dataset == dataset and measure in result.measures
        ]
        theirs = [one for one in baselines if (one.dataset, one.measure) == (dataset, measure)]
        for one in sorted([*ours, *theirs], key=lambda one: -one.value):
            shown = (dataset, one.system, measure, one.source, f"{one.value:.3f}")
            rows.append([Cell(text, one in ours) for text in shown])
    return Grid(("data set", "system", "measure", "source"), ("value",), rows, [])
