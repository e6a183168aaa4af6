"""Whether an index keeps its target: part of ``cormorant bench muvera --full``.

Four test collections, indexed as they come by default but for a proxy on every segment of 256 rows
(cranfield and cisi would be searched exhaustively), asked all of their own queries, which
calibrated nothing: the share of the exhaustive best 10 and best 100 that is found, for targets of
.9, .95 (the default) and .98, beside what the index measured on samples of its documents.
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...documents import JsonObject
from ...indexers.muvera.settings import Muvera
from ...kernels.maxsim import search
from ...retrieval.collection import Collection
from .muvera_data import TokenSet, fill, token_set
from .muvera_fixed import asker, recall
from .muvera_tables import Tables

if TYPE_CHECKING:
    from rich.console import Console

SETS = ("cranfield", "cisi", "nfcorpus", "vaswani")
TARGETS = (0.9, 0.95, 0.98)
DEPTHS = (10, 100)
_ROWS = 256


def recalls(console: Console, threads: int) -> list[JsonObject]:
    """A row for each set and target: ``recall@10``, ``recall@100``, and what the index says."""
    rows: list[JsonObject] = []
    tables = Tables.of_model()
    for name in SETS:
        data = token_set(name, console)
        if data is None:
            continue
        key = f"{name}, {len(data.queries)} queries: recall for {TARGETS}"
        for row in tables.rows(key, partial(of_set, name, data, threads, console)):
            rows.append(row)
            console.print(" ".join(f"{key}={value}" for key, value in row.items()), highlight=False)
    return rows


def of_set(name: str, data: TokenSet, threads: int, console: Console) -> list[JsonObject]:
    """Those of one set."""
    truth = search(data.queries, data.tokens, DEPTHS[-1], threads=threads).places
    indexes = {
        f"target-{100 * target:.0f}": Muvera(model=None, proxy_rows=_ROWS, target_recall=target)
        for target in TARGETS
    }
    rows: list[JsonObject] = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Collection.create(Path(folder) / "sets.cm", indexes) as collection,
    ):
        fill(collection, list(indexes), data.tokens.vectors, data.tokens.starts, console)
        facts = collection.describe()["indexes"]
        for index, target in zip(indexes, TARGETS, strict=True):
            row: JsonObject = {"system": "cormorant", "setting": f"{name}: target_recall={target}"}
            row["queries"] = len(data.queries)
            for depth in DEPTHS:
                found = asker(collection, index, depth)(data.queries)
                row[f"recall@{depth}"] = recall(found, truth[:, :depth])
            row["on samples"] = facts[index]["recall@10"]
            row["candidates@10"] = facts[index]["candidates@10"]
            rows.append(row)
    return rows
