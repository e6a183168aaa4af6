"""How much to draft: as much as pays by what was seen so far, and nothing where nothing pays.

A step costs the time of a forward over ``rows x (1 + nodes)`` tokens and of the drafting, and gives
one token a row and those accepted. The first is measured (:class:`Pace`), the second estimated by
the share of drafts that were right of late (:class:`Acceptance`). :class:`Adaptive` takes the size
that gives the most tokens a second, beginning small, since what a size costs is not known before
it was tried. And it keeps an account: what drafting has cost beyond what it gave may never be more
than a plain step and a small part of the time of the whole text, so a drafter that is never right
costs next to nothing. It never costs a forward: every one gives each row a token. Whether the nodes
of a budget stand in a chain or in a tree is the drafter's choice, which knows how sure it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol, TypeVar

from .types import Budget

SIZES = (1, 2, 4, 8, 16, 32)
_MEMORY = 0.95
_SMOOTHING = 0.2
_SLOPE = 0.02
"""What a drafted token is taken to cost of a step before one was measured."""
_PLAIN_EVERY = 64
_ALLOWED = 0.02
_ALLOWED_PLAIN_STEPS = 1.0

_Known = TypeVar("_Known")


class Acceptance:
    """How often a draft was right, by its source: Beta counters that forget."""

    def __init__(self) -> None:
        self._right: dict[str, float] = defaultdict(lambda: 1.0)
        self._wrong: dict[str, float] = defaultdict(lambda: 1.0)

    def learn(self, sources: Iterable[str], right: str | None) -> None:
        """At one node these had drafted, and the draft of one of them (or of none) was taken."""
        for source in set(sources):
            hit = float(source == right)
            self._right[source] = 1.0 + _MEMORY * (self._right[source] - 1.0) + hit
            self._wrong[source] = 1.0 + _MEMORY * (self._wrong[source] - 1.0) + 1.0 - hit

    def rate(self, source: str) -> float:
        """The mean of Beta(1 + right, 1 + wrong)."""
        return self._right[source] / (self._right[source] + self._wrong[source])

    def best(self) -> float:
        """The rate of the best source met so far; a half before any."""
        return max(map(self.rate, self._right), default=0.5)


class Pace:
    """The seconds of a machine's forwards, by rows: of plain steps, and of more tokens a step."""

    def __init__(self) -> None:
        self._plain: dict[int, deque[float]] = {}
        self._slopes: dict[int, float] = {}

    def plain(self, rows: int) -> float | None:
        """Of a step that drafts nothing; None before the first."""
        known = _nearest(self._plain, rows)
        return None if known is None else median(known)

    def of(self, rows: int, nodes: int) -> float:
        """Of a step that verifies drafts of as many nodes a row."""
        slope = _nearest(self._slopes, rows)
        return (self.plain(rows) or 0.0) * (1.0 + (_SLOPE if slope is None else slope) * nodes)

    def learn(self, rows: int, nodes: int, seconds: float) -> None:
        """A step took so long."""
        if nodes == 0:
            self._plain.setdefault(rows, deque(maxlen=9)).append(seconds)
            return
        plain = self.plain(rows)
        if plain:  # a token more never costs more than a step of its own
            slope = min(max((seconds / plain - 1.0) / nodes, 0.0), 1.0)
            before = self._slopes.get(rows, slope)
            self._slopes[rows] = before + _SMOOTHING * (slope - before)


def _nearest(known: Mapping[int, _Known], rows: int) -> _Known | None:
    """What is known of the nearest number of rows."""
    return known[min(known, key=lambda other: abs(other - rows))] if known else None


@dataclass(frozen=True, slots=True)
class Step:
    """What a step was: nodes a row (the most of any), tokens it gave to all rows, seconds."""

    rows: int
    nodes: int
    tokens: int
    drafting_seconds: float
    forward_seconds: float


class Sizing(Protocol):
    """Decides how much is drafted, for the time of one batch."""

    @property
    def off(self) -> bool:
        """Whether drafting does not pay now."""
        ...

    def budget(self, rates: Sequence[float]) -> Budget:
        """For the next step of every row; ``rates``: how often each row's drafts were right."""
        ...

    def learn(self, step: Step) -> None:
        """Take in what a step cost and gave."""
        ...


@dataclass(slots=True)
class Always:
    """The same budget at every step: for measurements and tests."""

    size: Budget
    off: bool = False

    def budget(self, rates: Sequence[float]) -> Budget:
        """See :class:`Sizing`."""
        return self.size

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""


class Adaptive:
    """The size that gives the most tokens a second, while drafting pays; see the module."""

    def __init__(self, pace: Pace) -> None:
        self.off = False
        self._pace = pace
        self._drafting = 0.0
        self._elapsed = 0.0
        self._debt = 0.0
        self._since_plain = 0
        self._asked = 0
        self._most = SIZES[1]

    def budget(self, rates: Sequence[float]) -> Budget:
        """See :class:`Sizing`."""
        rows = len(rates)
        self._asked = 0
        plain = self._pace.plain(rows)
        if plain is None or self._since_plain >= _PLAIN_EVERY:
            return Budget(0, 0)
        allowed = _ALLOWED_PLAIN_STEPS * plain + _ALLOWED * self._elapsed
        # were all of it wrong, the account would have to bear it
        borne = [
            nodes
            for nodes in SIZES
            if nodes <= self._most and self._debt + self._cost(rows, nodes) - plain <= allowed
        ]
        speeds = {nodes: self._tokens(rates, nodes) / self._cost(rows, nodes) for nodes in borne}
        best = max(borne, key=lambda nodes: speeds[nodes], default=0)
        self.off = best == 0 or speeds[best] * plain <= rows
        if self.off:  # a look now and then, of what the account bears
            best = max((nodes for nodes in borne if nodes <= SIZES[1]), default=0)
        self._asked = best
        return Budget(best, best)

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""
        self._pace.learn(step.rows, step.nodes, step.forward_seconds)
        self._elapsed += step.forward_seconds + step.drafting_seconds
        self._since_plain = 0 if step.nodes == 0 else self._since_plain + 1
        if self._asked == 0:
            return
        self._drafting += _SMOOTHING * (step.drafting_seconds / self._asked - self._drafting)
        if step.nodes >= self._most:
            self._most = 2 * step.nodes
        plain = self._pace.plain(step.rows) or 0.0
        loss = step.drafting_seconds
        if step.nodes:
            loss += step.forward_seconds - plain * step.tokens / step.rows
        # a saving is not spent on later losses, beyond the little that is always allowed
        self._debt = max(self._debt + loss, -_ALLOWED_PLAIN_STEPS * plain)

    def _cost(self, rows: int, nodes: int) -> float:
        return max(self._pace.of(rows, nodes) + self._drafting * nodes, 1e-9)

    @staticmethod
    def _tokens(rates: Sequence[float], nodes: int) -> float:
        """Expected of all rows from chains: 1 + a + ... + a^nodes each."""
        return sum(sum(rate**place for place in range(nodes + 1)) for rate in rates)
