"""The answer goes on as a retrieved passage does.

The passages are read in the prompt's own tokens, so that what is drafted has the borders between
tokens that the model sees. Each token drafted says which token of which passage it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ....kernels.suffix import Automaton
from ..decoding.types import Prompt, Tools
from .proposal import Proposing
from .suffixes import Following, Reading, pieces


@dataclass(frozen=True, slots=True)
class Passages(Reading):
    """Drafts from the passages of the prompt, never across the end of one.

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
            for offset, tokens in pieces(prompt.tokens[passage.begin : passage.end], barred):
                texts.append(tokens)
                places.append((passage.id, offset))
        last = max((passage.end for passage in prompt.passages), default=0)
        return Following(self.kind, self, Automaton(texts), places, prompt.tokens[last:])
