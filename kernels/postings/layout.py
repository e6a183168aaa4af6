"""The arrays of an inverted index of impacts, and how impacts are rounded.

Documents are numbered as their rows ascend, and cut into blocks of ``BLOCK``. A term that few of
them have is a list, block after block; one that many have is a row with a place for every document.
Both hold impacts rounded up, so that what they add up to is never below a score: they find
candidates. The documents' own weights are kept as they were given, and scores are made of these.

======== ======= ================================== =======================================
kept as  steps   a weight w is held as              never less than w, and by less than this more
======== ======= ================================== =======================================
a list   255     ceil(255 w / largest of the term)  largest / 255
a row    15      ceil(15 w / largest of the term)   largest / 15
======== ======= ================================== =======================================
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..bm25.layout import Best, no_best

__all__ = ["Best", "Effort", "Impacts", "Queries", "no_best"]

Int64Array: TypeAlias = NDArray[np.int64]
Int32Array: TypeAlias = NDArray[np.int32]
UInt8Array: TypeAlias = NDArray[np.uint8]
UInt16Array: TypeAlias = NDArray[np.uint16]
UInt32Array: TypeAlias = NDArray[np.uint32]
UInt64Array: TypeAlias = NDArray[np.uint64]
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

BLOCK = 1 << 15
"""Documents whose sums are kept at a time: 64 KiB, and a place in a block fits 16 bits."""
ROW_SHARE = 12
ROW_LEAST = 256
"""A term is a row when one document in 12 has it, and at least 256 do."""
LIST_STEPS = 255
ROW_STEPS = 15
LANES = 32
"""Sums that are handled at a time."""
GROUP = 2 * LANES
"""Documents whose impacts share 32 bytes of a row: document i in the low half of byte i, document
32 + i in its high half."""
NARROW = 1 << 16
"""So many terms are numbered in 16 bits; more need 32."""
LARGEST_WEIGHT = 1e9
"""No sum of products overflows float32."""


class Impacts(NamedTuple):
    """An inverted index and what it was inverted from: n documents, v terms, p weights."""

    rows: Int64Array
    """(n,) ascending."""
    starts: Int64Array
    """(n + 1,) where a document begins in ``terms`` and ``weights``."""
    terms: UInt16Array | UInt32Array
    """(p,) the terms of each document, ascending."""
    weights: Float32Array
    """(p,) their weights, above 0."""
    frequencies: Int32Array
    """(v,) how many documents have the term."""
    largest: Float32Array
    """(v,) the term's largest weight."""
    row_numbers: Int32Array
    """(v,) which row the term is, -1 if it is a list."""
    row_impacts: UInt8Array
    """(row_bytes(n) of each row,) two documents a byte, see ``GROUP``; 0: has not the term."""
    run_starts: Int64Array
    """(v + 1,) where a term's runs begin; a run is what one block holds of a list."""
    run_blocks: UInt16Array | UInt32Array
    """(r,) the block of each run, ascending in a term."""
    run_begins: Int64Array
    """(r + 1,) where a run begins in ``listed`` and ``impacts``."""
    listed: UInt16Array
    """Documents of each term that is a list, by their place in the block, ascending in a run."""
    impacts: UInt8Array
    """Their impacts, 1 to 255."""


def row_bytes(n_documents: int) -> int:
    """Bytes of one row."""
    return (n_documents + GROUP - 1) // GROUP * LANES


class Queries(NamedTuple):
    """The terms of n queries, one query after the other, as one index numbers them."""

    terms: Int64Array
    """(m,) ascending in a query but for -1, where the index does not have it."""
    weights: Float32Array
    """(m,) above 0."""
    offsets: Int64Array
    """(n + 1,) where a query begins."""


class Effort(NamedTuple):
    """What a search may leave out.

    Terms that cannot together weigh more than ``slack`` of the score to beat are looked up for
    candidates only. ``belief`` is how much of what they could weigh a candidate is granted: with 1
    no hit is missed. The score to beat is taken ``ahead`` times as high as it is.
    """

    slack: float
    belief: float
    ahead: float = 1.0


EXACT = Effort(0.3, 1.0, 1.0)
