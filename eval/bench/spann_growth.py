"""What more vectors cost: 50,000, 200,000 and a million synthetic ones, ours alone, one thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...documents import JsonObject
from .spann import at_recall, built, measured
from .spann_data import SYNTHETIC, stored, synthetic

if TYPE_CHECKING:
    from rich.console import Console

SIZES = (50_000, 200_000, SYNTHETIC[0])
RECALL = 0.95
_FIGURES = ("mean_ms", "p99_ms", "qps", "kb_read_per_query", "memory_mb")


def growth(console: Console, sizes: Sequence[int] = SIZES) -> list[JsonObject]:
    """A row for each size: figures at a recall of 0.95, read off the sweep."""
    rows: list[JsonObject] = []
    for size in sizes:
        data = stored("synthetic", *synthetic(size, SYNTHETIC[1]))
        facts = built("cormorant", data)
        points = measured("cormorant", data, 1)["rows"]
        row: JsonObject = {"system": "cormorant", "setting": f"growth {size:,} at {RECALL}"}
        row |= {name: at_recall(points, RECALL, name) for name in _FIGURES}
        row |= {name: facts[name] for name in ("build_seconds", "disk_mb")}
        console.print(" ".join(f"{name}={value}" for name, value in row.items()))
        rows.append(row)
    return rows
