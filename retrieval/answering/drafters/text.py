"""The answer repeats the prompt, or itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ....contracts import Float32Array
from ....kernels.suffix import Automaton
from ..decoding.types import Budget, Draft, Prompt, Tools
from .loops import gone_round
from .proposal import Proposal, Proposing
from .suffixes import Reading, pieces, proposal_of


@dataclass(frozen=True, slots=True)
class Text(Reading):
    """Drafts from all of the prompt that is no passage, and from the text generated so far."""

    kind: ClassVar[str] = "text"
    minimum_match: int = 1

    def begin(self, prompt: Prompt, tools: Tools) -> Proposing:
        """Index the prompt."""
        barred = tools.special | tools.end
        texts = [
            tokens
            for begin, end in _between(prompt)
            for _, tokens in pieces(prompt.tokens[begin:end], barred)
        ]
        return _Growing(self, Automaton(texts), barred)


def _between(prompt: Prompt) -> Iterable[tuple[int, int]]:
    """What of a prompt is no passage."""
    begin = 0
    for passage in sorted(prompt.passages, key=lambda passage: passage.begin):
        yield begin, passage.begin
        begin = passage.end
    yield begin, len(prompt.tokens)


class _Growing:
    """An automaton that takes in what is committed."""

    wants_logits = False

    def __init__(self, settings: Text, automaton: Automaton, barred: frozenset[int]) -> None:
        self._settings = settings
        self._automaton = automaton
        self._barred = barred

    def proposal(self, budget: Budget) -> Proposal:
        """What followed when the text last said what it says now."""
        rule = self._settings.rule(budget)
        found = self._automaton.expand(self._automaton.own(), rule)
        found = gone_round(found, self._automaton.n_tokens - 1, rule)
        return proposal_of(Text.kind, found, self._automaton)

    def propose(self, budget: Budget) -> Draft:
        """See ``proposal``."""
        return self.proposal(budget).draft

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Take in what was accepted; after a special token a text begins anew."""
        for token in tokens:
            if token in self._barred:
                self._automaton.begin()
            else:
                self._automaton.append([token])
