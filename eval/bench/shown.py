"""The table and the ratios of a benchmark on the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...documents import JsonObject

if TYPE_CHECKING:
    from rich.console import Console


def show(rows: Sequence[JsonObject], ratios: Mapping[str, float], console: Console) -> None:
    """A line for each row, with whatever it holds, and then one for each ratio."""
    from rich import box
    from rich.table import Table

    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False)
    for row in rows:
        cells = (row.get(name, "") for name in columns)
        table.add_row(*(f"{cell:,.3f}" if isinstance(cell, float) else str(cell) for cell in cells))
    console.print(table)
    for name, value in ratios.items():
        console.print(f"{name} {value:.3f}")
