"""Which passage each sentence of an answer draws on, or that none supports it.

Two measures of a sentence against a window (a sentence of a passage, or two that follow each
other):

* **overlap**: the share of the sentence's words that stand in the window, each word weighed by how
  few windows hold it, log(1 + n / df), a word that none holds as if half of one did;
* **similarity**: the cosine of both by the collection's dense encoder, where it has one, taken on
  its query side for both, so that equal texts have the similarity 1.

A sentence is supported by the window of the greatest overlap that reaches ``min_overlap``, one of a
passage that its markers cite before all others; or else by the most similar one that reaches
``min_similarity``. In either case every number of the sentence stands in the window, and for
overlap every name (a word with a capital letter that does not begin the sentence) stands in the
passage or in the question: a wrong year or person changes few words. Words are compared without
case and not stemmed; a negation left out is not noticed. A language that capitalises its nouns has
more "names", and so more sentences marked unsupported than need be.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from ...answers import Sentence
from ...contracts import Float32Array
from .packing import Packed
from .sentences import sentences_of
from .settings import Answering
from .showing import MARKER, without_markers

Encode: TypeAlias = Callable[[Sequence[str]], Float32Array]
"""Texts -> (n, dim) float32, each of length 1."""
_WORD = re.compile(r"\d+(?:[.,]\d+)*|\w+")


class _Window(NamedTuple):
    place: int
    """The passage's, among those packed."""
    start: int
    end: int
    words: frozenset[str]


class Evidence:
    """The passages of a prompt as windows, to hold sentences against."""

    def __init__(self, question: str, passages: Sequence[Packed], encode: Encode | None) -> None:
        self._passages = passages
        self._asked = _words(question)
        self._windows = [
            window for place in range(len(passages)) for window in self._windows_of(place)
        ]
        self._in = [_words(f"{packed.title} {packed.shown.text}") for packed in passages]
        self._frequency = Counter(word for window in self._windows for word in window.words)
        self._encode = encode if self._windows else None
        self._vectors: Float32Array | None = None

    def _windows_of(self, place: int) -> list[_Window]:
        text = self._passages[place].shown.text
        spans = sentences_of(text)
        pairs = [(one[0], two[1]) for one, two in zip(spans, spans[1:], strict=False)]
        return [_Window(place, *span, _words(text[slice(*span)])) for span in [*spans, *pairs]]

    def sentence(self, text: str, start: int, end: int, settings: Answering) -> Sentence:
        """The sentence text[start:end] of an answer, held against every window."""
        written = text[start:end]
        cited = tuple(dict.fromkeys(ranks_in(written)))
        bare = without_markers(written)
        words, names = _words(bare), _names(bare)
        overlaps = self._overlaps(words)
        similarities = self._similarities(bare)
        best, supported = None, False
        if len(overlaps):
            by_overlap = [
                place
                for place, window in enumerate(self._windows)
                if overlaps[place] >= settings.min_overlap
                and _numbers(words) <= window.words
                and names <= self._in[window.place] | self._asked
            ]
            by_similarity = [
                place
                for place, window in enumerate(self._windows)
                if similarities is not None
                and similarities[place] >= settings.min_similarity
                and _numbers(words) <= window.words
            ]
            supported = bool(by_overlap or by_similarity)
            measured = overlaps if by_overlap or similarities is None else similarities
            among = by_overlap or by_similarity or range(len(self._windows))
            best = max(among, key=lambda place: self._order(place, float(measured[place]), cited))
        if best is None:
            return Sentence(start, end, cited, None, None, None, 0.0, None)
        window = self._windows[best]
        packed = self._passages[window.place]
        similarity = None if similarities is None else round(float(similarities[best]), 4)
        return Sentence(
            start, end, cited,
            packed.rank if supported else None,
            packed.id if supported else None,
            packed.span(window.start, window.end) if supported else None,
            round(float(overlaps[best]), 4), similarity,
        )  # fmt: skip

    def place_in(self, written: str, place: int) -> tuple[int, int]:
        """The characters of a passage, as shown, that a sentence is nearest to; else all."""
        overlaps = self._overlaps(_words(without_markers(written)))
        own = [number for number, window in enumerate(self._windows) if window.place == place]
        best = max(
            own, key=lambda number: self._order(number, float(overlaps[number]), ()), default=None
        )
        if best is None or not overlaps[best]:
            return 0, len(self._passages[place].shown.text)
        return self._windows[best].start, self._windows[best].end

    def _order(
        self, place: int, value: float, cited: Sequence[int]
    ) -> tuple[bool, float, int, int]:
        """Cited before others, then the greater, then the shorter window, then the first."""
        window = self._windows[place]
        rank = self._passages[window.place].rank
        return rank in cited, round(value, 6), window.start - window.end, -place

    def _overlaps(self, words: frozenset[str]) -> Float32Array:
        n = len(self._windows)
        weights = {word: math.log(1 + n / (self._frequency[word] or 0.5)) for word in words}
        whole = sum(weights.values())
        if not whole:
            return np.zeros(n, np.float32)
        shares = [
            sum(weights[word] for word in words & window.words) / whole for window in self._windows
        ]
        return np.array(shares, np.float32)

    def _similarities(self, text: str) -> Float32Array | None:
        if self._encode is None:
            return None
        if self._vectors is None:
            self._vectors = self._encode([
                self._passages[window.place].shown.text[window.start : window.end]
                for window in self._windows
            ])  # fmt: skip
        similarities: Float32Array = self._vectors @ self._encode([text])[0]
        return similarities


def ranks_in(text: str) -> list[int]:
    """The numbers that a text's markers give."""
    return [
        int(number) for found in MARKER.finditer(text) for number in re.findall(r"\d+", found[1])
    ]


def _words(text: str) -> frozenset[str]:
    return frozenset(word.casefold() for word in _WORD.findall(text))


def _names(text: str) -> frozenset[str]:
    """Words with a capital letter, but the first."""
    return frozenset(
        word.casefold() for word in _WORD.findall(text)[1:] if any(map(str.isupper, word))
    )


def _numbers(words: frozenset[str]) -> frozenset[str]:
    return frozenset(word for word in words if any(map(str.isdigit, word)))
