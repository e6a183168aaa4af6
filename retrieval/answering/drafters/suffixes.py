"""What the drafters that read on in a text have in common: the automaton's rule, and its drafts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ....contracts import Float32Array, Int64Array
from ....kernels.suffix import Automaton, Continuations, Match, Rule
from ....rankers.checks import check_choice, check_integer
from ..decoding.types import Budget, Draft
from .proposal import Proposal

START = Match(0, 0)


@dataclass(frozen=True, slots=True)
class Reading:
    """How to read on where a text says what was just said.

    ``minimum_match``: tokens that must agree before anything is drafted. ``width``: branches at a
    fork. ``order``: at a fork, ``frequent`` goes the ways most often taken, ``latest`` the last.
    """

    minimum_match: int = 2
    width: int = 8
    order: str = "frequent"

    def __post_init__(self) -> None:
        check_integer("minimum_match", self.minimum_match, 1, 64)
        check_integer("width", self.width, 1, 16)
        check_choice("order", self.order, ("frequent", "latest"))

    def rule(self, budget: Budget) -> Rule:
        """As the automaton takes it."""
        return Rule(
            budget.nodes, budget.depth, self.minimum_match, self.width,
            order="latest" if self.order == "latest" else "frequent",
        )  # fmt: skip


def pieces(tokens: Int64Array, barred: frozenset[int]) -> Iterator[tuple[int, Int64Array]]:
    """A text without its barred tokens, as stretches and where each begins.

    What stands on either side of such a token is not one text: nothing is drafted across it.
    """
    cuts = np.flatnonzero(np.isin(tokens, sorted(barred)))
    for begin, end in zip([0, *(cuts + 1)], [*cuts, len(tokens)], strict=True):
        if end > begin:
            yield int(begin), tokens[begin:end]


def proposal_of(
    source: str,
    found: Continuations,
    automaton: Automaton,
    places: Sequence[tuple[str, int, int]] | None = None,
) -> Proposal:
    """What was found to follow.

    ``places``: of each of the texts its passage, its first token there, and how many tokens of it
    are the passage's.
    """
    n = len(found.tokens)
    read: list[tuple[str, int] | None] = [None] * n
    if places is not None:
        for node, place in enumerate(found.places.tolist()):
            text, offset = automaton.locate(place)
            passage, first, own = places[text]
            if offset < own:
                read[node] = (passage, first + offset)
    draft = Draft(found.tokens, found.parents, (source,) * n, tuple(read))
    return Proposal(draft, found.contexts, found.shares)


class Following:
    """Follows what is committed along texts that are all there; see :class:`Reading`."""

    wants_logits = False

    def __init__(
        self,
        source: str,
        reading: Reading,
        automaton: Automaton,
        places: Sequence[tuple[str, int, int]] | None,
        context: Int64Array,
    ) -> None:
        self._source = source
        self._reading = reading
        self._automaton = automaton
        self._places = places
        self._match = automaton.advance(START, context)

    def proposal(self, budget: Budget) -> Proposal:
        """What follows in the texts, and how well the context matched."""
        found = self._automaton.expand(self._match, self._reading.rule(budget))
        return proposal_of(self._source, found, self._automaton, self._places)

    def propose(self, budget: Budget) -> Draft:
        """What follows in the texts."""
        return self.proposal(budget).draft

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Follow what was accepted."""
        self._match = self._automaton.advance(self._match, tokens)
