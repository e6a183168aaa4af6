"""One query's candidates judged: strategy, shuffles, the first stage's share, and the flags."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from threading import Event, Lock, Semaphore
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...errors import InputError
from ...ranking import Ranking
from ...stages import Budget, Candidates
from ..concurrently import concurrently
from . import strategies
from .asking import Asker, Record, failed, share_of
from .consistency import aggregate, sensitivity

if TYPE_CHECKING:
    from .settings import Listwise


SETWISE_TOP = 10
"""How many places setwise settles unless told: each costs several calls."""


class Judged(NamedTuple):
    """An order of places 0..n-1, as the model has it and as it is after fusing with the prior.

    ``sensitivity``: how much the answers to shuffled inputs disagree (None for one input order).
    """

    order: tuple[int, ...]
    by_model: tuple[int, ...]
    record: Record
    sensitivity: float | None
    failure: str | None = None


def judge(
    settings: Listwise,
    query: str,
    texts: Sequence[str],
    budget: Budget,
    calls: Semaphore | None = None,
    threads: int | None = None,
) -> Judged:
    """See :meth:`~cormorant.rankers.listwise.settings.Listwise.judge`.

    ``calls``: what the calls of several queries take turns by; ``threads``: how many this query
    may use. Both are of ``settings.concurrency`` unless told.
    """
    n = len(texts)
    if n < 2:
        return Judged(tuple(range(n)), tuple(range(n)), Record(), None)
    asker = Asker(
        settings.language_model,
        query,
        texts,
        budget=Budget(settings.calls, settings.tokens).within(budget),
        passage_tokens=settings.passage_tokens,
        concurrency=settings.concurrency if threads is None else threads,
        attempts=settings.attempts,
        template=settings.template,
        calls=calls,
    )
    try:
        voices = asker.together(lambda shown: _voice(settings, asker, shown), _shown(settings, n))
    except InputError:
        raise  # settings that cannot work: no order is worth keeping over them
    except Exception as error:
        if settings.on_error == "raise":
            raise
        kept = tuple(range(n))
        return Judged(kept, kept, asker.record, None, failed(error))
    orders = [order for order, whole in voices if whole] or [voices[0][0]]
    top = n if settings.top is None else min(n, settings.top)
    made = aggregate(orders, settings.aggregate) if len(orders) > 1 else orders[0]
    made = _top_only(made, top)
    return Judged(
        tuple(with_prior(made, settings.prior_weight)),
        tuple(made),
        asker.record,
        sensitivity(orders) if len(orders) > 1 else None,
    )


def _shown(settings: Listwise, n: int) -> list[list[int]]:
    """The orders in which the passages are shown: as they are, then shuffled."""
    random = np.random.default_rng(settings.seed)
    shuffled = [random.permutation(n).tolist() for _ in range(settings.shuffles - 1)]
    return [list(range(n)), *shuffled]


def _voice(settings: Listwise, asker: Asker, shown: list[int]) -> tuple[list[int], bool]:
    """The model's order of passages shown so, and whether it answered all that was asked for it.

    Where it did not, the order is in part that in which they were shown: as good as the prior one
    if it is that, and nobody's opinion if it was shuffled.
    """
    own = asker.apart(settings.shuffles)
    order = _order(settings, own, shown)
    return order, own.unanswered == 0


def _order(settings: Listwise, asker: Asker, places: list[int]) -> list[int]:
    top = len(places) if settings.top is None else min(settings.top, len(places))
    if settings.method == "full":
        return strategies.full(asker, places, top)
    if settings.method == "windows":
        return strategies.windows(asker.order, places, settings.window, settings.stride)
    if settings.method == "first":
        return strategies.windows(
            lambda some, _: asker.order_by_first_token(some),
            places,
            settings.window,
            settings.stride,
        )
    if settings.method == "setwise":
        wanted = SETWISE_TOP if settings.top is None else top
        return strategies.setwise(asker, places, wanted, settings.children)
    return strategies.tournament(asker, places, settings.window, settings.rounds, settings.seed)


def _top_only(order: Sequence[int], top: int) -> list[int]:
    """The first ``top`` places of an order; behind them the rest as they were before."""
    head = list(order[:top])
    return head + sorted(set(order) - set(head))


def with_prior(order: Sequence[int], weight: float) -> list[int]:
    """An order fused with the prior one (0, 1, 2, ...) by weighted mean rank.

    A passage at prior rank p (from 0) ends no higher than rank ``weight * p``, rounded down, as
    long as the others keep the order they had: its mean rank is at least ``weight * p``, and that
    of another at prior rank q, pushed down by one, is ``q + 1 - weight``.
    """
    ranks = np.empty(len(order))
    ranks[np.asarray(order, np.int64)] = np.arange(len(order))
    prior = np.arange(len(order))
    mean = (1 - weight) * ranks + weight * prior
    # Equal means: the model's word counts, unless it has none.
    fused: list[int] = np.lexsort((ranks if weight < 1 else prior, np.round(mean, 9))).tolist()
    return fused


def rank(settings: Listwise, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
    """See :meth:`~cormorant.rankers.listwise.settings.Listwise.rank`."""
    width = max((len(item.rows) for item in candidates), default=0)
    ranking = Ranking.empty(len(candidates), width)
    begun = time.monotonic()
    calls, reading, stopped = Semaphore(settings.concurrency), Lock(), Event()
    numbers = [number for number, item in enumerate(candidates) if len(item.rows)]
    threads = share_of(settings.concurrency, max(1, len(numbers)))
    all_of = budget.within(Budget(cancelled=stopped))  # no call for a batch that has failed

    def judged(number: int) -> Judged:
        item = candidates[number]
        with reading:
            texts = [chunk.indexed_text for chunk in item.chunks]
        left = all_of.shrunk(milliseconds=(time.monotonic() - begun) * 1000)
        return judge(settings, item.query, texts, left, calls, threads)

    judgements = concurrently(judged, numbers, settings.concurrency, stopped)
    for number, own in zip(numbers, judgements, strict=True):
        n = len(own.order)
        ranking.rows[number, :n] = candidates[number].rows[list(own.order)]
        ranking.scores[number, :n] = 1.0 - np.arange(n) / n
    return Ranking(ranking.rows, ranking.scores, tuple(flags_of(judgements)))


def flags_of(judgements: Sequence[Judged]) -> list[str]:
    """What a result says of its judgements: spent, repaired, unusable, and left unasked."""
    flags = []
    records = [judged.record for judged in judgements]
    for failure, count in Counter(item.failure for item in judgements if item.failure).items():
        flags.append(f"listwise: {count} queries kept their order: {failure}")
    problems = Counter(problem for record in records for problem in record.problems)
    for problem, count in sorted(problems.items()):
        flags.append(f"listwise: {count} replies could not be used: {problem}")
    repaired = sum(record.repaired for record in records)
    if repaired:
        flags.append(f"listwise: {repaired} replies named passages twice, or ones never shown")
    missing = sum(record.missing for record in records)
    if missing:
        flags.append(f"listwise: {missing} passages were not named and kept their order")
    cut = sum(record.cut for record in records)
    if cut:
        flags.append(f"listwise: passages were cut for {cut} calls to fit the token budget")
    out = Counter(record.ran_out for record in records if record.ran_out)
    for what, count in sorted(out.items()):
        unasked = sum(record.unasked for record in records if record.ran_out == what)
        flags.append(
            f"listwise: the budget of {what} ran out for {count} queries; {unasked} questions or "
            "more were not asked"
        )
    swings = [judged.sensitivity for judged in judgements if judged.sensitivity is not None]
    if swings:
        flags.append(f"listwise: shuffled inputs changed {float(np.mean(swings)):.3f} of all pairs")
    return flags
