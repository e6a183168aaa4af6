"""Results as tables for the terminal: one row per data set and pipeline.

Given a baseline, figures that differ from its own beyond chance are marked, and a second table has
one row per comparison.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .result import EvalResult
from .significance import SIGNIFICANT, Against

_WIDTH = 10_000

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text


def results_table(results: Sequence[EvalResult], against: Against | None = None) -> Table:
    """A rich table: measures with four decimals, p50 and p95 in ms, index seconds and MB, queries.

    The best value of each measure is bold where a data set has several pipelines; equal to four
    decimals is equally good. A measure that a row lacks is shown as "-". With a baseline, "+ " or
    "- " stands before a figure that is significantly above or below the baseline's. Under the table
    stand what these mean and the flags that searches raised.
    """
    from rich.text import Text

    measures = list(dict.fromkeys(name for result in results for name in result.measures))
    notes = [*_mark_lines(against), *_flag_lines(results)]
    figures = (*measures, "p50 ms", "p95 ms", "index s", "index MB", "queries")
    table = _table(("data set", "pipeline"), figures, notes)
    best = _best(results)
    for result in results:
        cells = [Text(result.dataset), Text(result.pipeline)]
        compared = {} if against is None else against.of(result)
        for name in measures:
            shown = _shown(result, name)
            bold = shown is not None and best.get((result.dataset, name)) == float(shown)
            mark = f"{compared[name].mark} ".lstrip() if name in compared else ""
            cell = "-" if shown is None else f"{mark}{shown}"
            cells.append(Text(cell, style="bold" if bold else ""))
        cells += [
            *(_figure(result.latency_ms.get(name)) for name in ("p50", "p95")),
            _figure(result.index_seconds or None),
            _figure(result.index_bytes / 1e6 or None),
            Text(str(result.queries)),
        ]
        table.add_row(*cells)
    return table


def _figure(value: float | None) -> Text:
    """A figure with two decimals; a run read from a file has no times and no index."""
    from rich.text import Text

    return Text("-" if value is None else f"{value:.2f}")


def comparisons_table(against: Against) -> Table:
    """A rich table, one row per comparison: difference, wins, losses, ties, p and Holm's p."""
    from rich.text import Text

    texts = ("data set", "pipeline", "measure")
    figures = ("difference", "wins", "losses", "ties", "p", "Holm p")
    table = _table(texts, figures, [f"baseline: {against.baseline}; paired randomisation test"])
    for one in against.comparisons:
        counts = (f"{one.wins}", f"{one.losses}", f"{one.ties}")
        cells = (one.dataset, one.pipeline, one.measure, f"{one.difference:+.4f}", *counts)
        table.add_row(*map(Text, (*cells, _p(one.p), _p(one.p_holm))))
    return table


def _table(texts: Sequence[str], figures: Sequence[str], notes: Sequence[str] = ()) -> Table:
    """No rows yet: columns of text, then columns of figures; ``notes`` go under it."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD,
        caption=Text("\n".join(notes)) if notes else None,
        caption_justify="left",
        pad_edge=False,
        show_edge=False,
    )
    for heading in texts:
        table.add_column(Text(heading), no_wrap=True)
    for heading in figures:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    return table


def _p(value: float) -> str:
    """Four decimals; never 0.0000, which no p is."""
    return f"{value:.4f}" if value >= 0.0001 else "<0.0001"


def _mark_lines(against: Against | None) -> list[str]:
    if against is None or not any(one.mark for one in against.comparisons):
        return []
    where = f"above or below {against.baseline}, Holm p < {SIGNIFICANT}"
    return [f"+ or - before a figure: {where}"]


def print_results(
    results: Sequence[EvalResult], console: Console, against: Against | None = None
) -> None:
    """Show the tables on a rich console; lines wider than it go on, so no figure is cut off."""
    from rich.segment import Segments

    wide = console.options.update(width=_WIDTH)
    tables = [results_table(results, against)]
    if against is not None and against.comparisons:
        tables += [comparisons_table(against)]
    for place, table in enumerate(tables):
        if place:
            console.print()
        console.print(Segments(list(console.render(table, wide))), soft_wrap=True, end="")


def render_results(results: Sequence[EvalResult], against: Against | None = None) -> str:
    """The tables as plain text, as wide as they need, ending in a line end."""
    from rich.console import Console

    text = io.StringIO()
    print_results(results, Console(file=text, color_system=None, force_terminal=False), against)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().strip("\n").splitlines())


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


def _flag_lines(results: Sequence[EvalResult]) -> list[str]:
    return [
        f"{result.dataset}, {result.pipeline}: {flag} ({count} queries)"
        for result in results
        for flag, count in result.flags.items()
    ]
