"""The automaton as a whole: it checks what it is given, and makes room."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...contracts import Int64Array
from ...errors import InputError
from . import cpu
from .expand import expand
from .layout import LAST, grown, states_for
from .words import NOTHING, Continuations, Match, Rule

MOST_TOKENS = 1 << 29
_LARGEST = (1 << 31) - 1


class Automaton:
    """Every stretch of some texts; see :mod:`cormorant.kernels.suffix`. Not for several threads.

    Raises :class:`~cormorant.errors.InputError` for token ids that are negative or do not fit into
    31 bits, and for texts of more than 2**29 tokens.
    """

    def __init__(self, texts: Sequence[Int64Array] = ()) -> None:
        self._begins = [0]
        self._n_tokens = 0
        self._states = states_for(max(64, sum(map(len, texts))))
        for text in texts:
            self.begin()
            self._insert(text, counted=False)
        cpu.count_all(self._states)
        self.begin()

    @property
    def n_tokens(self) -> int:
        """Of all texts."""
        return self._n_tokens

    def begin(self) -> None:
        """The next tokens are a text of their own."""
        if self._begins[-1] != self._n_tokens:
            self._begins.append(self._n_tokens)
        self._states.sizes[LAST] = 0

    def append(self, tokens: Sequence[int] | Int64Array) -> None:
        """Go on with the last text."""
        self._insert(tokens, counted=True)

    def advance(self, match: Match, tokens: Sequence[int] | Int64Array) -> Match:
        """The longest stretch of the texts that ends the context, now that it has these tokens."""
        return Match(*cpu.advance(self._states, *match, np.asarray(tokens, np.int64)))

    def own(self) -> Match:
        """The longest end of the last text that stands elsewhere too."""
        state = int(self._states.sizes[LAST])
        if state and self._states.counts[state] < 2:
            state = int(self._states.links[state])
        return Match(state, int(self._states.lengths[state])) if state else NOTHING

    def count(self, match: Match) -> int:
        """At how many places the stretch ends."""
        return int(self._states.counts[match.state]) if match.length else self._n_tokens

    def locate(self, place: int) -> tuple[int, int]:
        """The text that a place is in, and its offset there; empty texts are not counted."""
        text = int(np.searchsorted(self._begins, place, side="right")) - 1
        return text, place - self._begins[text]

    def expand(self, match: Match, rule: Rule) -> Continuations:
        """What followed the match, as a tree."""
        return Continuations(
            *expand(
                self._states, *match, rule.nodes, rule.depth, rule.minimum,
                rule.width, float(rule.least_share), rule.order == "frequent",
            )
        )  # fmt: skip

    def _insert(self, tokens: Sequence[int] | Int64Array, *, counted: bool) -> None:
        added = np.asarray(tokens, np.int64)
        if added.size and not 0 <= int(added.min()) <= int(added.max()) <= _LARGEST:
            raise InputError("token ids are from 0 to 2**31 - 1", field="tokens")
        n = self._n_tokens + len(added)
        if n > MOST_TOKENS:
            raise InputError(f"texts of at most {MOST_TOKENS:,} tokens, got {n:,}", field="tokens")
        if 2 * n + 2 > len(self._states.lengths):
            self._states = grown(self._states, 2 * n)
            cpu.enter_all(self._states)
        cpu.insert(self._states, added, self._n_tokens, counted)
        self._n_tokens = n
