"""A BM25 segment: an inverted index opened for searching, and what a mask leaves of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, BoolArray, Int64Array
from ...documents import JsonObject
from ...kernels.bm25 import masks, terms
from ...kernels.bm25.layout import Postings, words
from ..remembered import Remembered

UInt64Array = NDArray[np.uint64]

NO_BITS: UInt64Array = np.zeros(0, np.uint64)
"""Bits that let every document through."""

_SPARSE = 32
"""Where a mask lets less than one row in so many through, only those are looked at."""


class View:
    """The documents of a segment that a searcher may see, and their statistics.

    ``bits``: one bit per document, by number; empty where every document is visible.
    """

    def __init__(self, postings: Postings, bits: UInt64Array, n: int, total_length: int) -> None:
        self.bits = bits
        self.n_documents = n
        self.total_length = total_length
        self._postings = postings
        self._known = np.full(len(postings.lists) if len(bits) else 0, -1, np.int32)

    def document_frequencies(self, numbers: Int64Array) -> Int64Array:
        """In how many visible documents each term is: (m,) int64; 0 for the number -1."""
        p = self._postings
        if len(self.bits):
            masks.count_terms(self.bits, numbers, p, self._known)
        counts = self._known if len(self.bits) else p.document_frequencies
        if len(counts) == 0:
            return np.zeros(len(numbers), np.int64)
        return np.where(numbers >= 0, counts[numbers], 0).astype(np.int64)


class BM25Segment:
    """An inverted index over some rows."""

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject) -> None:
        self.postings = Postings(*(_read_only(arrays[name]) for name in Postings._fields))
        self.summary = summary
        self._everything = View(
            self.postings, NO_BITS, summary["n_documents"], summary["total_length"]
        )
        self._bits = Remembered[UInt64Array]()
        self._views = Remembered[View]()

    @property
    def rows(self) -> Int64Array:
        """The rows it holds, ascending: (n,) int64."""
        return self.postings.rows

    def find(self, packed: NDArray[np.uint8], offsets: Int64Array) -> Int64Array:
        """The number of each of some terms, -1 for those it does not have: (m,) int64."""
        p = self.postings
        found: Int64Array = terms.find(
            packed, offsets, p.vocabulary, p.vocabulary_offsets, p.vocabulary_prefixes
        )
        return found

    def documents(self, rows: Int64Array, view: View) -> Int64Array:
        """The numbers of the documents of some rows, -1 for those not in view; any shape."""
        if not len(self.rows):
            return np.full(rows.shape, -1, np.int64)
        positions = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        numbers = self.postings.numbers[positions].astype(np.int64)
        found = self.rows[positions] == rows
        if len(view.bits):
            bit = view.bits[numbers >> 6] >> (numbers & 63).astype(np.uint64)
            found &= (bit & np.uint64(1)) == 1
        return np.where(found, numbers, -1)

    def allowed(self, view: View, selected: BoolArray | None) -> UInt64Array:
        """The documents in view that a filter selects, as bits; empty where all are."""
        if selected is None:
            return view.bits
        bits = self.bits(selected)
        if len(bits) and len(view.bits):
            return bits & view.bits
        return bits if len(bits) else view.bits

    def bits(self, mask: BoolArray) -> UInt64Array:
        """A mask over all rows as bits over this segment's documents; empty where all are in.

        A mask that cannot be written to is taken to stay as it is, and its bits are kept.
        """
        known = self._bits.get(mask)
        if known is None:
            known = self._make_bits(mask)
            if not mask.flags.writeable:
                self._bits.put(known, mask)
        return known

    def view(self, visible: BoolArray | None) -> View:
        """What a mask over all rows leaves visible; kept as bits are."""
        if visible is None:
            return self._everything
        known = self._views.get(visible)
        if known is not None:
            return known
        bits, view = self.bits(visible), self._everything
        if len(bits):
            n, total_length = masks.count_documents(bits, self.postings.lengths)
            view = View(self.postings, bits, n, total_length)
        if not visible.flags.writeable:
            self._views.put(view, visible)
        return view

    def _make_bits(self, mask: BoolArray) -> UInt64Array:
        rows = self.rows
        if not len(rows):
            return NO_BITS
        first, last = int(rows[0]), int(rows[-1])
        own = mask[first : last + 1] if last - first == len(rows) - 1 else mask[rows]
        n = np.count_nonzero(own)
        if n == len(rows):
            return NO_BITS
        if n < len(rows) // _SPARSE:
            bits: UInt64Array = masks.bits_of(np.flatnonzero(own), self.postings.numbers)
            return bits
        by_number = np.zeros(64 * words(len(rows)), np.bool_)
        by_number[: len(rows)] = own[self.postings.positions]
        return np.packbits(by_number, bitorder="little").view(np.uint64)


def _read_only(array: Array) -> Array:
    """The array, not to be written to: kernels are compiled for one kind, files being read-only."""
    array = array.view(np.ndarray)
    array.flags.writeable = False
    return array
