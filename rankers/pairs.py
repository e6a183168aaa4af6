"""Reranking by whatever scores pairs: each candidate with the query, within the budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ..contracts import Float32Array
from ..errors import CormorantError
from ..ranking import Ranking
from ..stages import Budget, Candidates, PairScorer

PAIRS_BETWEEN_LOOKS = 64
"""With a limit of time, so many pairs are scored before it is looked at again whether any is left.
"""
PAIRS_AT_ONCE = 1024
"""Without one, so many before it is looked at whether anybody waits: a scorer sorts by length.

Whoever may be cancelled or not, so that the scorer sees the same batches.
"""


def rank_pairs(
    scorer: PairScorer,
    candidates: Sequence[Candidates],
    budget: Budget,
    clock: Callable[[], float] = time.perf_counter,
) -> Ranking:
    """The candidates by their scores, of equal scores the lower row first.

    A call is a pair: of each query no more than the first ``budget.calls`` candidates are scored,
    and with a limit of time the best candidates of all queries come first. No further batch of
    pairs is begun once the time is over or the search cancelled. Those that are
    not scored keep their order, last, with -inf; a flag says how many. Raises
    :class:`~cormorant.errors.CormorantError` for a scorer that gives NaN, infinity or too few.
    """
    width = max((len(item.rows) for item in candidates), default=0)
    asked = [
        (place, number)
        for number, item in enumerate(candidates)
        for place in range(min(len(item.rows), _most(budget.calls, width)))
    ]
    n_rows = sum(len(item.rows) for item in candidates)
    step = PAIRS_AT_ONCE
    if budget.milliseconds is not None:
        asked.sort()
        step = PAIRS_BETWEEN_LOOKS
    scores = np.full((len(candidates), width), -np.inf, np.float32)
    begun, done = clock(), 0
    while done < len(asked):
        if budget.is_over((clock() - begun) * 1000):
            break
        some = asked[done : done + step]
        pairs = [
            (candidates[number].query, candidates[number].chunks[place].indexed_text)
            for place, number in some
        ]
        for (place, number), score in zip(some, checked_scores(scorer, pairs), strict=True):
            scores[number, place] = score
        done += len(some)
    flags = (f"{n_rows - done} of {n_rows} candidates were not scored",) if done < n_rows else ()
    ranked = Ranking.empty(len(candidates), width, flags)
    for number, item in enumerate(candidates):
        own = scores[number, : len(item.rows)]
        known = own > -np.inf
        tie = np.where(known, item.rows, np.arange(len(item.rows)))
        order = np.lexsort((tie, np.where(known, -own, 0.0), ~known))
        ranked.rows[number, : len(order)] = item.rows[order]
        ranked.scores[number, : len(order)] = own[order]
    return ranked


def _most(calls: int | None, width: int) -> int:
    return width if calls is None else calls


def checked_scores(scorer: PairScorer, pairs: Sequence[tuple[str, str]]) -> Float32Array:
    """The scores of pairs: (n,) float32, finite."""
    scores = np.asarray(scorer.score_pairs(pairs), np.float32)
    if scores.shape != (len(pairs),):
        raise CormorantError(f"a scorer of {len(pairs)} pairs gave scores of shape {scores.shape}")
    wrong = ~np.isfinite(scores)
    if wrong.any():
        query, text = pairs[int(np.argmax(wrong))]
        raise CormorantError(
            f"a scorer gave {scores[np.argmax(wrong)]} to the query {query[:60]!r} and the text "
            f"{text[:60]!r}; a score is a finite number"
        )
    return scores
