"""The plots: what quality costs, how deep it lies, which queries won, where the time goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..grids import written_p
from ..measures import judged_queries
from ..pareto import pareto_front
from ..result import EvalResult
from ..significance import Comparison
from ..trec import Run
from .drawing import (
    DASHED,
    DIM,
    DOWN,
    LINE,
    SHEET,
    UP,
    Plot,
    colour_of,
    label_of,
    marker_of,
    new_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Point(NamedTuple):
    """A pipeline at its price."""

    pipeline: str
    cost: float
    value: float


def trade_off(
    name: str, points: Sequence[Point], cost: str, measure: str, places: Mapping[str, int]
) -> Plot | None:
    """Quality against cost (logarithmic), and the Pareto front; None with nothing to draw.

    ``places``: pipeline -> the number of its colour and marker.
    """
    points = [point for point in points if point.cost > 0]
    if not points:
        return None
    figure, axes = new_figure()
    front = [points[place] for place in pareto_front(*_columns(points))]
    costs = [point.cost for point in points]
    low, high = min(costs) / 1.7, max(costs) * 1.7
    for point in points:
        place = places[point.pipeline]
        axes.plot(
            [point.cost], [point.value], linestyle="none", marker=marker_of(place), markersize=8,
            color=colour_of(place), markeredgecolor=SHEET, label=label_of(point.pipeline),
        )  # fmt: skip
    axes.step(
        [*(point.cost for point in front), high],
        [*(point.value for point in front), front[-1].value],
        where="post", color=DIM, linewidth=1.0, linestyle=DASHED, label="Pareto front", zorder=1,
    )  # fmt: skip
    axes.set_xlim(low, high)
    axes.margins(y=0.15)
    _logarithmic(axes)
    axes.set_xlabel(cost)
    axes.set_ylabel(measure)
    _legend(figure)
    best = ", ".join(point.pipeline for point in front)
    return Plot(name, f"{measure} against {cost}. On the Pareto front: {best}.", figure)


def recall_depth(
    results: Sequence[EvalResult], qrels: Mapping[str, Mapping[str, int]], places: Mapping[str, int]
) -> Plot | None:
    """How much of what is relevant stands above each depth; None with nothing to draw."""
    deepest = max((len(hits) for one in results for hits in one.run.values()), default=0)
    if deepest < 2:
        return None
    figure, axes = new_figure()
    depths = np.arange(1, deepest + 1)
    for result in results:
        place = places[result.pipeline]
        curve = recall_curve(result.run, qrels, deepest)
        axes.plot(
            depths, curve, color=colour_of(place), label=label_of(result.pipeline), linewidth=1.6,
            marker=marker_of(place), markersize=4.5, markevery=0.12,
        )  # fmt: skip
    axes.set_xlim(1, deepest)
    axes.set_ylim(bottom=0.0)
    _logarithmic(axes)
    axes.set_xlabel("depth")
    axes.set_ylabel("recall")
    _legend(figure)
    return Plot("recall", f"Recall at every depth to {deepest}.", figure)


def recall_curve(
    run: Run, qrels: Mapping[str, Mapping[str, int]], deepest: int
) -> NDArray[np.float64]:
    """R@1, R@2, ...: (deepest,), means over the queries with a positive judgement."""
    total = np.zeros(deepest)
    queries = judged_queries(qrels)
    for query in queries:
        relevant = {name for name, grade in qrels[query].items() if grade > 0}
        found = np.zeros(deepest)
        for place, (name, _) in enumerate(run.get(query, [])[:deepest]):
            found[place] = name in relevant
        total += np.cumsum(found) / len(relevant)
    return total / len(queries)


def deltas(comparison: Comparison, base: EvalResult, other: EvalResult) -> Plot:
    """The difference of every query, largest gain first."""
    values = np.array(
        [
            found[comparison.measure] - base.per_query[query][comparison.measure]
            for query, found in other.per_query.items()
        ]
    )
    values = np.sort(values)[::-1]
    figure, axes = new_figure()
    edges = np.arange(len(values) + 1)
    for sign, colour in ((1, UP), (-1, DOWN)):
        part = np.where(sign * values > 0, values, 0.0)
        axes.stairs(part, edges, fill=True, color=colour, linewidth=0.0)
    axes.axhline(comparison.difference, color=DIM, linewidth=1.0, linestyle=DASHED)
    axes.axhline(0.0, color=DIM, linewidth=0.8)
    axes.set_xlim(0, len(values))
    axes.set_xlabel("queries, largest gain first")
    axes.set_ylabel(f"difference in {comparison.measure}")
    p = f"Holm p = {written_p(comparison.p_holm)}".replace("= <", "< ")
    counts = f"{comparison.wins} wins, {comparison.losses} losses, {comparison.ties} ties, {p}"
    axes.set_title(
        f"{label_of(other.pipeline)} minus {label_of(base.pipeline)}\n{counts}",
        loc="left",
        fontsize=9,
    )
    caption = (
        f"{other.pipeline} minus {base.pipeline}, {comparison.measure} of every query: mean "
        f"{comparison.difference:+.4f} (dashed), {counts}."
    )
    return Plot(f"deltas.{other.pipeline}", caption, figure)


def stages(stages_ms: Mapping[str, Mapping[str, float]]) -> Plot | None:
    """Where the time of a single search goes; None with nothing to draw."""
    if not stages_ms:
        return None
    figure, axes = new_figure(1.7 + 0.3 * len(stages_ms))
    names = list(dict.fromkeys(name for parts in stages_ms.values() for name in parts))
    ends = np.zeros(len(stages_ms))
    for place, name in enumerate(names):
        widths = np.array([parts.get(name, 0.0) for parts in stages_ms.values()])
        axes.barh(
            range(len(ends)), widths, left=ends, height=0.6, label=label_of(name),
            color=colour_of(place), hatch="///" if place >= 8 else None, edgecolor=SHEET,
            linewidth=0.5,
        )  # fmt: skip
        ends += widths
    axes.set_yticks(range(len(ends)), [label_of(name) for name in stages_ms])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("milliseconds, mean of single searches")
    _legend(figure)
    return Plot("stages", "Time of a single search by stage.", figure)


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.cost for point in points], [point.value for point in points]


def _logarithmic(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color=LINE, linewidth=0.6)


def _legend(figure: Figure) -> None:
    """Above the axes, where it hides nothing; the figure grows by its rows."""
    labels = [label for axes in figure.axes for label in axes.get_legend_handles_labels()[1]]
    columns = 3 if max(map(len, labels)) <= 15 else 2
    rows = -(-len(labels) // columns)
    figure.set_figheight(figure.get_figheight() + 0.17 * max(0, rows - 2))
    figure.legend(loc="outside upper left", ncols=columns, handlelength=1.4, columnspacing=1.2)
