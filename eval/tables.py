"""Grids of results as tables for the terminal."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .grids import Grid, comparisons_grid, quality_and_cost, results_grid
from .result import EvalResult
from .significance import Against

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH = 10_000


def table_of(grid: Grid) -> Table:
    """A rich table, the best in bold; without the notes."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in grid.texts:
        table.add_column(Text(heading), no_wrap=True)
    for heading in grid.figures:
        table.add_column(Text(heading), justify="right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*(Text(cell.text, style="bold" if cell.best else "") for cell in row))
    return table


def print_grids(grids: Sequence[Grid], console: Console) -> None:
    """Show tables and their notes; lines wider than the console go on, so nothing is cut off."""
    from rich.segment import Segments
    from rich.text import Text

    wide = console.options.update(width=_WIDTH)
    for place, grid in enumerate(grids):
        if place:
            console.print()
        segments = Segments(list(console.render(table_of(grid), wide)))
        console.print(segments, soft_wrap=True, end="")
        for note in grid.notes:
            console.print(Text(note), soft_wrap=True)


def print_results(
    results: Sequence[EvalResult],
    console: Console,
    against: Against | None = None,
    beside: Sequence[Grid] = (),
) -> None:
    """Show the results, against a baseline how they compare, and what stands beside them.

    On a terminal that is too narrow for them, quality and cost are tables of their own.
    """
    grid = results_grid(results, against)
    wide = console.options.update(width=_WIDTH)
    width = console.measure(table_of(grid), options=wide).maximum
    fits = width <= console.width or not console.is_terminal
    grids = [grid] if fits else quality_and_cost(grid, results)
    if against is not None and against.comparisons:
        grids += [comparisons_grid(against)]
    print_grids([*grids, *beside], console)


def render_results(results: Sequence[EvalResult], against: Against | None = None) -> str:
    """The tables as plain text, as wide as they need, ending in a line end."""
    from rich.console import Console

    text = io.StringIO()
    print_results(results, Console(file=text, color_system=None, force_terminal=False), against)
    return "".join(f"{line.rstrip()}\n" for line in text.getvalue().strip("\n").splitlines())
