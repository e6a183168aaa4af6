"""What a tuning found, as tables: the Pareto front, and the check on held-out queries."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from .grids import Cell, Grid, comparisons_grid, results_grid
from .tables import print_grids
from .tune import TUNED, Tuning
from .tune_study import Tried, front

if TYPE_CHECKING:
    from rich.console import Console


def print_tuning(tuning: Tuning, console: Console) -> None:
    """Show the front, its pipelines, and what start and tuned are worth on held-out queries."""
    from rich.text import Text

    shown = _shown(tuning)
    print_grids([front_grid(tuning)], console)
    for number, one in enumerate(shown, 1):
        line = f"{number}: {json.dumps(one.pipeline.as_json())}"
        console.print(Text(line), soft_wrap=True)
    console.print()
    checked = results_grid(tuning.held_out, tuning.against)
    if tuning.folds:
        note = (
            f"{TUNED}: every query answered by the best pipeline on {tuning.tuned_on}; times are "
            "those of the pipeline that is written"
        )
        checked = replace(checked, notes=[*checked.notes, note])
    print_grids([checked, comparisons_grid(tuning.against)], console)


def front_grid(tuning: Tuning) -> Grid:
    """One row a pipeline that no other beats in both measure and latency, and those compared."""
    start, best = tuning.tried[0], tuning.best
    rows = []
    for number, one in enumerate(_shown(tuning), 1):
        role = "tuned" if one == best else "start" if one == start else ""
        value = Cell(f"{one.value:.4f}", one == best)
        rows.append([Cell(str(number)), Cell(role), value, Cell(f"{one.latency_ms:.2f}")])
    queries = f"{tuning.n_queries} queries: {tuning.tuned_on}"
    if tuning.folds:
        queries = f"all {tuning.n_queries} queries, which chose the pipeline that is written"
    deep = f"of {tuning.depth} hits a query, here and in the check"
    notes = [f"{len(tuning.tried)} tried", queries, deep, "ms: median of single searches"]
    if tuning.dropped:
        again = "not tuned on: held-out queries have their words"
        notes.insert(2, f"{tuning.dropped} more queries {again}")
    if os.environ.get("CORMORANT_ENCODING_CACHE"):
        notes.append("with queries' vectors kept")
    return Grid(("pipeline", ""), (tuning.objective, "ms"), rows, notes)


def _shown(tuning: Tuning) -> list[Tried]:
    """The front, the start and the choice, the fastest first."""
    found = dict.fromkeys([*front(tuning.tried), tuning.best, tuning.tried[0]])
    return sorted(found, key=lambda one: (one.latency_ms, one.value))
