"""The arrays of an inverted index of impacts, and how impacts are rounded.

Documents are numbered as their rows ascend, and cut into blocks of ``BLOCK``. Each term is a list:
a run for each block that has it, the largest impacts first, so that a beginning of each run holds
what weighs most. A term that many documents have is a row as well, with a place for every document.
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
"""Documents whose sums are kept at a time: 32 KiB, and a place in a block fits 16 bits."""
ROW_SHARE = 12
ROW_LEAST = 256
"""A term is a row when one document in 12 has it, and at least 256 do."""
LIST_STEPS = 255
STEPS = LIST_STEPS + 1
ROW_STEPS = 15
LANES = 64
"""Sums that are handled at a time; and documents whose impacts share 32 bytes of a row: document i
in the low half of byte i, document 32 + i in its high half."""
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
    """(row_bytes(n) of each row,) two documents a byte, see ``LANES``; 0: has not the term."""
    row_counts: Int32Array
    """(256 of each row,) how many documents have at least that impact in the term's list."""
    run_starts: Int64Array
    """(v + 1,) where a term's runs begin; a run is what one block holds of a list."""
    run_blocks: UInt16Array | UInt32Array
    """(r,) the block of each run, ascending in a term."""
    run_begins: Int64Array
    """(r + 1,) where a run begins in ``listed`` and ``impacts``."""
    listed: UInt16Array
    """(p,) a run's documents by their place in the block, ascending where impacts are equal."""
    impacts: UInt8Array
    """(p,) their impacts, 1 to 255, descending in a run."""


def row_bytes(n_documents: int) -> int:
    """Bytes of one row."""
    return (n_documents + LANES - 1) // LANES * (LANES // 2)


class Queries(NamedTuple):
    """The terms of n queries, one query after the other, as one index numbers them."""

    terms: Int64Array
    """(m,) ascending in a query but for -1, where the index does not have it."""
    weights: Float32Array
    """(m,) above 0."""
    offsets: Int64Array
    """(n + 1,) where a query begins."""


class Effort(NamedTuple):
    """What a search may leave out, in shares of the score to beat.

    With a ``bar`` of 0 it is exact: what is not added weighs less than ``slack`` all together, and
    every document is scored that this could make a hit. Else postings of n terms that add less than
    ``slack / n`` each are left out, and documents are scored whose sums come up to the ``bar``.
    """

    slack: float
    bar: float


EXACT = Effort(0.1, 0.0)
