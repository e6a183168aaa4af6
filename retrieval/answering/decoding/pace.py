"""What steps take, as measured of late: plain ones in seconds, those with drafts in plain ones."""

from __future__ import annotations

from collections.abc import Mapping

from ....kernels.tree_attention import MOST_NODES

SIZES = (1, 2, 4, 8, 16, 32, MOST_NODES - 1)
_SMOOTHING = 0.2
_SLOPE = 0.02
"""What a drafted token is taken to cost of a step before one was measured."""
PLAIN_AFTER, _PLAIN_EVERY = 8, 32
"""Drafted steps until the next plain one; twice as many until each other, to a most."""


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
        self._plain_after = PLAIN_AFTER

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
