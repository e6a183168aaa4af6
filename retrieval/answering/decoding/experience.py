"""What drafts were worth so far, and what they may still lose: kept from text to text."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Set
from statistics import median_low
from typing import Any

from .pace import Prices

_MEMORY, _LONG_MEMORY = 0.95, 0.995
"""Of a node ago, of what was right; of a text, and of all texts of a decoder."""
_SHARE = 0.015
"""Of all the time, what drafting may lose."""
_OPENING, CREDIT, _DEBT = 1.0, 8.0, 2.0
"""Plain steps: what an account opens with, and the most that it holds and that it owes."""
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
        self.balance = min(max(self.balance, -_DEBT * plain), CREDIT * plain + more)


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
        self.acceptance = Acceptance(memory=_LONG_MEMORY)
        self.account = Account()
        self.drafting = Prices(0.0, 0.0)
        self.beginning, self.telling = Usual(), Usual()
        self.memories: dict[int, dict[str, Any]] = defaultdict(dict)
        self.promised, self.told = Ratio(), Ratio()
        self.drawn = False
