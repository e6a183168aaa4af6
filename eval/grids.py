"""Results as grids of text, which the terminal and the report's page show each in its own way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from .cost import PROCESS, cost_columns
from .result import EvalResult
from .significance import SIGNIFICANT, Against


class Cell(NamedTuple):
    """What one place shows; ``best``: nothing to compare it with is better."""

    text: str
    best: bool = False


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns of text, then columns of figures; under them ``notes``."""

    texts: tuple[str, ...]
    figures: tuple[str, ...]
    rows: list[list[Cell]]
    notes: list[str]


def results_grid(results: Sequence[EvalResult], against: Against | None = None) -> Grid:
    """One row a result: measures with four decimals, times in ms and s, index MB, queries.

    The best value of each measure is marked where a data set has several pipelines; equal to four
    decimals is equally good. A figure that a row lacks is shown as "-", one that all lack not at
    all. With a baseline, "+ " or
    "- " stands before a figure that is significantly above or below the baseline's. The notes say
    what these mean, and the flags that searches raised.
    """
    measures = list(dict.fromkeys(name for result in results for name in result.measures))
    best = _best(results)
    costs = cost_columns(results)
    rows = []
    for place, result in enumerate(results):
        row = [Cell(result.dataset), Cell(result.pipeline)]
        row += [_measure(result, name, best, against) for name in measures]
        row += [
            *(_figure(result.latency_ms.get(name)) for name in ("p50", "p95")),
            _figure(result.index_seconds or None),
            _figure(result.index_bytes / 1e6 or None),
            *(Cell(column[place]) for column in costs.values()),
            Cell(str(result.queries)),
        ]
        rows.append(row)
    figures = (*measures, "p50 ms", "p95 ms", "index s", "index MB", *costs, "queries")
    notes = [*_mark_notes(against), *_flag_notes(results)]
    if PROCESS in costs:
        notes.append(f"{PROCESS}: resident in one that answers with this pipeline and nothing else")
    return _without_empty(Grid(("data set", "pipeline"), figures, rows, notes))


def quality_and_cost(grid: Grid, results: Sequence[EvalResult]) -> list[Grid]:
    """A grid of results as two: the measures, and what they cost, with the notes under it."""
    names = {name for result in results for name in result.measures}
    n_texts = len(grid.texts)
    n_measures = sum(heading in names for heading in grid.figures)
    first, rest = slice(n_texts, n_texts + n_measures), slice(n_texts + n_measures, None)
    return [
        Grid(grid.texts, figures, [row[:n_texts] + row[part] for row in grid.rows], notes)
        for part, figures, notes in (
            (first, grid.figures[:n_measures], []),
            (rest, grid.figures[n_measures:], grid.notes),
        )
    ]


def summary_grid(
    results: Sequence[EvalResult], measure: str, against: Against | None = None
) -> Grid:
    """One row a pipeline, one column a data set."""
    datasets = tuple(dict.fromkeys(result.dataset for result in results))
    pipelines = dict.fromkeys(result.pipeline for result in results)
    known = {(result.dataset, result.pipeline): result for result in results}
    best = _best(results)
    rows = []
    for pipeline in pipelines:
        own = [known.get((dataset, pipeline)) for dataset in datasets]
        rows.append([Cell(pipeline), *(_measure(one, measure, best, against) for one in own)])
    return Grid((measure,), datasets, rows, _mark_notes(against))


def comparisons_grid(against: Against) -> Grid:
    """One row a comparison: difference, wins, losses, ties, p and Holm's p."""
    rows = []
    for one in against.comparisons:
        counts = (f"{one.wins}", f"{one.losses}", f"{one.ties}")
        texts = (one.dataset, one.pipeline, one.measure, f"{one.difference:+.4f}", *counts)
        rows.append([Cell(text) for text in (*texts, written_p(one.p), written_p(one.p_holm))])
    return Grid(
        ("data set", "pipeline", "measure"),
        ("difference", "wins", "losses", "ties", "p", "Holm p"),
        rows,
        [f"baseline: {against.baseline}; paired randomisation test"],
    )


def written_p(value: float) -> str:
    """Four decimals; never 0.0000, which no p is."""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _without_empty(grid: Grid) -> Grid:
    """Without the figures that no row has, as runs of files have no times."""
    n_texts = len(grid.texts)
    kept = [
        place
        for place in range(len(grid.figures))
        if not grid.rows or any(row[n_texts + place].text != "-" for row in grid.rows)
    ]
    rows = [[*row[:n_texts], *(row[n_texts + place] for place in kept)] for row in grid.rows]
    return Grid(grid.texts, tuple(grid.figures[place] for place in kept), rows, grid.notes)


def _measure(
    result: EvalResult | None,
    name: str,
    best: Mapping[tuple[str, str], float],
    against: Against | None,
) -> Cell:
    shown = None if result is None else _shown(result, name)
    if result is None or shown is None:
        return Cell("-")
    compared = {} if against is None else against.of(result)
    mark = f"{compared[name].mark} ".lstrip() if name in compared else ""
    return Cell(mark + shown, best.get((result.dataset, name)) == float(shown))


def _figure(value: float | None) -> Cell:
    """A figure with two decimals; a run read from a file has no times and no index."""
    return Cell("-" if value is None else f"{value:.2f}")


def _shown(result: EvalResult, name: str) -> str | None:
    return f"{result.measures[name]:.4f}" if name in result.measures else None


def _best(results: Sequence[EvalResult]) -> dict[tuple[str, str], float]:
    """(data set, measure) -> the best value shown, where there are several to choose from."""
    shown: dict[tuple[str, str], list[float]] = {}
    for result in results:
        for name in result.measures:
            value = float(_shown(result, name) or "nan")
            shown.setdefault((result.dataset, name), []).append(value)
    return {place: max(values) for place, values in shown.items() if len(values) > 1}


def _mark_notes(against: Against | None) -> list[str]:
    if against is None or not any(one.mark for one in against.comparisons):
        return []
    where = f"above or below {against.baseline}, Holm p < {SIGNIFICANT}"
    return [f"+ or - before a figure: {where}"]


def _flag_notes(results: Sequence[EvalResult]) -> list[str]:
    return [
        f"{result.dataset}, {result.pipeline}: {flag} ({count} queries)"
        for result in results
        for flag, count in result.flags.items()
    ]
