"""CUR over a collection: pools of rows, what is known of them, the search, and its flags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import BoolArray, Int64Array
from ...documents import JsonObject
from ...errors import InputError
from ...ranking import NO_ROW, Ranking
from ...stages import CollectionView, RankedList, Retrieved
from ..convex import Convex
from ..pairs import PAIRS_AT_ONCE, PAIRS_BETWEEN_LOOKS
from . import regression
from .ledger import Float64Array
from .regression import ItemVectors
from .rounds import Found, Plan, Pool, search
from .scorers import identity_of, scored_pairs

if TYPE_CHECKING:
    from .settings import CUR

FIRST = ("bm25", "dense")


def retrieve(settings: CUR, queries: Sequence[str], view: CollectionView) -> Retrieved:
    """See :class:`~cormorant.rankers.cur.settings.CUR`."""
    everything = view.rows()
    shares = view.shares(settings.budget)
    plans = [
        Plan(settings.method, share, settings.rounds, settings.first_share, settings.seed)
        for share in shares
    ]
    flags: list[str] = []
    if not len(everything) or not any(shares):
        if len(everything) and queries:
            flags.append("cur: there was no budget for a call")
        return _nothing(queries, flags)
    if not all(shares):
        flags.append(
            f"cur: {shares.count(0)} of {len(shares)} texts had no call: budget is too small"
        )
    anchors, everything = _anchors(settings, view, everything, flags)
    if not len(everything):
        return _nothing(queries, flags)
    rows, pools, items = _pools(settings, view, queries, everything, anchors, flags)

    known: dict[tuple[str, str], float] = {}  # of rows with one text only the first is scored

    def score(numbers: Int64Array, places: Int64Array) -> Float64Array:
        wanted = [rows[n][p] for n, p in zip(numbers.tolist(), places.tolist(), strict=True)]
        distinct, where = np.unique(np.array(wanted, np.int64), return_inverse=True)
        texts = [chunk.indexed_text for chunk in view.chunks(distinct)]
        pairs = [
            (queries[number], texts[place])
            for number, place in zip(numbers.tolist(), where.tolist(), strict=True)
        ]
        new = list(dict.fromkeys(pair for pair in pairs if pair not in known))
        if new:
            known.update(zip(new, scored_pairs(settings.scorer, new).tolist(), strict=True))
        return np.array([known[pair] for pair in pairs])

    ended: list[bool] = []

    def out_of_time() -> bool:
        ended.append(view.out_of_time())
        return ended[-1]

    timed = view.budget.milliseconds is not None
    at_once = PAIRS_BETWEEN_LOOKS if timed else PAIRS_AT_ONCE
    found, failure = search(pools, plans, score, out_of_time, at_once)
    if any(ended):
        spent = max(answer.calls for answer in found)
        flags.append(f"cur: the time ran out after {spent} of {max(shares)} calls a query")
    if failure is not None:
        if settings.on_error == "raise":
            raise failure
        flags.append(f"cur: the scorer failed half-way: {type(failure).__name__}: {failure}")
    return _answer(settings, found, rows, items, flags)


def _nothing(queries: Sequence[str], flags: Sequence[str]) -> Retrieved:
    return Retrieved(Ranking.empty(len(queries), 1, tuple(flags)), [{} for _ in queries])


def _anchors(
    settings: CUR, view: CollectionView, rows: Int64Array, flags: list[str]
) -> tuple[Float64Array | None, Int64Array]:
    """The anchor queries' scores (k_q, n) of the rows that have them, and those rows."""
    if settings.anchors is None:
        return None, rows
    name = view.resolve(settings.anchors)
    if name is None:
        if settings.method == "axn" and settings.anchors == "anchors":
            return None, rows
        raise InputError(
            f"{settings.method} reads the scores of anchor queries, and there is no index "
            f"{settings.anchors!r}; add one: add_index('anchors', Anchors(scorer, queries))",
            field="anchors",
        )
    _compare(settings, name, view.made_by(name).get("model"), flags)
    scores = view.anchor_scores(name, rows)
    there = np.isfinite(scores).all(axis=1)
    if not there.all():
        behind = int(np.count_nonzero(~there))
        flags.append(f"cur: {behind} rows have no anchor scores yet and were left out")
    return scores[there].T.astype(np.float64), rows[there]


