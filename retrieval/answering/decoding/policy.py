"""How much to draft: as much as pays by what was seen so far, and nothing where nothing pays.

A step costs the time of a forward over ``rows x (1 + nodes)`` tokens and of the drafting, and gives
one token a row and those accepted. What a plain step takes is measured in each batch anew, since it
goes by the length of the texts and by what else the machine does; how much more one with drafts
takes (:class:`Pace`) is kept from batch to batch; how often drafts are right is estimated from
those of late (:class:`Acceptance`). :class:`Adaptive` takes the size that gives the most tokens a
second. And it keeps an account: what drafting has cost beyond what it gave may never be more than a
plain step and a small part of the time of the whole text, so a drafter that is never right costs
next to nothing. It never costs a forward: every one gives each row a token. Whether the nodes of a
budget stand in a chain or in a tree is the drafter's choice, which knows how sure it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Protocol

from ....kernels.tree_attention import MOST_NODES
from .types import Budget

SIZES = (1, 2, 4, 8, 16, 32, MOST_NODES - 1)
_MEMORY, LONG_MEMORY = 0.95, 0.995
"""Of a node ago, of what was right; of a text, and of all texts of a decoder."""
_SMOOTHING = 0.2
_SLOPE = 0.02
"""What a drafted token is taken to cost of a step before one was measured."""
_PLAIN_AFTER, _PLAIN_EVERY = 8, 64
"""Drafted steps until the second plain one of a batch; twice as many until each next, to a most."""
_FIRST, _FIRST_KNOWN = 2, SIZES[-1]
"""Nodes of the first draft of a batch; where it is known what they cost, it may be longer."""
_ALLOWED = 0.02
_ALLOWED_PLAIN_STEPS = 1.0


class Acceptance:
    """How often a draft was right, by its source: Beta counters that forget.

    ``before``: of the texts before this one, of the same drafters: what is expected of it, until it
    shows otherwise; it learns with this one, and forgets slower.
    """

    def __init__(self, before: Acceptance | None = None, memory: float = _MEMORY) -> None:
        self._before = before
        self._memory = memory
        self._right: dict[str, float] = defaultdict(float)
        self._wrong: dict[str, float] = defaultdict(float)

    def learn(self, sources: Iterable[str], right: str | None) -> None:
        """At one node these had drafted, and the draft of one of them (or of none) was taken."""
        for source in set(sources):
            hit = float(source == right)
            self._right[source] = self._memory * self._right[source] + hit
            self._wrong[source] = self._memory * self._wrong[source] + 1.0 - hit
        if self._before is not None:
            self._before.learn(sources, right)

    def rate(self, source: str) -> float:
        """The mean of Beta(2p + right, 2(1 - p) + wrong), p from before: a half is the first."""
        expected = 0.5 if self._before is None else self._before.rate(source)
        right, wrong = self._right.get(source, 0.0), self._wrong.get(source, 0.0)
        return (2.0 * expected + right) / (2.0 + right + wrong)

    def best(self) -> float:
        """The rate of the best source met so far; a half before any."""
        return max(map(self.rate, self._met()), default=0.5)

    def _met(self) -> set[str]:
        return {*self._right, *(() if self._before is None else self._before._met())}


class Pace:
    """What steps with drafts take, in plain steps, by rows and nodes; of a machine, for all texts.

    A size that was never tried is taken to cost little more than the one below it, since to verify
    anything has a price of its own; the most that it may cost is in proportion to that one.
    """

    def __init__(self) -> None:
        self._costs: dict[int, dict[int, float]] = {}

    def cost(self, rows: int, nodes: int) -> tuple[float, float] | None:
        """What a step of nearly as many rows should cost, and at most; None before the first."""
        if not self._costs:
            return None
        known = self._costs[min(self._costs, key=lambda other: abs(other - rows))]
        below = max((size for size in known if size <= nodes), default=None)
        if below is None:
            least = known[min(known)]
            return least, least
        cost = known[below]
        return cost + _SLOPE * (nodes - below), 1.0 + (cost - 1.0) * nodes / below

    def learn(self, rows: int, nodes: int, cost: float) -> None:
        """A step showed it."""
        size = next((size for size in SIZES if size >= nodes), nodes)
        known = self._costs.setdefault(rows, {})
        before = known.get(size, cost)
        known[size] = before + _SMOOTHING * (cost - before)


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

    def begin(self, seconds: float, drafting_seconds: float) -> None:
        """The prompts were read, which took so long, and by the drafters, so long again."""
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

    def begin(self, seconds: float, drafting_seconds: float) -> None:
        """See :class:`Sizing`."""

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
        self._plain: dict[int, deque[float]] = {}
        self._drafting = 0.0
        self._elapsed = 0.0
        self._debt = 0.0
        self._since_plain = 0
        self._plain_after = _PLAIN_AFTER
        self._asked = 0
        self._most = 0

    def begin(self, seconds: float, drafting_seconds: float) -> None:
        """See :class:`Sizing`."""
        self._elapsed = seconds + drafting_seconds
        self._debt = drafting_seconds

    def budget(self, rates: Sequence[float]) -> Budget:
        """See :class:`Sizing`."""
        rows = len(rates)
        self._asked = 0
        plain = self._plain_step(rows)
        if plain is None or self._since_plain >= self._plain_after:
            return Budget(0, 0)
        paces = {nodes: self._pace.cost(rows, nodes) for nodes in SIZES}
        self._most = self._most or (_FIRST if paces[SIZES[0]] is None else _FIRST_KNOWN)
        costs, most = {}, {}
        for nodes, pace in paces.items():
            expected, at_most = pace or (1.0 + _SLOPE * nodes,) * 2
            costs[nodes] = plain * expected + self._drafting * nodes
            most[nodes] = plain * at_most + self._drafting * nodes
        allowed = _ALLOWED_PLAIN_STEPS * plain + _ALLOWED * self._elapsed
        # were all of it wrong, the account would have to bear it
        borne = [
            nodes
            for nodes in SIZES
            if nodes <= self._most and self._debt + most[nodes] - plain <= allowed
        ]
        speeds = {nodes: self._tokens(rates, nodes) / max(costs[nodes], 1e-9) for nodes in borne}
        best = max(borne, key=lambda nodes: speeds[nodes], default=0)
        self.off = best == 0 or speeds[best] * plain <= rows
        if self.off:  # a look now and then, of what the account bears, once a plain step is known
            looks = [nodes for nodes in borne if nodes <= _FIRST and rows in self._plain]
            best = max(looks, default=0)
        self._asked = best
        return Budget(best, best)

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""
        rows, nodes = step.rows, step.nodes
        self._elapsed += step.forward_seconds + step.drafting_seconds
        if nodes == 0:
            self._plain.setdefault(rows, deque(maxlen=5)).append(step.forward_seconds)
            if self._since_plain >= self._plain_after:
                self._plain_after = min(2 * self._plain_after, _PLAIN_EVERY)
            self._since_plain = 0
        else:
            self._since_plain += 1
        plain = self._plain_step(rows) or 0.0
        if nodes and rows in self._plain:  # a token more never costs more than a step of its own
            cost = step.forward_seconds / plain if plain else 1.0
            self._pace.learn(rows, nodes, min(max(cost, 1.0), 1.0 + nodes))
        if self._asked == 0:
            return
        self._drafting += _SMOOTHING * (step.drafting_seconds / self._asked - self._drafting)
        if nodes >= self._most:
            self._most = 2 * nodes
        loss = step.drafting_seconds
        if nodes:
            loss += step.forward_seconds - plain * step.tokens / rows
        # a saving is not spent on later losses, beyond the little that is always allowed
        self._debt = max(self._debt + loss, -_ALLOWED_PLAIN_STEPS * plain)

    def _plain_step(self, rows: int) -> float | None:
        """Seconds of a plain step; from one of more rows, the least that it can be."""
        more = [other for other in self._plain if other >= rows]
        if not more:
            return None
        nearest = min(more)
        return median(self._plain[nearest]) * rows / nearest

    @staticmethod
    def _tokens(rates: Sequence[float], nodes: int) -> float:
        """Expected of all rows from chains: 1 + a + ... + a^nodes each."""
        return sum(sum(rate**place for place in range(nodes + 1)) for rate in rates)
