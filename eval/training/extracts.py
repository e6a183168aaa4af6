"""Passages, a question, and an answer in the passages' own words: what an answering model learns.

Each example is made from a pair (question, text) as an answer's prompt shows it: the text's passage
among others in any order. An extractive answer is the sentence that has most of the question's
words, and sometimes the one behind it, with the passage's number. An abstractive one says in the
pair's own words what the passage is about. Which it is, and all else that is drawn, follows from
the seed and the example's number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from ...errors import InputError
from ...retrieval.answering.packing import Packed
from ...retrieval.answering.prompts import prompt_of
from ...retrieval.answering.sentences import sentences_of
from ...retrieval.answering.showing import Shown, shown
from .material import Source

ABOUT = "In a few words, what is passage [{number}] about?"
"""The question that is answered in words of one's own."""
PASSAGES = 3
LONGEST_PASSAGE = 700
"""Characters of a passage."""
SHINGLE = 13
"""Texts with as many words in a row in common are taken for one document."""
_ABSTRACTIVE = 0.25
_LONGEST_TITLE = 160
_WORD = re.compile(r"\w+")


class Example(NamedTuple):
    """A prompt, and what is to come after it."""

    prompt: str
    answer: str


class Extracts:
    """Examples from the pairs of sources, by their number; any number is good.

    ``apart``: texts that no example may share a document with. Raises
    :class:`~cormorant.errors.InputError` where nothing is left.
    """

    def __init__(self, sources: Sequence[Source], apart: Iterable[str], seed: int) -> None:
        barred = {shingle for text in apart for shingle in shingles(text)}
        self._seed = seed
        self._pairs: list[tuple[str, str]] = []
        self.left_out = 0
        for source in sources:
            texts = [text for _, text in source.documents]
            common = {
                number for number, text in enumerate(texts) if not barred.isdisjoint(shingles(text))
            }
            self.left_out += len(common)
            self._pairs += [
                (query, texts[number])
                for query, gains in zip(source.queries, source.gains, strict=True)
                for number in gains
                if number not in common and len(texts[number]) > len(query)
            ]
        if not self._pairs:
            raise InputError("no pair is left to learn from", field="pairs")

    def __len__(self) -> int:
        return len(self._pairs)

    def texts(self, most: int) -> list[str]:
        """Some examples whole, for a tokenizer to learn from."""
        return ["".join(self.example(number)) for number in range(most)]

    def example(self, number: int) -> Example:
        """The example of a number."""
        draw = np.random.default_rng([self._seed, number])
        query, text = self._pairs[int(draw.integers(len(self._pairs)))]
        others = draw.integers(len(self._pairs), size=int(draw.integers(PASSAGES)))
        title = shown(query).text
        abstractive = draw.random() < _ABSTRACTIVE and len(title) <= _LONGEST_TITLE
        passage, answer = _passage(title, shown(text).text, two=bool(draw.random() < 0.5))
        passages = [passage, *(_passage("", shown(self._pairs[at][1]).text)[0] for at in others)]
        order = draw.permutation(len(passages)).tolist()
        packed = [
            Packed(str(at), rank, "", Shown(passages[at], (), ()), 0)
            for rank, at in enumerate(order, 1)
        ]
        rank = order.index(0) + 1
        question = ABOUT.format(number=rank) if abstractive else title
        answer = title if abstractive else answer
        return Example(prompt_of(question, packed).text, f" {answer} [{rank}]")


def shingles(text: str) -> set[tuple[str, ...]]:
    """Every run of ``SHINGLE`` words; of a shorter text the whole."""
    words = [word.lower() for word in _WORD.findall(text)]
    last = max(1, len(words) - SHINGLE + 1)
    return {tuple(words[at : at + SHINGLE]) for at in range(last)}


def _passage(question: str, text: str, *, two: bool = False) -> tuple[str, str]:
    """A passage of a text around its best sentence, and that sentence (and the next)."""
    spans = sentences_of(text) or [(0, len(text))]
    asked = {word.lower() for word in _WORD.findall(question)}

    def overlap(span: tuple[int, int]) -> float:
        words = {word.lower() for word in _WORD.findall(text[slice(*span)])}
        return len(asked & words) / math.sqrt(3 + len(words))

    best = max(range(len(spans)), key=lambda at: overlap(spans[at]))
    start = spans[best][0]
    last = best + 1 if two and best + 1 < len(spans) else best
    end = min(spans[last][1], start + LONGEST_PASSAGE)
    # as much of the text before as behind, sentence by sentence
    before, behind = best, last
    while True:
        wider = [
            (before - 1, behind) if before else None,
            (before, behind + 1) if behind + 1 < len(spans) else None,
        ]
        fitting = [
            pair
            for pair in wider
            if pair and spans[pair[1]][1] - spans[pair[0]][0] <= LONGEST_PASSAGE
        ]
        if not fitting:
            break
        before, behind = min(fitting, key=lambda pair: (best - pair[0]) + (pair[1] - last))
    begin, stop = spans[before][0], max(end, spans[behind][1])
    return text[begin : min(stop, begin + LONGEST_PASSAGE)], text[start:end]
