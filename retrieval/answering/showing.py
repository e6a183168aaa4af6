"""Texts as a prompt shows them: cleaned, and every character still knows where it came from.

What a passage may not bring into a prompt is what it may not bring into a listwise ranking
(:mod:`cormorant.rankers.listwise.passages`): hidden characters, numbers in square brackets (which
the answer cites by), and the words that delimit passages; here also the tokens by which a chat
template tells turns apart. All but white space and NFKC's foldings keeps its length.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from ...rankers.listwise.passages import BRACKETED, DELIMITER, HIDDEN
from ...results import Span

MARKER = re.compile(r"\[\s*(\d{1,4}(?:\s*[,;]\s*\d{1,4})*)\s*\]")
"""How an answer cites: [1], or [1, 3]."""
_CITED = re.compile(rf"\s*{MARKER.pattern}")
_CONTROL = re.compile(
    r"<\|[^<>|]{0,60}\|>|</?s>|</?(?:bos|eos|pad|unk)>|</?(?:start|end)_of_turn>|\[/?INST\]"
    r"|<</?SYS>>|</?answer>|</?question>",
    re.IGNORECASE,
)
"""Tokens of chat templates in use, as text; those of a local model are given by its tokenizer."""


class Shown(NamedTuple):
    """A cleaned text; its character i was made of [origins[i], ends[i]) of the given text."""

    text: str
    origins: Sequence[int]
    ends: Sequence[int]

    def span(self, start: int, end: int, offset: int = 0) -> Span:
        """Where its characters [start, end) stand in the given text, ``offset`` further on."""
        if start >= end:
            return Span(offset, offset)
        return Span(offset + self.origins[start], offset + self.ends[end - 1])

    def cut(self, end: int) -> Shown:
        """Its first characters, without white space at the end."""
        text = self.text[:end].rstrip()
        return Shown(text, self.origins[: len(text)], self.ends[: len(text)])


def shown(text: str, forbidden: Sequence[str] = ()) -> Shown:
    """One line of a text, without what could be read as a marker, a delimiter or a control token.

    ``forbidden``: more control tokens, as a tokenizer writes them.
    """
    folded: list[str] = []
    places: list[tuple[int, int]] = []
    for start, run in _runs(text):
        for char in run if run.isascii() else unicodedata.normalize("NFKC", run):
            folded.append(" " if unicodedata.category(char) in HIDDEN else char)
            places.append((start, start + len(run)))
    safe = _cleaned("".join(folded), tuple(filter(None, forbidden)))
    kept = [
        place
        for place, char in enumerate(safe)
        if not char.isspace() or (place and not safe[place - 1].isspace())
    ]
    line = "".join(" " if safe[place].isspace() else safe[place] for place in kept)
    origins, ends = ([places[place][side] for place in kept] for side in (0, 1))
    return Shown(line, origins, ends).cut(len(line))


def _runs(text: str) -> Iterator[tuple[int, str]]:
    """A character with the combining marks behind it: what NFKC may make one of."""
    start = 0
    for place in range(1, len(text) + 1):
        if place == len(text) or text[place] < "\u0300" or not unicodedata.combining(text[place]):
            yield start, text[start:place]
            start = place


def without_markers(text: str) -> str:
    """An answer's text without the numbers that it cites by, and the space before them."""
    return _CITED.sub("", text)


def _cleaned(text: str, forbidden: Sequence[str]) -> str:
    while True:
        safer = DELIMITER.sub(_blank, _CONTROL.sub(_blank, text))
        for token in forbidden:
            safer = safer.replace(token, " " * len(token))
        for numbered in (BRACKETED, MARKER):
            safer = numbered.sub(lambda found: f"({found[0][1:-1]})", safer)
        if safer == text:  # brackets inside brackets come to light one layer at a time
            return text
        text = safer


def _blank(found: re.Match[str]) -> str:
    return " " * len(found[0])
