"""How much to draft: as much as pays by what was seen so far, and nothing where nothing pays.

A step costs the time of a forward over ``rows x (1 + nodes)`` tokens and of the drafting, and gives
one token a row and those accepted. What a plain step takes is measured in each batch anew, since it
goes by the length of the texts and by what else the machine does; how much more one with drafts
takes (:class:`Pace`) is kept from batch to batch; how often drafts are right is estimated from
those of late (:class:`Acceptance`). :class:`Adaptive` takes the size that gives the most tokens a
second, of the nodes that are likeliest to be right. What drafts lose is paid from an
:class:`Account`, so a drafter that is never right costs next to nothing, and one that has saved
much may try much. It never costs a forward: every one gives each row a token. Whether the nodes of
a budget stand in a chain or in a tree is the drafter's choice, which knows how sure it is.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from statistics import median
from typing import Any, Protocol

import numpy as np

from ....kernels.tree_attention import MOST_NODES
from .types import Budget, Draft

SIZES = (1, 2, 4, 8, 16, 32, MOST_NODES - 1)
_MEMORY, LONG_MEMORY = 0.95, 0.995
"""Of a node ago, of what was right; of a text, and of all texts of a decoder."""
_SMOOTHING = 0.2
_SLOPE = 0.02
"""What a drafted token is taken to cost of a step before one was measured."""
_PLAIN_AFTER, _PLAIN_EVERY = 8, 32
"""Drafted steps until the next plain one; twice as many until each other, to a most."""
_FIRST, _FIRST_KNOWN = 2, SIZES[-1]
"""Nodes of the first draft of a batch; where it is known what they cost, it may be longer."""
_SHARE = 0.02
"""Of all the time, what drafting may lose."""
_OPENING, _CREDIT, _DEBT = 1.0, 8.0, 2.0
"""Plain steps: what an account opens with, and the most that it holds and that it owes."""
_TRUST = 2.0
"""Plain steps on its account with which a batch drafts before it has measured one."""
_LOOK_EVERY = 16
"""Steps from a draft to a look at whether drafts have become right, at most."""
_CHEAP = 0.15
"""Of a plain step: what more may be spent to draft what may not be verified."""
_NEARLY = 0.95
"""A larger draft that is so nearly as fast is taken: it needs fewer forwards."""
_WORTH_PRIOR = 8.0
"""Nodes that are taken to have been right as often as was told."""


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

    def learn(self, sources: Set[str], right: str | None) -> None:
        """At one node these had drafted, and the draft of one of them (or of none) was taken."""
        for source in sources:
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


class Prices:
    """What sizes cost, each by an average of late; with no drafts it is ``base``.

    A size that was never tried is taken to cost ``slope`` a node more than the largest below it,
    since any draft has a price of its own; the most that it may cost is in proportion to that one.
    """

    def __init__(self, base: float, slope: float) -> None:
        self._base = base
        self._slope = slope
        self._known: dict[int, float] = {}

    @property
    def known(self) -> bool:
        """Whether any was measured."""
        return bool(self._known)

    def cost(self, nodes: int) -> float:
        """What so many nodes should cost."""
        size, cost = self._nearest(nodes)
        return cost + self._slope * max(0, nodes - size)

    def most(self, nodes: int) -> float:
        """What they cost at most."""
        size, cost = self._nearest(nodes)
        return self._base + (cost - self._base) * max(1.0, nodes / size)

    def learn(self, nodes: int, cost: float) -> None:
        """They cost so much."""
        size = next((size for size in SIZES if size >= nodes), nodes)
        before = self._known.get(size, cost)
        self._known[size] = before + _SMOOTHING * (cost - before)

    def _nearest(self, nodes: int) -> tuple[int, float]:
        """The largest size measured that is no larger, or the smallest, and what it costs."""
        if not self._known:
            return nodes, self._base + self._slope * nodes
        size = max((size for size in self._known if size <= nodes), default=min(self._known))
        return size, self._known[size]


class Pace:
    """What steps take, by rows; of a machine, for all texts.

    A plain step in seconds, when last measured; one with drafts in plain steps.
    """

    def __init__(self) -> None:
        self._plain: dict[int, float] = {}
        self._drafted: dict[int, Prices] = {}
        self._since_plain = 0
        self._plain_after = _PLAIN_AFTER

    @property
    def plain_is_due(self) -> bool:
        """Whether a plain step is to be measured again."""
        return self._since_plain >= self._plain_after

    def plain(self, rows: int) -> float | None:
        """Seconds of a plain step; None where none of so many rows was measured."""
        return least_plain(self._plain, rows)

    def drafted(self, rows: int) -> Prices:
        """What drafts cost with nearly as many rows."""
        if not self._drafted:
            return Prices(1.0, _SLOPE)
        return self._drafted[min(self._drafted, key=lambda other: abs(other - rows))]

    def learn_plain(self, rows: int, seconds: float) -> None:
        """A step without drafts took so long."""
        self._plain[rows] = seconds
        if self.plain_is_due:
            self._plain_after = min(2 * self._plain_after, _PLAIN_EVERY)
        self._since_plain = 0

    def learn(self, rows: int, nodes: int, cost: float | None) -> None:
        """A step with drafts cost so many plain ones; None where that was not measured."""
        self._since_plain += 1
        if cost is not None:  # a token more costs no more than a step of its own
            prices = self._drafted.setdefault(rows, Prices(1.0, _SLOPE))
            prices.learn(nodes, min(max(cost, 1.0), 1.0 + nodes))


def least_plain(known: Mapping[int, float], rows: int) -> float | None:
    """Seconds of a plain step by rows; from one of more rows, the least that it can be."""
    nearest = min((other for other in known if other >= rows), default=None)
    return None if nearest is None else known[nearest] * rows / nearest


class Account:
    """What drafting may still lose, in seconds, over all texts that the same drafters draft for.

    It opens with a plain step, takes in a small part of all the time, and what drafts save, up to a
    few plain steps; what they lose is paid from it. So all texts together take hardly longer than
    decoded plainly, whatever the drafters are worth; and a text that begins with wrong drafts is
    not done with drafting where those before it saved much. More than a few plain steps are not
    owed: what once took long (code that was compiled, a machine that stood still) is forgiven.
    """

    def __init__(self) -> None:
        self.balance = 0.0
        self._open = False

    def take_in(self, seconds: float, lost: float, plain: float | None) -> None:
        """Time has passed, of which drafting lost some (below zero: saved); ``plain``: a step."""
        self.balance += _SHARE * seconds - lost
        if plain is None:
            return
        if not self._open:
            self.balance += _OPENING * plain
            self._open = True
        self.balance = min(max(self.balance, -_DEBT * plain), _CREDIT * plain)


class Experience:
    """What is known of certain drafters, from all texts of a decoder that they drafted for.

    ``drafting``: seconds a row that it takes to draft. ``memories``: what each of the drafters
    keeps, see :class:`~.types.Tools`.
    """

    def __init__(self) -> None:
        self.acceptance = Acceptance(memory=LONG_MEMORY)
        self.account = Account()
        self.drafting = Prices(0.0, 0.0)
        self.memories: dict[int, dict[str, Any]] = defaultdict(dict)
        self._accepted = self._expected = 0.0

    @property
    def worth(self) -> float:
        """Nodes right of those expected to be, by the chances that the drafters told."""
        return (self._accepted + _WORTH_PRIOR) / (self._expected + _WORTH_PRIOR)

    def learn(self, expected: float, accepted: int) -> None:
        """So many nodes were expected to be right, and were."""
        self._expected = LONG_MEMORY * self._expected + expected
        self._accepted = LONG_MEMORY * self._accepted + accepted


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

    def cut(self, drafts: Sequence[Draft]) -> int:
        """How many nodes of what the rows proposed are verified, the likeliest first."""
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

    def cut(self, drafts: Sequence[Draft]) -> int:
        """See :class:`Sizing`."""
        return self.size.nodes

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""


class Adaptive:
    """The size that gives the most tokens a second, while drafting pays; see the module.

    It is decided twice: before anything is drafted, by how often drafts were right of late, and of
    what was drafted, by the chances that the drafters tell of each node. ``pace`` and
    ``experience`` go on from batch to batch.
    """

    def __init__(self, pace: Pace, experience: Experience) -> None:
        self.off = False
        self._pace = pace
        self._experience = experience
        self._account = experience.account
        self._plain: dict[int, deque[float]] = {}
        self._asked = 0
        self._most = 0
        self._expected = 0.0
        self._since_draft = 0
        self._look_after = 1

    def begin(self, seconds: float, drafting_seconds: float) -> None:
        """See :class:`Sizing`."""
        self._account.take_in(seconds + drafting_seconds, drafting_seconds, None)

    def budget(self, rates: Sequence[float]) -> Budget:
        """See :class:`Sizing`."""
        rows = len(rates)
        self._asked = 0
        plain = self._plain_step(rows)
        if plain is None or self._pace.plain_is_due:
            return Budget(0, 0)
        drafting, verifying = self._experience.drafting, self._pace.drafted(rows)
        self._most = self._most or (_FIRST_KNOWN if drafting.known and verifying.known else _FIRST)
        # were all of it wrong, the account would have to bear it
        borne = [
            nodes
            for nodes in SIZES
            if nodes <= self._most
            and plain * (verifying.most(nodes) - 1.0) + rows * drafting.most(nodes)
            <= self._account.balance
        ]
        speeds = {
            nodes: sum(_chain(rate, nodes) for rate in rates)
            / (plain * verifying.cost(nodes) + rows * drafting.cost(nodes))
            for nodes in borne
        }
        best = max(borne, key=lambda nodes: speeds[nodes], default=0)
        self.off = best == 0 or speeds[best] * plain <= rows
        if not self.off:  # where it costs little, more is drafted than may be verified
            few = rows * drafting.cost(best) + _CHEAP * plain
            best = max(nodes for nodes in borne if rows * drafting.cost(nodes) <= few)
        elif borne and self._look_is_due and rows in self._plain:
            best = min(max(borne), _FIRST)
        else:
            best = 0
        self._asked = best
        return Budget(best, best)

    def cut(self, drafts: Sequence[Draft]) -> int:
        """See :class:`Sizing`."""
        rows, most = len(drafts), max(map(len, drafts))
        self._expected = 0.0
        if self.off or most == 0:
            return most
        gains = np.zeros(1 + most)
        for draft in drafts:
            told = np.ones(len(draft)) if draft.chances is None else -np.sort(-draft.chances)
            gains[1:] += np.pad(told, (0, most - len(draft))).cumsum()
        worth, verifying = self._experience.worth, self._pace.drafted(rows)
        sizes = [*(nodes for nodes in SIZES if nodes < most), most]
        speeds = {n: (rows + worth * gains[n]) / verifying.cost(n) for n in sizes}
        fastest = max(speeds.values())
        if fastest > rows:
            size = max(n for n in sizes if speeds[n] >= _NEARLY * fastest)
        else:
            size = min(most, _FIRST) if self._look_is_due else 0
        self._expected = float(gains[size])
        return size

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""
        rows, nodes = step.rows, step.nodes
        if nodes == 0:
            self._plain.setdefault(rows, deque(maxlen=5)).append(step.forward_seconds)
            self._pace.learn_plain(rows, step.forward_seconds)
        plain = self._plain_step(rows)
        lost = 0.0
        self._since_draft += 1
        if self._asked:
            lost = step.drafting_seconds
            # a node that takes a plain step does not pay: longer than that may have been a hiccup
            most = self._asked * (plain or lost)
            self._experience.drafting.learn(self._asked, min(lost, most) / rows)
        if nodes:
            self._since_draft = 0
            self._look_after = 1 if step.tokens > rows else min(2 * self._look_after, _LOOK_EVERY)
            if nodes >= self._most:
                self._most = 2 * nodes
            if plain is not None:
                lost += step.forward_seconds - plain * step.tokens / rows
            own = plain if rows in self._plain else None
            self._pace.learn(rows, nodes, step.forward_seconds / own if own else None)
            self._experience.learn(self._expected, step.tokens - rows)
        self._account.take_in(step.forward_seconds + step.drafting_seconds, lost, plain)

    @property
    def _look_is_due(self) -> bool:
        return self._since_draft >= self._look_after

    def _plain_step(self, rows: int) -> float | None:
        """Seconds of a plain step of this batch; of those before where much may be lost."""
        own = least_plain({of: median(took) for of, took in self._plain.items()}, rows)
        if own is not None:
            return own
        before = self._pace.plain(rows)
        trusted = before is not None and self._account.balance >= _TRUST * before
        return before if trusted else None


def _chain(rate: float, nodes: int) -> float:
    """Tokens expected from a chain: 1 + a + ... + a^nodes."""
    return sum(rate**place for place in range(nodes + 1))