def _compare(settings: CUR, name: str, made_by: str | None, flags: list[str]) -> None:
    """Flag anchor scores of another scorer."""
    try:
        scorer = identity_of(settings.scorer)
    except Exception:
        if settings.on_error == "raise":
            raise
        return  # it will fail at the first pair, and be flagged
    if made_by not in (None, scorer):
        flags.append(f"cur: {name!r} holds scores of another scorer ({made_by}, not {scorer})")


def _pools(
    settings: CUR,
    view: CollectionView,
    queries: Sequence[str],
    everything: Int64Array,
    anchors: Float64Array | None,
    flags: list[str],
) -> tuple[list[Int64Array], list[Pool], ItemVectors | None]:
    """For each query its rows, ascending, and the pool that they make."""
    lists = _first_stage(settings, view, queries)
    items, vectors = None, None
    if settings.method == "axn":
        items, vectors = _vectors(settings, view, everything, anchors)
    order = _fused(lists, view, len(everything), len(queries))
    mean = None if anchors is None else anchors.mean(axis=0)
    if len(everything) > settings.pool:
        flags.append(f"cur: searched the first {settings.pool:,} of {len(everything):,} rows")
    if settings.method == "axn":
        anchors = None  # its item vectors hold what it reads of them
    rows, pools = [], []
    for number in range(len(queries)):
        ranked = None if order is None else _standing(order[number], everything)
        places = _chosen(len(everything), ranked, mean, settings.pool)
        own = everything[places]
        first = mean if ranked is None else ranked.scores
        first = None if first is None else first[places]
        columns = None
        if items is not None and not items.alone:
            more = [_standardised(_row(view, item, own, number)) for item in lists]
            if first is not None and len(lists) > 1:
                more.append(_standardised(first))
            columns = np.column_stack(more) if more else None
        rows.append(own)
        pools.append(
            Pool(
                len(own),
                first,
                anchors,
                vectors,
                regression.DEFAULT_RIDGE if items is None else items.ridge,
                places,
                columns,
            )
        )
    return rows, pools, items


def _vectors(
    settings: CUR, view: CollectionView, rows: Int64Array, anchors: Float64Array | None
) -> tuple[ItemVectors, Float64Array]:
    """What AXN knows of every row whatever the query: (n, d)."""
    side = None if settings.side is None else view.resolve(settings.side)
    stored = None if side is None else view.vectors(side, rows)
    if anchors is None:
        items = regression.without_anchors(len(rows))
    else:
        items = regression.item_vectors(anchors, None if stored is None else stored.__getitem__)
    if stored is None or items.alone:
        return items, items.factors
    return items, np.hstack([items.factors, regression.centred(stored)])


def _first_stage(settings: CUR, view: CollectionView, queries: Sequence[str]) -> list[RankedList]:
    """The lists of the first stage, as deep as the pool."""
    lists = []
    for name in FIRST if settings.first is None else settings.first:
        index = view.resolve(name)
        if index is None:
            if settings.first is None:
                continue
            raise InputError(f"there is no index {name!r}", field="first")
        lists.append(view.search(index, queries, settings.pool))
    return lists


def _fused(
    lists: Sequence[RankedList], view: CollectionView, n_rows: int, n_queries: int
) -> list[tuple[Int64Array, Float64Array]] | None:
    """For each query the rows of the first stage with their scores, best first."""
    if not lists:
        return None
    ranking = lists[0].ranking
    if len(lists) > 1:
        ranking = Convex().fuse(lists, view.score, max(item.ranking.depth for item in lists))
    found = []
    for number in range(n_queries):
        there = ranking.rows[number] != NO_ROW
        scores = ranking.scores[number][there].astype(np.float64)
        found.append((ranking.rows[number][there], scores))
    return found


class _Standing(NamedTuple):
    """What the first stage says of all rows: ``places`` (m,) of those it lists, best first.

    ``scores`` (n,): those it does not list stand together below the others.
    """

    places: Int64Array
    scores: Float64Array


