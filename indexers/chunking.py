"""Long texts -> passages of whole sentences."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

import numpy as np

from ..contracts import Int64Array
from ..errors import InputError
from ..kernels.words import vocabulary

MIN_TOKENS = 8
"""More than one character can be: NFKC makes up to six tokens of one (U+3316)."""

_IDEOGRAPHIC_STOPS = "。！？｡"
# Every run is possessive, so that no text is read twice.
_SENTENCE_END = re.compile(
    "(?P<stop>[" + _IDEOGRAPHIC_STOPS + r".!?…‼⁇⁈⁉．։؟۔܀।॥။።፧፨។៕᠃᠉᭚᭛]++"
    r"[\"'”’»›)\]}」』）】〉》]*+)(?P<space>\s*+)"
    r"|[\n\r\v\f\x85\u2028\u2029]\s*+"
)


@dataclass(frozen=True, slots=True)
class Chunking:
    """How long texts are split into passages.

    A passage holds whole sentences, at most ``tokens`` tokens of them, and begins with the last
    sentences of the passage before it, at most ``overlap`` tokens of those. A sentence ends as
    punctuation says (a simple form of UAX #29) and at every line break; one of more than ``tokens``
    tokens is split between words. Tokens are words before stop words are dropped, and the single
    characters of scripts without spaces (:mod:`cormorant.kernels.words.rule`).

    Raises InputError unless tokens >= 8 and 0 <= overlap < tokens.
    """

    tokens: int = 256
    overlap: int = 32

    def __post_init__(self) -> None:
        for name, value in (("tokens", self.tokens), ("overlap", self.overlap)):
            if type(value) is not int:
                raise InputError(f"takes a whole number, got {value!r}", field=name)
        if self.tokens < MIN_TOKENS:
            raise InputError(f"takes {MIN_TOKENS} or more, got {self.tokens}", field="tokens")
        if not 0 <= self.overlap < self.tokens:
            raise InputError(
                f"takes 0 to {self.tokens - 1} (less than tokens), got {self.overlap}",
                field="overlap",
            )

    def split(self, text: str) -> list[tuple[int, int]]:
        """Character spans of the passages, ascending.

        They hold every character but white space between passages. A text that fits is one passage,
        (0, len(text)), the empty text too. Takes time linear in the length of the text.
        """
        whole = [(0, len(text))]
        if text.isascii() and len(text) < 2 * self.tokens:
            return whole  # between two words stands a character
        _, words = vocabulary().locate(text, pairs=False)
        if len(words) <= self.tokens:
            return whole
        bounds = self._bounds(text, words)
        before = np.searchsorted(words[:, 0], bounds).tolist()

        passages = []
        first, n_sentences = 0, len(bounds) - 1
        while True:
            # The furthest bound within the budget; no sentence is over it, so there is progress.
            last = bisect_right(before, before[first] + self.tokens) - 1
            passages.append(_stripped(text, bounds[first], bounds[last]))
            if last == n_sentences:
                return passages
            # The overlap leaves room for the next sentence.
            least = max(before[last] - self.overlap, before[last + 1] - self.tokens)
            first = bisect_right(before, before[bisect_left(before, least)]) - 1

    def _bounds(self, text: str, words: Int64Array) -> list[int]:
        """Where sentences begin, or parts of those over the budget; 0 and the text's end."""
        ends = _sentence_ends(text)
        before = np.searchsorted(words[:, 0], [0, *ends])
        if int(np.diff(before).max()) <= self.tokens:
            return [0, *ends]
        bounds = [0]
        for end, word, end_word in zip(ends, before[:-1], before[1:], strict=True):
            while end_word - word > self.tokens:
                word += self.tokens
                while words[word, 0] == words[word - 1, 0]:
                    word -= 1  # both begin in one character
                bounds.append(int(words[word, 0]))
            bounds.append(end)
        return bounds


def _sentence_ends(text: str) -> list[int]:
    """Where sentences end, white space included, ascending; the last is the text's end."""
    ends = [
        found.end()
        for found in _SENTENCE_END.finditer(text)
        if found.end() < len(text) and _ends_sentence(found, text)
    ]
    return [*ends, len(text)]


def _ends_sentence(found: re.Match[str], text: str) -> bool:
    stop, space = found["stop"], found["space"]
    if stop is None or any(char in _IDEOGRAPHIC_STOPS for char in stop):
        return True
    if not space:
        return False  # 3.14, example.org
    # A full stop before a small letter ends an abbreviation (UAX #29, SB8).
    return stop[0] != "." or "\n" in space or not text[found.end()].islower()


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while start < end and text[end - 1].isspace():
        end -= 1
    return start, end
