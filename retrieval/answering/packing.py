"""The passages of hits, packed into a budget of tokens, the best first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ...rankers.listwise.passages import CHARACTERS_PER_TOKEN
from ...results import Result, Span
from .settings import Answering
from .showing import Shown, shown

TITLE_TOKENS = 32
LONGEST_WORD = 40
LEAST_TOKENS = 24
"""A passage that would have fewer than these is left out."""


class Packed(NamedTuple):
    """A passage as the prompt has it: its document's id, its hit's rank, and its characters.

    ``start``: where the passage begins in its document's text.
    """

    id: str
    rank: int
    title: str
    shown: Shown
    start: int

    def span(self, start: int, end: int) -> Span:
        """Where its shown characters [start, end) stand in the document's text."""
        return self.shown.span(start, end, self.start)


def pack(
    result: Result,
    count: Callable[[str], int],
    settings: Answering,
    room: int,
    forbidden: Sequence[str] = (),
) -> tuple[list[Packed], list[str]]:
    """What fits of the hits' passages, and what to say of the rest.

    ``room``: how many tokens there are for passages at all. A passage longer than its share loses
    its end; those for which nothing is left are left out.
    """
    left = min(settings.passages_tokens, room)
    packed: list[Packed] = []
    cut_short = 0
    for hit in result:
        start, end = hit.span
        most = min(settings.passage_tokens, left)
        if most < LEAST_TOKENS:
            break
        title = shown(hit.title[: CHARACTERS_PER_TOKEN * TITLE_TOKENS], forbidden).text
        title = title[: fitting(title, TITLE_TOKENS, count)]
        most -= count(title) if title else 0
        text = hit.text[start : min(end, start + 4 * CHARACTERS_PER_TOKEN * most)]
        whole = shown(text, forbidden)
        kept = whole.cut(fitting(whole.text, most, count))
        cut_short += len(kept.text) < len(whole.text) or len(text) < end - start
        if not kept.text and not title:
            continue
        packed.append(Packed(hit.id, hit.rank, title, kept, start))
        left -= count(f"[{hit.rank}] {title}: {kept.text}")
    flags = []
    if cut_short:
        flags.append(f"{cut_short} passages were longer than their share and lost their end")
    empty = sum(1 for hit in result if not (hit.passage or hit.title))
    if (missing := len(result) - empty - len(packed)) > 0:
        flags.append(f"the prompt had no room for the passages of {missing} hits")
    return packed, flags


def fitting(text: str, most: int, count: Callable[[str], int]) -> int:
    """How many first characters take at most ``most`` tokens; whole words, where there are any."""
    if len(text) <= CHARACTERS_PER_TOKEN * most and count(text) <= most:
        return len(text)
    low, high = 0, min(len(text), CHARACTERS_PER_TOKEN * most)
    while low < high:
        middle = (low + high + 1) // 2
        if count(text[:middle]) <= most:
            low = middle
        else:
            high = middle - 1
    word = text.rfind(" ", max(0, low - LONGEST_WORD), low + 1)
    return low if word < 0 or low == len(text) else word
