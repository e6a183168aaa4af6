"""Which shard has which document, and which number a shard's row has among all rows."""

from __future__ import annotations

import numpy as np
import xxhash

from ...contracts import Int64Array
from ...ranking import NO_ROW

ROW_BITS = 40
"""A row of shard s is ``(s << 40) | row``: 2**20 shards of 2**40 rows keep a cursor's 60 bits."""
MAX_SHARDS = 1 << 20
_MASK = (1 << 64) - 1


def shard_of(id: str, n_shards: int) -> int:
    """The shard of a document, by jump consistent hashing.

    Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014), Figure 1: with
    one shard more, one document in so many moves, and only to the new shard.
    """
    key = xxhash.xxh3_64_intdigest(id.encode())
    shard, following = -1, 0
    while following < n_shards:
        shard = following
        key = (key * 2862933555777941757 + 1) & _MASK
        following = int((shard + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return shard


def global_rows(rows: Int64Array, shard: int) -> Int64Array:
    """A shard's rows as rows of the whole collection; ``NO_ROW`` stays."""
    return np.where(rows == NO_ROW, NO_ROW, rows | (shard << ROW_BITS))


def rows_within(rows: Int64Array, shard: int) -> Int64Array:
    """Rows of the whole collection as rows of one shard, ``NO_ROW`` for those of the others."""
    here = (rows != NO_ROW) & (rows >> ROW_BITS == shard)
    return np.where(here, rows & ((1 << ROW_BITS) - 1), NO_ROW)


def split_row(row: int) -> tuple[int, int]:
    """The shard of a row, and its number there."""
    return row >> ROW_BITS, row & ((1 << ROW_BITS) - 1)
