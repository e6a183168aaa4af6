"""The rule of :mod:`.rule`, character by character: the specification of the kernel."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .rule import (
    CONNECTOR,
    IGNORED,
    MARK,
    SPACELESS,
    WORD,
    blocks,
    classify,
    cut,
    lower,
    starts_piece,
)


class Character(NamedTuple):
    """A character of the normalised text and the span of the given text that it came from.

    What NFKC changes, it changes piece by piece (:func:`~.rule.starts_piece`); a character of a
    changed piece has the span of the whole piece.
    """

    char: str
    start: int
    end: int


class Word(NamedTuple):
    """A word or a character of a script without spaces, not cut, and its span in the given text.

    ``continues``: it is a spaceless character right after another.
    """

    text: str
    start: int
    end: int
    spaceless: bool = False
    continues: bool = False


def characters(text: str) -> Iterator[Character]:
    """The characters of NFKC of the text."""
    for first, last in blocks(text):
        start = first
        while start < last:
            end = start + 1
            while end < last and not starts_piece(text[end]):
                end += 1
            piece = unicodedata.normalize("NFKC", text[start:end])
            if piece == text[start:end]:
                yield from (Character(text[i], i, i + 1) for i in range(start, end))
            else:
                yield from (Character(char, start, end) for char in piece)
            start = end


def units(text: str, turkic: bool = False) -> Iterator[Word]:
    """Words, and the single characters of scripts without spaces."""
    part: list[Character] = []
    kind = 0
    continues = False

    def closed() -> Iterator[Word]:
        if kind == SPACELESS or any(classify(char) == WORD for char, _, _ in part):
            term = "".join(lower(char, turkic) for char, _, _ in part)
            yield Word(term, part[0].start, part[-1].end, kind == SPACELESS, continues)

    for character in characters(text):
        given = classify(character.char)
        if given == IGNORED:
            continue
        if given == MARK or (given in (WORD, CONNECTOR) and kind == WORD):
            if kind:
                part.append(character)
            continue
        yield from closed()
        continues = given == SPACELESS and kind == SPACELESS
        part = [character]
        kind = {WORD: WORD, CONNECTOR: WORD, SPACELESS: SPACELESS}.get(given, 0)
    yield from closed()


def words(text: str, turkic: bool = False) -> Iterator[Word]:
    """The words of a text, not cut: those of :func:`units`, with spaceless characters in pairs."""
    before: Word | None = None
    alone = False
    for unit in units(text, turkic):
        if before is not None and alone and not unit.continues:
            yield before
        if not unit.spaceless:
            yield unit
            before = None
            continue
        if unit.continues and before is not None:
            yield Word(before.text + unit.text, before.start, unit.end, spaceless=True)
        alone = not unit.continues
        before = unit
    if before is not None and alone:
        yield before


class Vocabulary:
    """The contract of :class:`cormorant.kernels.words.Vocabulary`, with a dictionary."""

    def __init__(self, turkic: bool = False) -> None:
        self._turkic = turkic
        self._ids: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def split(self, texts: Sequence[str]) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Word numbers of all texts, and where each text's begin."""
        ids: list[int] = []
        offsets = [0]
        for text in texts:
            ids += [self._number(word) for word in words(text, self._turkic)]
            offsets.append(len(ids))
        return np.array(ids, np.int32), np.array(offsets, np.int64)

    def locate(self, text: str, pairs: bool = True) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
        """Word numbers of one text, and their spans."""
        found = list((words if pairs else units)(text, self._turkic))
        spans = np.array([(word.start, word.end) for word in found], np.int64).reshape(-1, 2)
        return np.array([self._number(word) for word in found], np.int32), spans

    def words(self, first: int = 0) -> list[str]:
        """The words numbered ``first`` and up."""
        return list(self._ids)[first:]

    def _number(self, word: Word) -> int:
        return self._ids.setdefault(cut(word.text), len(self._ids))
