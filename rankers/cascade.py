"""A cascade: a cheap order answers, an expensive ranker is asked only where that one is unsure."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from ..contracts import Float32Array
from ..errors import InputError
from ..ranking import NO_ROW, Ranking
from ..stages import Budget, Candidates, Ranker
from .candidates import Float64Array
from .checks import check_integer, check_number
from .listwise.settings import Listwise
from .table import RANKERS


@dataclass(frozen=True, slots=True)
class Cascade:
    """Ask ``expensive`` only where ``cheap`` is not sure of its order.

    ``cheap``: a ranker, or None for the order that comes from retrieval or the stage before. Not a
    listwise one: its scores are ranks, and as far apart when it is sure as when it is not.
    Its confidence in a query is the margin between its places ``at`` and ``at + 1``, as a share of
    the span of all its scores: 0 for a tie, 1 where all else scores alike. Below ``margin`` the
    query is deferred; ``margin=0`` never defers, ``margin=1`` nearly always does.
    :func:`cormorant.eval.tuning.margin_for_cost` finds the margin that defers a given share.
    A query with ``at`` candidates or fewer is sure. A flag says how many were deferred. Where there
    are two rankers, half of a query's calls and tokens are for each.

    The rule is that of margin sampling: Lewis and Gale, "A Sequential Algorithm for Training Text
    Classifiers", SIGIR 1994; cascades of rankers: Wang, Lin and Metzler, "A Cascade Ranking Model
    for Efficient Ranked Retrieval", SIGIR 2011.
    """

    kind: ClassVar[str] = "cascade"
    expensive: Ranker = field(metadata={"table": RANKERS})
    cheap: Ranker | None = field(default=None, metadata={"table": RANKERS})
    margin: float = 0.1
    at: int = 1

    def __post_init__(self) -> None:
        check_number("margin", self.margin, 0, 1)
        check_integer("at", self.at, 1, 1000)
        for name in ("expensive", "cheap"):
            value: Any = getattr(self, name)
            if value is None and name == "cheap":
                continue
            if not (hasattr(value, "rank") and hasattr(value, "depth")):
                raise InputError(f"is a ranker, got {value!r}", field=name)
        if _scores_by_rank(self.cheap):
            raise InputError(
                "orders by rank, and its scores do not say how sure it is; take a ranker that "
                "scores each passage, or None for the order from retrieval",
                field="cheap",
            )
        cheap: Any = self.cheap
        if cheap is not None and cheap.depth < self.depth:
            raise InputError(
                f"ranks {cheap.depth} candidates, fewer than the {self.depth} of the expensive one",
                field="cheap",
            )

    @property
    def depth(self) -> int:
        """How many candidates both are given."""
        return self.expensive.depth

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The cheap order of the queries that it is sure of, the expensive one of the others."""
        begun = time.monotonic()
        ranked = self._cheap(candidates, budget)
        unsure = np.flatnonzero(confidences(ranked, self.at) < self.margin)
        if not len(unsure):
            return ranked
        some = [candidates[number] for number in unsure.tolist()]
        cheap = Budget() if self.cheap is None else _half(budget)
        left = budget.shrunk(
            calls=cheap.calls or 0,
            tokens=cheap.tokens or 0,
            milliseconds=(time.monotonic() - begun) * 1000,
        )
        answer = self.expensive.rank(some, left)
        rows, scores = ranked.rows.copy(), ranked.scores.copy()
        rows[unsure], scores[unsure] = NO_ROW, -np.inf
        rows[unsure, : answer.depth] = answer.rows
        scores[unsure, : answer.depth] = answer.scores
        name = getattr(self.expensive, "kind", type(self.expensive).__name__)
        flag = f"{len(unsure)} of {len(candidates)} queries were deferred to {name}"
        return Ranking(rows, scores, (*ranked.flags, *answer.flags, flag))

    def _cheap(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        if self.cheap is not None:
            return self.cheap.rank(candidates, _half(budget))
        ranked = Ranking.empty(len(candidates), max((len(c.rows) for c in candidates), default=0))
        for number, item in enumerate(candidates):
            ranked.rows[number, : len(item.rows)] = item.rows
            ranked.scores[number, : len(item.rows)] = item.scores
        return ranked


def _scores_by_rank(ranker: Any) -> bool:
    """Whether scores of a ranker's may be ranks: of a cascade's, those of what it deferred."""
    if isinstance(ranker, Cascade):
        return _scores_by_rank(ranker.expensive)
    return isinstance(ranker, Listwise)


def _half(budget: Budget) -> Budget:
    """What the cheap ranker may spend, and is taken to have spent: it does not say."""
    calls, tokens = (None if most is None else most // 2 for most in (budget.calls, budget.tokens))
    return replace(budget, calls=calls, tokens=tokens)


def confidences(ranked: Ranking, at: int) -> Float64Array:
    """How sure an order is of its first ``at`` places: (n_queries,) float64, 0 to 1."""
    sure = np.ones(ranked.n_queries)
    for number, (rows, scores) in enumerate(zip(ranked.rows, ranked.scores, strict=True)):
        known: Float32Array = scores[(rows != NO_ROW) & np.isfinite(scores)]
        if np.count_nonzero(rows != NO_ROW) <= at:
            continue
        span = float(known[0]) - float(known[-1]) if len(known) > at else 0.0
        margin = float(known[at - 1]) - float(known[at]) if len(known) > at else 0.0
        sure[number] = margin / span if span > 0 else 0.0
    return sure
