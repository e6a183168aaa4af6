"""The terms of a segment: numbers of a vocabulary, or tokens; ascending, and found again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array
from ...kernels.bm25 import terms as kernel


class Vocabulary(NamedTuple):
    """v distinct terms. Numbers ascend, or tokens by their UTF-8; the other arrays are empty."""

    numbers: Int64Array
    """(v,) int64"""
    packed: NDArray[np.uint8]
    """UTF-8 of the tokens, one after the other."""
    packed_offsets: Int64Array
    """(v + 1,) where a token begins in ``packed``; (1,) where there are none."""
    prefixes: NDArray[np.uint64]
    """(v,) the first eight bytes of each token."""

    @property
    def size(self) -> int:
        """How many terms."""
        return len(self.numbers) + len(self.prefixes)

    @property
    def of_tokens(self) -> bool:
        """Whether terms are tokens."""
        return len(self.prefixes) > 0

    def find(self, terms: Int64Array, tokens: Sequence[str] | None) -> Int64Array:
        """The places of terms, -1 for those not there: (m,) int64.

        terms: numbers, or places in ``tokens`` where there are any.
        """
        if tokens is not None:
            found: Int64Array = kernel.find(
                *pack(tokens), self.packed, self.packed_offsets, self.prefixes
            )
            return found[terms]
        if not len(self.numbers):
            return np.full(len(terms), -1, np.int64)
        places = np.minimum(np.searchsorted(self.numbers, terms), len(self.numbers) - 1)
        return np.where(self.numbers[places] == terms, places, -1)

    def tokens(self) -> tuple[str, ...] | None:
        """The tokens; None where terms are numbers."""
        if not self.of_tokens:
            return None
        text, ends = self.packed.tobytes(), self.packed_offsets.tolist()
        return tuple(text[a:b].decode() for a, b in zip(ends[:-1], ends[1:], strict=True))

    def taken(self, places: Int64Array) -> Vocabulary:
        """Some of the terms, ascending."""
        if not self.of_tokens:
            return of_numbers(self.numbers[places])
        return _of_packed(*kernel.take(self.packed, self.packed_offsets, places))


def pack(tokens: Iterable[str]) -> tuple[NDArray[np.uint8], Int64Array]:
    """The UTF-8 of tokens, one after the other, and where each begins and ends."""
    encoded = [token.encode() for token in tokens]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(token) for token in encoded], out=offsets[1:])
    return np.frombuffer(b"".join(encoded), np.uint8), offsets


def of_numbers(numbers: Int64Array) -> Vocabulary:
    """A vocabulary of numbers that ascend."""
    nothing = np.zeros(0, np.uint8), np.zeros(1, np.int64), np.zeros(0, np.uint64)
    return Vocabulary(numbers, *nothing)


def of_tokens(tokens: Sequence[str]) -> tuple[Vocabulary, Int64Array]:
    """A vocabulary of distinct tokens, and the place of each in it: (m,) int64."""
    packed, offsets = pack(tokens)
    order = kernel.order(packed, offsets)
    places = np.empty(len(order), np.int64)
    places[order] = np.arange(len(order))
    return _of_packed(*kernel.take(packed, offsets, order)), places


def _of_packed(packed: NDArray[np.uint8], offsets: Int64Array) -> Vocabulary:
    prefixes = kernel.prefixes(packed, offsets)
    return Vocabulary(np.zeros(0, np.int64), packed, offsets, prefixes)


def union(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """The terms of several, all of one kind where they have any."""
    if any(vocabulary.of_tokens for vocabulary in vocabularies):
        nothing = np.empty(0, np.uint8), np.zeros(1, np.int64)
        parts = [(v.packed, v.packed_offsets) for v in vocabularies]
        return _of_packed(*reduce(lambda a, b: kernel.union(*a, *b), parts, nothing))
    numbers = [np.zeros(0, np.int64), *(vocabulary.numbers for vocabulary in vocabularies)]
    return of_numbers(np.unique(np.concatenate(numbers)))


def places_in(old: Vocabulary, new: Vocabulary) -> Int64Array:
    """Where each term of one vocabulary is in another: (v,) int64, -1 where it is not."""
    if old.of_tokens:
        found: Int64Array = kernel.find(
            old.packed, old.packed_offsets, new.packed, new.packed_offsets, new.prefixes
        )
        return found
    return new.find(old.numbers, None)
