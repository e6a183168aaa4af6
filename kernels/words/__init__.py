"""Texts -> words -> numbers. :mod:`.rule` says what a word is.

A :class:`Vocabulary` numbers words from 0 in the order in which it first meets them, and keeps
the numbers from batch to batch:

``split(texts) -> (words, offsets)``
    words: (n_words,) int32, the words of all texts one after the other; offsets: (n_texts + 1,)
    int64, text i has words[offsets[i]:offsets[i + 1]]. How texts are batched changes nothing.
``locate(text, pairs=True) -> (words, spans)``
    spans: (n_words, 2) int64, begin and end of each word in characters of ``text`` as given,
    before any normalisation; both ascend. A character that stands for several words (a ligature,
    a fraction) belongs to each. ``pairs=False`` gives the characters of scripts without spaces
    one by one instead of in pairs.
``words(first=0) -> list[str]``
    the words numbered ``first`` and up; ``len(vocabulary)`` is their number.

No text and an empty text are allowed; a lone surrogate separates words. Not for several threads
at a time. ``reference.py`` is the specification; ``cpu.py`` is what runs, on texts of at most
2**31 - 1 words in a batch and a vocabulary of as many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Vocabulary(Protocol):
    """Words and their numbers; see the module."""

    def __len__(self) -> int: ...

    def split(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Word numbers of all texts, and where each text's begin."""

    def locate(self, text: str, pairs: bool = True) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Word numbers of one text, and their spans."""

    def words(self, first: int = 0) -> list[str]:
        """The words numbered ``first`` and up."""


def vocabulary(turkic: bool = False) -> Vocabulary:
    """An empty vocabulary; ``turkic`` reads a capital I as the dotless i."""
    from .cpu import Vocabulary

    return Vocabulary(turkic)
