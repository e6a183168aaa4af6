"""What stands beside the results of an evaluation: averages, published figures, robustness."""

from __future__ import annotations

from collections.abc import Sequence

from ..documents import JsonObject
from .averages import averages
from .baselines import published, published_grid
from .grids import Grid, results_grid
from .result import EvalResult
from .robustness import losses, losses_grid, losses_json


def beside(results: Sequence[EvalResult], split: str) -> tuple[list[Grid], JsonObject]:
    """The further tables, and the further entries of ``eval --json``; only those with content."""
    grids: list[Grid] = []
    entries: JsonObject = {}
    means = averages(results)
    if means:
        grids.append(results_grid(means))
        entries["averages"] = [
            {"dataset": one.dataset, "pipeline": one.pipeline, "measures": one.measures}
            for one in means
        ]
    known = published([*results, *means], split)
    if known:
        grids.append(published_grid(known, [*results, *means]))
        entries["published"] = [one._asdict() for one in known]
    changed = losses(results)
    if changed:
        grids.append(losses_grid(changed))
        entries["robustness"] = losses_json(changed)
    return grids, entries
