"""Texts -> numbers of terms: stop words left out, every distinct word stemmed once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...kernels.words import Vocabulary
from .diacritics import without_diacritics

Int32Array: TypeAlias = NDArray[np.int32]
Int64Array: TypeAlias = NDArray[np.int64]

_STOPPED = -1


class Stemmer(Protocol):
    """What PyStemmer offers."""

    def stemWords(self, words: list[str]) -> list[str]:  # noqa: N802 (PyStemmer's name)
        """The stem of each word."""


class Lexicon:
    """The terms met so far, numbered from 0 in the order of their first appearance.

    Numbers never change. :meth:`Analyzer.lexicon` makes one; it is not for several threads at a
    time.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        stop_words: frozenset[str],
        stemmer: Stemmer | None,
        fold: bool,
    ) -> None:
        self._vocabulary = vocabulary
        self._stop_words = stop_words
        self._stemmer = stemmer
        self._fold = fold
        self._ids: dict[str, int] = {}
        self._term_of_word = np.empty(64, np.int32)
        self._known_words = 0

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def terms(self) -> list[str]:
        """The terms in the order of their numbers: a new list."""
        return list(self._ids)

    def encode(self, texts: Sequence[str]) -> tuple[Int32Array, Int64Array]:
        """The terms of each text, in order.

        Returns term_ids (n_tokens,) int32 and offsets (n_texts + 1,) int64: text i has
        term_ids[offsets[i]:offsets[i + 1]]. How texts are batched changes nothing.
        """
        words, offsets = self._vocabulary.split(texts)
        self._learn()
        terms = self._term_of_word[words]
        kept = terms != _STOPPED
        kept_before = np.zeros(len(words) + 1, np.int64)
        np.cumsum(kept, out=kept_before[1:])
        return terms[kept], kept_before[offsets]

    def find(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the words of ``text`` whose term was met before this call.

        Spans ascend and are disjoint: those that overlap or touch are one.
        """
        n_terms = len(self._ids)
        words, spans = self._vocabulary.locate(text)
        self._learn()
        terms = self._term_of_word[words]
        found: list[tuple[int, int]] = []
        for start, end in spans[(terms != _STOPPED) & (terms < n_terms)].tolist():
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def packed_terms(self) -> tuple[NDArray[np.uint8], Int64Array]:
        """UTF-8 of all terms in the order of their numbers.

        Returns bytes (n_bytes,) uint8 and offsets (n_terms + 1,) int64.
        """
        encoded = [term.encode() for term in self._ids]
        offsets = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum([len(term) for term in encoded], out=offsets[1:])
        return np.frombuffer(b"".join(encoded), np.uint8), offsets

    def _learn(self) -> None:
        """The terms of the words that the vocabulary learnt since the last call."""
        known, self._known_words = self._known_words, len(self._vocabulary)
        if known == self._known_words:
            return
        words = self._vocabulary.words(known)
        if self._fold:
            words = without_diacritics(words)
        stems = words if self._stemmer is None else self._stemmer.stemWords(words)
        ids = self._ids
        new = [
            _STOPPED if word in self._stop_words else ids.setdefault(stem or word, len(ids))
            for word, stem in zip(words, stems, strict=True)
        ]
        if self._known_words > len(self._term_of_word):
            room = np.empty(self._known_words, np.int32)
            self._term_of_word = np.concatenate([self._term_of_word[:known], room])
        self._term_of_word[known : self._known_words] = new
