"""What filters leave of recall: ours alone, by the share of rows that may be found, at random."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import Allowed, Int64Array
from ...documents import JsonObject
from ...retrieval.collection import Collection
from .spann import built
from .spann_data import DEPTH, Data, neighbours

if TYPE_CHECKING:
    from rich.console import Console

SHARES = (0.5, 0.1, 0.01, 0.001)
_SEED = 17


def filtered(data: Data, console: Console) -> list[JsonObject]:
    """A row for each share: recall@10 for the index's own target."""
    vectors, queries = data.vectors(), np.load(data.folder / "queries.npy")
    random = np.random.Generator(np.random.Philox(_SEED))
    rows: list[JsonObject] = []
    path = data.folder / str(built("cormorant", data)["index"]) / "c.cm"
    with Collection.open(path, read_only=True) as collection:
        view = collection._reader.snapshot().searchable["spann"]
        index: Any = view.index
        for share in SHARES:
            mask = random.random(len(vectors)) < share
            there: Int64Array = np.flatnonzero(mask)
            best = there[neighbours(vectors[there], queries, DEPTH)]
            found = index.search(view.segments, queries, DEPTH, Allowed(None, mask)).rows
            recall = [np.isin(one, own).mean() for own, one in zip(found, best, strict=True)]
            row: JsonObject = {"system": "cormorant", "setting": f"{data.name} filter {share:.1%}"}
            rows.append({**row, "recall@10": float(np.mean(recall))})
            console.print(f"{rows[-1]['setting']}: recall@10 {rows[-1]['recall@10']:.4f}")
    return rows
