"""How much to draft: as much as pays by what was seen so far, and nothing where nothing pays.

A step costs the time of a forward over ``rows x (1 + nodes)`` tokens and of the drafting, and gives
one token a row and those accepted. What a plain step takes is measured in each batch anew, since it
goes by the length of the texts and by what else the machine does; how much more one with drafts
takes is kept from batch to batch (:mod:`.pace`), and so is how often they are right
(:mod:`.experience`).
:class:`Adaptive` takes the size that gives the most tokens a second, of the nodes that are
likeliest to be right. What drafts lose is paid from an account, so a drafter that is never right
costs next to nothing, and one that has saved much may try much. It never costs a forward: every one
gives each row a token. Whether the nodes of a budget stand in a chain or in a tree is the drafter's
choice, which knows how sure it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple, Protocol

import numpy as np

from .experience import CREDIT, Experience
from .pace import PLAIN_AFTER, SIZES, Pace, least_plain
from .types import Budget, Draft, Float64Array

_FIRST, _FIRST_KNOWN = 2, SIZES[-1]
"""Nodes of the first draft of a batch; where it is known what they cost, it may be longer."""
_ADVANCE = 1.0
"""Plain steps that a batch may lose, whatever is left, where other texts promise that it pays."""
_TRUST = 2.0
"""Plain steps on its account with which a batch drafts before it has measured one."""
_LOOK_EVERY = 16
"""Steps from a draft to a look at whether drafts have become right, at most."""
_CHEAP = 0.15
"""Of a plain step: what more may be spent to draft what may not be verified."""
_NEARLY = 0.98
"""A larger draft that is so nearly as fast is taken: it needs fewer forwards."""


class Unread(NamedTuple):
    """What drafters have yet to read: the prompts of ``rows``, and committed ``tokens``."""

    rows: int
    tokens: int


class Read(NamedTuple):
    """What drafters have read for a step, and the seconds that prompts and tokens took."""

    read: Unread = Unread(0, 0)
    beginning: float = 0.0
    telling: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """What a step was: nodes a row (the most of any), tokens it gave to all rows, ends included.

    Seconds: of drafting with what deciding on it took, but without what was ``read`` for it, and
    of the model's forward.
    """

    rows: int
    nodes: int
    tokens: int
    drafting_seconds: float
    forward_seconds: float
    read: Read = Read()


class Sizing(Protocol):
    """Decides how much is drafted, for the time of one batch."""

    @property
    def off(self) -> bool:
        """Whether nothing is drafted, since it does not pay or might cost too much."""
        ...

    @property
    def rests(self) -> bool:
        """Whether the next step is plain, whatever else is known."""
        ...

    def begin(self, seconds: float) -> None:
        """The prompts were read, which took so long."""
        ...

    def budget(self, rates: Sequence[float], unread: Unread) -> Budget:
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
    """The same budget at every step: for measurements and tests, and for no drafters."""

    size: Budget
    off: bool = False
    rests: bool = False

    def begin(self, seconds: float) -> None:
        """See :class:`Sizing`."""

    def budget(self, rates: Sequence[float], unread: Unread) -> Budget:
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
        self._rates: Sequence[float] = ()
        self._begun = self._looking = self._measuring = False
        self._drafted = 0
        self._since_draft = 0
        self._look_after = 1

    @property
    def rests(self) -> bool:
        """See :class:`Sizing`; while nothing is verified nothing new is known."""
        return self.off and not self._look_is_due

    def begin(self, seconds: float) -> None:
        """See :class:`Sizing`."""
        self._account.take_in(seconds)

    def budget(self, rates: Sequence[float], unread: Unread) -> Budget:
        """See :class:`Sizing`."""
        rows = len(rates)
        plain = self._plain_step(rows)
        self._measuring = plain is None or self._plain_is_due(rows)
        if plain is None or self._measuring:
            return Budget(0, 0)
        self._hold(rows, plain)
        known, verifying = self._experience, self._pace.drafted(rows)
        self._most = self._most or (
            _FIRST_KNOWN if known.drafting.known and verifying.known else _FIRST
        )
        sizes = [nodes for nodes in SIZES if nodes <= self._most]
        costs = {n: plain * verifying.cost(n) + rows * known.drafting.cost(n) for n in sizes}
        self._rates, kept = rates, known.promised.value
        speeds = {
            n: max(rows, kept * sum(_chain(rate, n) for rate in rates)) / costs[n] for n in sizes
        }
        if not self._begun and max(speeds.values()) * plain > rows:
            self._account.balance = max(self._account.balance, _ADVANCE * plain)
        self._begun = True
        # were all of it wrong, the account would have to bear it
        left = self._account.balance - self._beginning(plain) * unread.rows
        left -= known.telling.seconds(plain) * unread.tokens
        borne = [
            nodes
            for nodes in sizes
            if plain * (verifying.most(nodes) - 1.0) + rows * known.drafting.most(nodes) <= left
        ]
        best = max(borne, key=lambda nodes: speeds[nodes], default=0)
        pays = best > 0 and speeds[best] * plain > rows
        self._looking = not pays
        if pays and not known.drawn:  # where it costs little, more is drafted than may be verified
            few = rows * known.drafting.cost(best) + _CHEAP * plain
            best = max(nodes for nodes in borne if rows * known.drafting.cost(nodes) <= few)
        elif not pays:
            look = borne and self._look_is_due and rows in self._plain
            best = min(max(borne), _FIRST) if look else 0
            if not look and self._look_is_due:  # it is not asked for at every step
                self._wait()
        self._asked = best
        return Budget(best, best)

    def cut(self, drafts: Sequence[Draft]) -> int:
        """See :class:`Sizing`."""
        rows, most = len(drafts), max(map(len, drafts))
        gains = np.zeros(1 + most)
        for draft in drafts:
            told = np.ones(len(draft)) if draft.chances is None else -np.sort(-draft.chances)
            gains[1:] += np.pad(told, (0, most - len(draft))).cumsum()
        size = most
        if most:
            self._experience.drawn = any(draft.laws is not None for draft in drafts)
        if most and not (self._looking or self._experience.drawn):
            size = self._fastest(rows, most, gains)
        self._expected = float(gains[size])
        return size

    def learn(self, step: Step) -> None:
        """See :class:`Sizing`."""
        rows, nodes, known = step.rows, step.nodes, self._experience
        seconds = max(step.forward_seconds, 1e-9)
        lost = step.read.beginning + step.read.telling + step.drafting_seconds
        passed = seconds + lost
        known.beginning.learn(step.read.beginning, step.read.read.rows)
        known.telling.learn(step.read.telling, step.read.read.tokens)
        if nodes == 0:
            self._plain.setdefault(rows, deque(maxlen=5)).append(seconds)
            self._pace.learn_plain(rows, seconds)
        self._since_draft += 1
        if nodes == 0 and self.off and not self._asked:
            self._account.take_in(passed, lost)
            return
        plain = self._plain_step(rows)
        self.off = nodes == 0 and not self._measuring
        if self._asked:
            # a node that takes a plain step does not pay: longer than that may have been a hiccup
            most = self._asked * (plain or step.drafting_seconds)
            known.drafting.learn(self._asked, min(step.drafting_seconds, most) / rows)
            self._asked = 0
        if nodes:
            self._drafted += 1
            self._since_draft = 0
            if step.tokens > rows:
                self._look_after = 1
            else:
                self._wait()
            if nodes >= self._most:
                self._most = 2 * nodes
            if plain is not None:
                lost += seconds - plain * step.tokens / rows
            own = plain if rows in self._plain else None
            self._pace.learn(rows, nodes, seconds / own if own else None)
            known.told.learn(self._expected, max(0, step.tokens - rows))
            known.promised.learn(sum(_chain(rate, nodes) for rate in self._rates), step.tokens)
        self._account.take_in(passed, lost)
        if plain is not None:
            self._hold(rows, plain)

    def _fastest(self, rows: int, most: int, gains: Float64Array) -> int:
        """The size that gives the most tokens a second; ``gains``: nodes right, by their number."""
        verifying = self._pace.drafted(rows)
        right = np.minimum(self._experience.told.value * gains, rows * np.arange(1 + most))
        sizes = [*(nodes for nodes in SIZES if nodes < most), most]
        speeds = {nodes: (rows + right[nodes]) / verifying.cost(nodes) for nodes in sizes}
        fastest = max(speeds.values())
        if fastest > rows:
            return max(nodes for nodes in sizes if speeds[nodes] >= _NEARLY * fastest)
        return min(most, _FIRST) if self._look_is_due else 0

    @property
    def _look_is_due(self) -> bool:
        return self._since_draft >= self._look_after

    def _wait(self) -> None:
        """The next look is later."""
        self._since_draft = 0
        self._look_after = min(2 * self._look_after, _LOOK_EVERY)

    def _hold(self, rows: int, plain: float) -> None:
        self._account.hold(plain, rows * self._beginning(plain))

    def _beginning(self, plain: float) -> float:
        return self._experience.beginning.seconds(CREDIT * plain)

    def _plain_is_due(self, rows: int) -> bool:
        """Of the machine; or of this batch, which has drafted a while by what others took."""
        unmeasured = self._drafted >= PLAIN_AFTER and rows not in self._plain
        return self._pace.plain_is_due or unmeasured

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
    return nodes + 1.0 if rate >= 1.0 else (1.0 - rate ** (nodes + 1)) / (1.0 - rate)
