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
from statistics import median, median_low
from typing import Any, NamedTuple, Protocol

import numpy as np

from ....kernels.tree_attention import MOST_NODES
from .types import Budget, Draft, Float64Array

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
_SHARE = 0.015
"""Of all the time, what drafting may lose."""
_OPENING, _CREDIT, _DEBT = 1.0, 8.0, 2.0
"""Plain steps: what an account opens with, and the most that it holds and that it owes."""
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
_RATIO_MEMORY, _PRIOR = 0.97, 16.0


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

    It opens with a plain step and takes in a small part of all the time and what drafts save, up to
    a few plain steps; what they lose, and what the drafters take to read, is paid from it. So all
    texts together take hardly longer than decoded plainly, whatever the drafters are worth; and a
    text that begins with wrong drafts is not done with drafting where those before it saved much.
    More than a few plain steps are not owed: what once took long (code that was compiled, a machine
    that stood still) is forgiven. And a batch is advanced a plain step where drafts were right
    often enough of late: what is known of them speaks for them, and the account does not yet.
    """

    def __init__(self) -> None:
        self.balance = 0.0
        self._open = False

    def take_in(self, seconds: float, lost: float = 0.0) -> None:
        """Time has passed, of which drafting lost some (below zero: saved)."""
        self.balance += _SHARE * seconds - lost

    def hold(self, plain: float, more: float) -> None:
        """Keep within what may be held and owed, of plain steps of so many seconds and ``more``."""
        if not self._open:
            self.balance += _OPENING * plain
            self._open = True
        self.balance = min(max(self.balance, -_DEBT * plain), _CREDIT * plain + more)


class Ratio:
    """What came of what was expected, of late; both are taken to have been sixteen once."""

    def __init__(self) -> None:
        self._expected = self._came = 0.0

    @property
    def value(self) -> float:
        """1 before anything was seen."""
        return (self._came + _PRIOR) / (self._expected + _PRIOR)

    def learn(self, expected: float, came: float) -> None:
        """So much was expected, and so much came."""
        self._expected = _RATIO_MEMORY * self._expected + expected
        self._came = _RATIO_MEMORY * self._came + came


class Usual:
    """What something usually takes, in seconds: a middle one of the last few, 0 before the first.

    Of one alone nobody knows whether it was usual: it is taken to be no more than ``most``.
    """

    def __init__(self) -> None:
        self._last: deque[float] = deque(maxlen=5)

    def seconds(self, most: float) -> float:
        """Of one."""
        if len(self._last) > 1:
            return median_low(self._last)
        return min(most, *self._last) if self._last else 0.0

    def learn(self, seconds: float, n: int) -> None:
        """So many took so long; none tell nothing."""
        if n:
            self._last.append(seconds / n)


class Experience:
    """What is known of certain drafters, from all texts of a decoder that they drafted for.

    ``drafting``: seconds a row that it takes to draft; ``beginning``: a row's prompt to be read,
    ``telling``: a committed token. ``promised``: tokens of a step by the rates of what was right,
    ``told``: nodes right by the chances that the drafters told. ``memories``: what each of the
    drafters keeps, see :class:`~.types.Tools`. ``drawn``: whether the last drafts were drawn by
    laws.
    """

    def __init__(self) -> None:
        self.acceptance = Acceptance(memory=LONG_MEMORY)
        self.account = Account()
        self.drafting = Prices(0.0, 0.0)
        self.beginning, self.telling = Usual(), Usual()
        self.memories: dict[int, dict[str, Any]] = defaultdict(dict)
        self.promised, self.told = Ratio(), Ratio()
        self.drawn = False


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
        return self._experience.beginning.seconds(_CREDIT * plain)

    def _plain_is_due(self, rows: int) -> bool:
        """Of the machine; or of this batch, which has drafted a while by what others took."""
        unmeasured = self._drafted >= _PLAIN_AFTER and rows not in self._plain
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
