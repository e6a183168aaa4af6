"""What stands beside the results of an evaluation: averages, published figures, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..documents import JsonObject
from .averages import averages
from .baselines import published, published_grid
from .environment import without_folders
from .grids import Cell, Grid, results_grid
from .result import EvalResult
from .robustness import losses, losses_grid, losses_json


def beside(
    results: Sequence[EvalResult], split: str, failed: Mapping[str, Exception] | None = None
) -> tuple[list[Grid], JsonObject]:
    """The further tables, and the further entries of ``eval --json``; only those with content.

    ``failed``: data set -> why there are no results of it.
    """
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
    if failed:
        reasons = {
            name: " ".join(map(without_folders, str(error).split(" ")))
            for name, error in failed.items()
        }
        rows = [[Cell(name), Cell(reason)] for name, reason in reasons.items()]
        grids.append(Grid(("not measured", "because"), (), rows, []))
        entries["failed"] = [{"dataset": name, "error": why} for name, why in reasons.items()]
    return grids, entries
