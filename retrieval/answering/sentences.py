"""A text's sentences, by its punctuation; markers behind a full stop belong to what is before."""

from __future__ import annotations

import re

from .showing import MARKER

_END = re.compile(
    rf"(?:[.!?]+[\"'”’»)\]]*(?=\s|$|\[\d)|[。！？]+[”’」』）]*|\n)(?:[ \t]*{MARKER.pattern})*",
)
_WORD = re.compile(r"\w+")
_LEAST_WORDS = 2


def sentences_of(text: str) -> list[tuple[int, int]]:
    """Spans of characters, ascending and disjoint, white space around them left out.

    A sentence ends at a full stop, question or exclamation mark before white space in front of
    something that is no small letter, or at a line's end. A piece of a single word ("Dr.", "1.")
    goes with what follows it.
    """
    spans: list[tuple[int, int]] = []
    start = 0
    for found in _END.finditer(text):
        end = found.end()
        rest = text[end:].lstrip()
        words = len(_WORD.findall(MARKER.sub(" ", text[start:end])))
        ended = found[0][0] == "\n" or not rest[:1].islower()
        if ended and (words >= _LEAST_WORDS or not rest):
            spans.append((start, end))
            start = end
    spans.append((start, len(text)))
    trimmed = []
    for begin, end in spans:
        inner = text[begin:end]
        begin += len(inner) - len(inner.lstrip())
        if inner.strip():
            trimmed.append((begin, begin + len(inner.strip())))
    if len(trimmed) > 1 and not _WORD.search(MARKER.sub(" ", text[slice(*trimmed[-1])])):
        (first, _), (_, last) = trimmed[-2:]
        trimmed[-2:] = [(first, last)]
    return trimmed
