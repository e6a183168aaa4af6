"""The arrays of an inverted index."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]
UInt8Array: TypeAlias = NDArray[np.uint8]
UInt32Array: TypeAlias = NDArray[np.uint32]
UInt64Array: TypeAlias = NDArray[np.uint64]
Float32Array: TypeAlias = NDArray[np.float32]
Float64Array: TypeAlias = NDArray[np.float64]
BoolArray: TypeAlias = NDArray[np.bool_]

REPEATED = np.uint32(1 << 31)
"""Set beside a term's number in ``document_terms`` where it occurs more than once."""

BITMAP_SHARE = 64
BITMAP_LEAST = 64
"""A term is a bitmap when it is in at least one of 128 documents, and in at least 64."""


class Postings(NamedTuple):
    """An inverted index and the documents it was inverted from: n documents, v terms, p postings.

    Documents are numbered by (length, row), so that lists run from short to long documents and a
    stretch of them has nearly one length; terms are numbered by their UTF-8.
    """

    rows: Int64Array
    """(n,) ascending."""
    numbers: UInt32Array
    """(n,) the number of the document of each of ``rows``."""
    positions: UInt32Array
    """(n,) where in ``rows`` each number stands: the inverse of ``numbers``."""
    lengths: UInt32Array
    """(n,) terms of a document, repeats counted; ascending, since numbers ascend by length."""
    word_lengths: UInt32Array
    """(words(n),) the shortest of every 64 documents: one in 64 of ``lengths``."""
    document_offsets: Int64Array
    """(n + 1,) where a document begins in ``document_terms``."""
    document_terms: UInt32Array
    """(p,) the distinct terms of each document, ascending, some with ``REPEATED``."""
    document_frequencies: Int32Array
    """(v,) how many documents have the term."""
    lists: Int64Array
    """(v,) where the term's list begins in ``listed``, or ~i if it is bitmap i."""
    listed: UInt32Array
    """Documents of each term that is no bitmap, ascending."""
    bitmaps: UInt64Array
    """(bitmaps * words(n),) one bit per document, of each other term."""
    repeat_offsets: Int64Array
    """(v + 1,) where a term begins in ``repeat_documents`` and ``repeat_counts``."""
    repeat_documents: UInt32Array
    """The documents that have the term more than once, ascending."""
    repeat_counts: Int32Array
    """How often they have it: 2 or more."""
    repeat_codes: UInt8Array
    """The same, coarsely, and the document's length: see ``codes``."""
    vocabulary: UInt8Array
    """UTF-8 of the terms, one after the other, ascending and distinct."""
    vocabulary_offsets: Int64Array
    """(v + 1,) where a term begins in ``vocabulary``."""
    vocabulary_prefixes: UInt64Array
    """(v,) the first eight bytes of each term, big-endian, zeros after its end."""


def words(n_documents: int) -> int:
    """How many 64-bit words a bitmap of so many documents has."""
    return (n_documents + 63) // 64


class Saturation(NamedTuple):
    """How a term's weight counts by its frequency and the document's length."""

    norm_base: float
    norm_slope: float
    linear: bool = False
    share: float = 0.0


class Queries(NamedTuple):
    """The distinct terms of n queries, one query after the other, as one index numbers them."""

    terms: Int64Array
    """(m,) -1 where the index does not have it."""
    weights: Float64Array
    """(m,)"""
    offsets: Int64Array
    """(n + 1,) where a query begins."""
    constants: Float64Array
    """(n,)"""


class Best(NamedTuple):
    """The best documents of n queries so far: a bounded heap for each."""

    rows: Int64Array
    """(n, k) -1 where there is none."""
    scores: Float32Array
    """(n, k) -inf where there is none."""
    sizes: Int64Array
    """(n,)"""


def no_best(n_queries: int, k: int) -> Best:
    """No documents yet."""
    return Best(
        np.full((n_queries, k), -1, np.int64),
        np.full((n_queries, k), -np.inf, np.float32),
        np.zeros(n_queries, np.int64),
    )
