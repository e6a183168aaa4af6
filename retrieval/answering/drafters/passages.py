"""The answer goes on as a retrieved passage does.

The passages are read in the prompt's own tokens, so that what is drafted has the borders between
tokens that the model sees. Each token drafted says which token of which passage it is. Behind a
sentence the answer is asked to name the passage, and may be over: each sentence, and the one before
it, is read with that behind it, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....kernels.suffix import Automaton
from ..decoding.types import Passage, Prompt, Tools
from .proposal import Proposing
from .suffixes import Following, Reading, pieces


@dataclass(frozen=True, slots=True)
class Passages(Reading):
    """Drafts from the passages of the prompt and their markers, never across the end of one.

    The passage that stands first counts as the latest: it is the one retrieved first. A match of
    one token drafts too, little and after all others: where an answer has words of its own, half of
    what can be accepted follows such a match.
    """

    kind: ClassVar[str] = "passages"
    minimum_match: int = 1

    def begin(self, prompt: Prompt, tools: Tools) -> Proposing:
        """Index the passages; what is committed is followed from the end of the prompt."""
        texts, places, barred = [], [], tools.special | tools.end
        for passage in reversed(prompt.passages):
            for first, last in _endings(passage) if passage.marker else ():
                own = prompt.tokens[first:last]
                if not barred.isdisjoint(own.tolist()):
                    continue
                for end in sorted(tools.end):
                    texts.append(np.concatenate([own, passage.marker, [end]]))
                    places.append((passage.id, first - passage.begin, len(own)))
            for offset, tokens in pieces(prompt.tokens[passage.begin : passage.end], barred):
                texts.append(tokens)
                places.append((passage.id, offset, len(tokens)))
        last = max((passage.end for passage in prompt.passages), default=0)
        return Following(self.kind, self, Automaton(texts), places, prompt.tokens[last:])


def _endings(passage: Passage) -> Iterator[tuple[int, int]]:
    """[begin, end) of every sentence with the one before it."""
    begin = passage.begin
    for first, last in passage.sentences:
        yield begin, last
        begin = first