def _standing(ranked: tuple[Int64Array, Float64Array], everything: Int64Array) -> _Standing:
    rows, scores = ranked
    lowest = float(scores.min(initial=0.0))
    if not len(rows):
        return _Standing(rows, np.full(len(everything), lowest))
    places = np.minimum(np.searchsorted(everything, rows), len(everything) - 1)
    there = everything[places] == rows
    values = np.full(len(everything), np.nextafter(lowest, -np.inf))
    values[places[there]] = scores[there]
    return _Standing(places[there], values)


def _chosen(n: int, ranked: _Standing | None, mean: Float64Array | None, pool: int) -> Int64Array:
    """Places of the rows to search, ascending: the first stage's, filled up where they are few."""
    if n <= pool:
        return np.arange(n)
    chosen: BoolArray = np.zeros(n, np.bool_)
    if ranked is not None:
        chosen[ranked.places[:pool]] = True
    missing = pool - int(np.count_nonzero(chosen))
    if missing:
        rest = np.flatnonzero(~chosen)
        order = rest if mean is None else rest[np.argsort(-mean[rest], kind="stable")]
        chosen[order[:missing]] = True
    return np.flatnonzero(chosen)


def _row(view: CollectionView, item: RankedList, rows: Int64Array, number: int) -> Float64Array:
    """True scores of rows by an index of the first stage; its lowest where it holds no such row."""
    scores = view.score_one(item.index, number, rows).astype(np.float64)
    there = np.isfinite(scores)
    filled: Float64Array = np.where(there, scores, scores[there].min(initial=0.0))
    return filled


def _standardised(values: Float64Array) -> Float64Array:
    row: Float64Array = regression.standardised(values[None])[0]
    return row


def _answer(
    settings: CUR,
    found: Sequence[Found],
    rows: Sequence[Int64Array],
    items: ItemVectors | None,
    flags: list[str],
) -> Retrieved:
    """One ranking of exact scores, and behind them estimates that never pass an exact score."""
    width = max(len(own) for own in rows)
    ranking = Ranking.empty(len(found), width)
    facts: list[JsonObject] = []
    for number, (answer, own) in enumerate(zip(found, rows, strict=True)):
        exact = len(answer.items)
        ranking.rows[number, :exact] = own[answer.items]
        ranking.scores[number, :exact] = answer.scores
        others, estimates = own[answer.others], answer.estimates
        if exact and len(estimates):
            lowest = np.nextafter(np.float32(answer.scores[-1]), np.float32(-np.inf))
            estimates = estimates - max(0.0, float(estimates.max() - lowest))
        single = estimates.astype(np.float32)
        order = np.lexsort((others, -single))
        ranking.rows[number, exact : exact + len(others)] = others[order]
        ranking.scores[number, exact : exact + len(others)] = single[order]
        facts.append(_facts(settings, answer, items))
    invalid = sum(answer.invalid for answer in found)
    if invalid:
        flags.append(f"cur: {invalid} pairs got no finite score and were left out")
    errors = [fact["held_out_error"] for fact in facts if fact.get("held_out_error") is not None]
    if errors and np.median(errors) >= 1.0:
        flags.append(
            "cur: the anchor queries explain held-out rows no better than their means; "
            "more of them, or ones such as users ask, would help"
        )
    return Retrieved(Ranking(ranking.rows, ranking.scores, tuple(flags)), facts)


def _facts(settings: CUR, answer: Found, items: ItemVectors | None) -> JsonObject:
    """The conditioning report: what an explanation says of a query's search."""
    facts: JsonObject = {
        "method": settings.method,
        "calls": answer.calls,
        "exact": len(answer.items),
    }
    if answer.report is not None:
        facts["rank"] = answer.report.rank
        facts["condition"] = answer.report.condition
    error = answer.report.held_out_error if answer.report is not None else float("nan")
    if items is not None:
        facts["anchor_rank"], facts["ridge"] = items.rank, items.ridge
        error = items.held_out_error
    facts["held_out_error"] = float(error) if np.isfinite(error) else None
    return facts
