"""A sparse segment, opened for searching, and what a searcher may see of it."""

from __future__ import annotations

from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Allowed, Array, BoolArray, Int64Array
from ...documents import JsonObject
from ...kernels import postings
from ...kernels.postings.layout import Float32Array, Impacts, Queries, UInt64Array
from ...vectors import SparseVectors
from .packing import Encoded
from .vocabulary import Vocabulary
from .weighted import Weighted

if TYPE_CHECKING:
    from ...kernels.postings.gpu import DeviceImpacts

NO_BITS: UInt64Array = np.zeros(0, np.uint64)
"""Bits that let every document through."""
NO_BITS.flags.writeable = False
FOR_A_DEVICE = 8
"""From so many queries on a GPU is asked, which looks at every document for each."""
_MASKS_KEPT = 8


class Words(NamedTuple):
    """The distinct words of n texts, which document frequencies are counted of."""

    starts: Int64Array
    """(n + 1,) where a text's words begin; all 0 where no words are kept."""
    places: Array
    """Their places in the vocabulary, ascending in a text."""


class SparseSegment:
    """Weighted terms of some rows, inverted."""

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject) -> None:
        own = {name: read_only(array) for name, array in arrays.items()}
        self.impacts = Impacts(*(own[name] for name in Impacts._fields))
        self.vocabulary = Vocabulary(*(own[name] for name in Vocabulary._fields))
        self.words = Words(own["word_starts"], own["words"])
        self.cut: BoolArray = own["cut"]
        self.summary = summary
        self.tokens = self.vocabulary.tokens()
        self._bits: list[tuple[Allowed, UInt64Array]] = []
        self._counted: list[tuple[BoolArray | None, tuple[int, Int64Array]]] = []
        self._placed: Impacts | DeviceImpacts | None = None
        self._lock = Lock()

    @property
    def rows(self) -> Int64Array:
        """The rows it holds, ascending: (n,) int64."""
        return self.impacts.rows

    def placed(self, n_queries: int) -> Impacts | DeviceImpacts:
        """The impacts where so many queries are best asked: on a GPU, if there is one, a batch.

        They are copied there once, and stay as long as the segment is open.
        """
        if n_queries < FOR_A_DEVICE:
            return self.impacts
        with self._lock:
            if self._placed is None:
                self._placed = postings.placed(self.impacts)
            return self._placed

    def queries(self, asked: Weighted, weights: Float32Array) -> Queries:
        """Queries in the terms of this segment, with these weights: (m,) float32."""
        found = self.vocabulary.find(asked.terms, asked.tokens)
        if asked.tokens is not None:  # numbered as they were first seen
            owners = np.repeat(np.arange(len(asked.starts) - 1), np.diff(asked.starts))
            order = np.lexsort((found, owners))
            found, weights = found[order], weights[order]
        return Queries(read_only(found), read_only(weights), read_only(asked.starts))

    def documents(self, rows: Int64Array, visible: BoolArray | None) -> Int64Array:
        """Where rows are in this segment, -1 for those absent or not visible; any shape."""
        if not len(self.rows):
            return np.full(rows.shape, -1, np.int64)
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        found = self.rows[places] == rows
        if visible is not None:
            found &= visible[self.rows[places]]
        return np.where(found, places, -1)

    def encoded(self, document: int) -> Encoded:
        """One document as it was encoded."""
        p, known = self.impacts, self.vocabulary
        own = slice(p.starts[document], p.starts[document + 1])
        terms = p.terms[own].astype(np.int64)
        starts = np.array([0, len(terms)], np.int64)
        if self.tokens is not None:
            tokens = tuple(self.tokens[term] for term in terms.tolist())
            vectors = Weighted(starts, np.arange(len(terms)), p.weights[own], tokens)
            return Encoded(vectors, None, self.cut[document : document + 1])
        spoken = slice(self.words.starts[document], self.words.starts[document + 1])
        words = known.numbers[self.words.places[spoken]]
        return Encoded(
            Weighted(starts, known.numbers[terms], p.weights[own]),
            SparseVectors(np.array([0, len(words)]), words, np.ones(len(words), np.float32)),
            self.cut[document : document + 1],
        )

    def bits(self, allowed: Allowed) -> UInt64Array:
        """One bit per document that both masks let through; empty where all are.

        A mask that cannot be written to is taken to stay as it is, and its bits are kept.
        """
        masks = [mask for mask in allowed if mask is not None]
        if not masks or not len(self.rows):
            return NO_BITS
        with self._lock:
            for known, bits in self._bits:
                if known.visible is allowed.visible and known.selected is allowed.selected:
                    return bits
        through = self._own(masks[0])
        for mask in masks[1:]:
            through = through & self._own(mask)
        bits = NO_BITS
        if not through.all():
            padded = np.zeros((len(through) + 63) // 64 * 64, np.bool_)
            padded[: len(through)] = through
            bits = np.packbits(padded, bitorder="little").view(np.uint64)
            bits.flags.writeable = False
        if not any(mask.flags.writeable for mask in masks):
            with self._lock:
                self._bits = [(allowed, bits), *self._bits[: _MASKS_KEPT - 1]]
        return bits

    def counted(self, visible: BoolArray | None) -> tuple[int, Int64Array]:
        """How many texts are visible, and how many of them have each word: (v,) int64."""
        with self._lock:
            for known, counts in self._counted:
                if known is visible:
                    return counts
        starts, places = self.words
        if visible is None:
            n, used = len(self.rows), places
        else:
            own = self._own(visible)
            n, used = int(np.count_nonzero(own)), places[np.repeat(own, np.diff(starts))]
        result = n, np.bincount(used, minlength=self.vocabulary.size).astype(np.int64)
        if visible is None or not visible.flags.writeable:
            with self._lock:
                self._counted = [(visible, result), *self._counted[: _MASKS_KEPT - 1]]
        return result

    def _own(self, mask: BoolArray) -> BoolArray:
        first, last = int(self.rows[0]), int(self.rows[-1])
        if last - first == len(self.rows) - 1:  # no gaps
            return mask[first : last + 1]
        own: BoolArray = mask[self.rows]
        return own


def frozen(impacts: Impacts) -> Impacts:
    """The same, not to be written to."""
    return Impacts(*(read_only(array) for array in impacts))


def read_only(array: Array) -> Array:
    """The array, not to be written to: kernels are compiled for one kind, files being read-only."""
    array = array.view(np.ndarray)
    array.flags.writeable = False
    return array
