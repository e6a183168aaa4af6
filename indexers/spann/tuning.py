"""How far a search must go: measured on samples when a segment is written.

Samples are vectors of the segment itself, asked as queries, each without itself among the answers.
Their exact neighbours are found by one pass over all vectors. For each ``eps2`` of a ladder it is
known which of these stand in a list that is read, and so for each number of lists at most: in many
dimensions distances are nearly alike, and a query far from everything would read half of all lists
by ``eps2`` alone. For a few shares of neighbours that stand in lists the cheapest such pair is
taken, one look at the codes tells with which slack each vector would be a survivor, and so the
least slack that reaches a target. Of these the cheapest is taken, by what a list, a code and a
vector cost. This is done for the target of the settings and for those of ``TARGETS``.

With 1,024 samples a recall of .95 is known to about .003 (a standard deviation), so that two
builds of the same vectors differ by no more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Lists, Rule, choose, survivors
from .rows import Rows
from .sampling import Samples, Walk, distinct, sampled, walked
from .settings import Spann
from .space import Space
from .threads import Done, workers
from .writing import Written, share_on_disk

SAMPLES, LEAST_SAMPLES = 1024, 192
"""One row in 16, within these bounds."""
_MORE = 4
"""So many times as many are looked at where some are identical."""
DEEP_SAMPLES = 256
"""For the deeper of ``DEPTHS``: each tells of ten times as many neighbours."""
SEED = 11
DEPTHS = (10, 100)
TARGETS = (0.85, 0.9, 0.94, 0.96, 0.98, 0.99)
"""Recalls whose effort a segment holds beside its settings' own."""
_EPS2 = (
    *(0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.125, 0.15, 0.18, 0.22, 0.26, 0.3),
    *(0.36, 0.42, 0.5, 0.6, 0.75, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0),
)
_MOST_SLACK = 6.0
"""In spreads: an estimate is never so far off."""
_SHARES = (0.15, 0.35, 0.6, 1.0)
"""Of what the target leaves to be missed: how much of it lists may miss, less each of these."""
_MARGIN = 0.1
"""Of what the target leaves to be missed: samples are few."""
_LIST_US, _CODE_US, _VECTOR_US = 0.3, 0.02, 40.0
"""What a list and a code in memory cost, in microseconds, and a vector from disk."""
_LISTS_ON_DISK_US = 10.0
"""A list where none is in memory: less than it takes, as those most read are kept, and as samples,
which stand in lists themselves, find more in a few lists than queries do."""


class Effort(NamedTuple):
    """How far to go (lists: how many at most), and the recall that was measured for it."""

    eps2: float
    most: int
    slack: float
    recall: float


def most_survivors(k: int) -> int:
    """Vectors read for a query at most: where thousands are alike, any of them will do."""
    return 8 * k + 64


def effort_for(summary: JsonObject, k: int, settings: Spann) -> Effort:
    """What reaches the target for the k best, or the most there is.

    For more than the deepest of ``DEPTHS`` nothing was measured: lists are read as many times as
    far out, unless the settings say how far.
    """
    efforts = summary["measured"][str(DEPTHS[0] if k <= DEPTHS[0] else DEPTHS[1])]
    target = settings.target_recall
    found = next((one for one in efforts if one["target"] >= target), efforts[-1])
    effort = Effort(found["eps2"], found["most"], found["slack"], found["recall"])
    if k <= DEPTHS[-1]:
        return effort
    deeper = k / DEPTHS[-1]
    if settings.eps2 is None:
        effort = effort._replace(eps2=effort.eps2 * deeper)
    if settings.postings is None:
        effort = effort._replace(most=int(effort.most * deeper))
    return effort


def measure(
    vectors: Rows,
    space: Space,
    written: Written,
    settings: Spann,
    done: Done,
) -> tuple[JsonObject, Float32Array]:
    """For each of ``DEPTHS`` efforts by target, with what they cost; how often a list was read."""
    lists, homes, copies, radius, facts = written
    on_disk = share_on_disk(vectors, space, settings, facts["lists"], facts["codes"], facts["bits"])
    list_us = _LIST_US + on_disk * _LISTS_ON_DISK_US
    n = len(vectors)
    wanted = min(n, max(LEAST_SAMPLES, min(SAMPLES, n // 16)))
    random = np.random.Generator(np.random.Philox(SEED))
    places = distinct(vectors, random.choice(n, wanted, replace=False))
    if len(places) < wanted:  # identical vectors, which are found at once, would hide the others
        more = random.choice(n, min(n, _MORE * wanted), replace=False)
        places = distinct(vectors, np.concatenate([places, more]))[:wanted]
    samples = sampled(vectors, space, places, min(DEPTHS[-1], n - 1), done)
    ladder, mosts = _limits(len(lists.counts), settings)

    def seen(walk: Walk) -> tuple[Int64Array, Int64Array, Int64Array, Int64Array]:
        reads = np.array([_read(walk, eps2, radius) for eps2 in ladder])
        return walk.ranks, reads, walk.codes[reads - 1], walk.codes[np.array(mosts) - 1]

    walks = walked(lists, samples, homes, copies, seen)
    met = _Met(*(np.stack(column) for column in zip(*walks, strict=True)))
    measured: JsonObject = {}
    for depth in DEPTHS:
        count = SAMPLES if depth == DEPTHS[0] else DEEP_SAMPLES
        some = Samples(samples.queries[:count], places[:count], samples.true[:count, :depth])
        first = _Met(*(each[:count] for each in met))
        reaches = _reaches(first, depth, ladder, mosts, list_us)
        measured[str(depth)] = _efforts(some, lists, reaches, radius, settings, list_us)
    best = effort_for({"measured": measured}, DEPTHS[0], settings)
    heat = np.zeros(len(lists.counts), np.float32)
    for query in samples.queries:
        heat[choose(lists, query, Rule(best.eps2, radius, best.most, 0), _EVERY)] += 1.0
    return measured, heat


_ANY: BoolArray = np.zeros(0, np.bool_)
_EVERY: NDArray[np.int32] = np.zeros(0, np.int32)


class _Met(NamedTuple):
    """What samples met on their walks through all lists, which are as long as there are lists.

    ``ranks`` (n_samples, depth): in which list each true neighbour is met first; ``reads``,
    ``codes`` (n_samples, n_eps2): lists and codes by each ``eps2`` alone; ``most`` (n_samples,
    n_mosts): codes by each number of lists alone.
    """

    ranks: Int64Array
    reads: Int64Array
    codes: Int64Array
    most: Int64Array


def _read(walk: Walk, eps2: float, radius: float) -> int:
    """How many lists are read."""
    bound = Rule(eps2, radius, len(walk.codes), 0).bound(float(walk.distances[0]))
    return max(1, int(np.searchsorted(walk.distances, bound, side="right")))


class _Reach(NamedTuple):
    """What a pair of limits gives: the share of neighbours that are met, at what cost."""

    eps2: float
    most: int
    covered: float
    cost: float


def _limits(m: int, settings: Spann) -> tuple[tuple[float, ...], list[int]]:
    """Every ``eps2``, and every number of lists at most, that may be."""
    most = min(settings.postings or m, m)
    if settings.eps2 is not None:
        return (settings.eps2,), [most]
    return _EPS2, [most] if settings.postings else _ladder(m)


def _reaches(
    met: _Met, depth: int, ladder: tuple[float, ...], mosts: list[int], list_us: float
) -> list[_Reach]:
    """Every pair of a ladder."""
    found = []
    for number, eps2 in enumerate(ladder):
        within = met.reads[:, number]
        for at, most in enumerate(mosts):
            reads = np.minimum(within, most)
            ranks = met.ranks[:, :depth]
            covered = float((ranks < reads[:, None]).mean()) if ranks.size else 1.0
            codes = np.minimum(met.codes[:, number], met.most[:, at]).mean()
            cost = float(list_us * reads.mean() + _CODE_US * codes)
            found.append(_Reach(eps2, most, covered, cost))
            if most >= within.max():
                break
    return found


def _ladder(m: int) -> list[int]:
    """Numbers of lists in even ratios, from 4 to all of them."""
    steps: list[int] = []
    count = 4.0
    while count < m:
        steps.append(round(count))
        count *= 2**0.25
    return [*steps, m]


def _efforts(
    asked: Samples,
    lists: Lists,
    reaches: list[_Reach],
    radius: float,
    settings: Spann,
    list_us: float,
) -> list[JsonObject]:
    """The cheapest for each target, lowest target first."""

    @cache
    def seen(reach: _Reach) -> _Seen:
        rule = Rule(reach.eps2, radius, reach.most, asked.true.shape[1])
        return _looked(asked, lists, rule)

    return [
        {"target": target, **_cheapest(reaches, seen, target, list_us)}
        for target in sorted({*TARGETS, settings.target_recall})
    ]


def _cheapest(
    reaches: list[_Reach], seen: Callable[[_Reach], _Seen], target: float, list_us: float
) -> JsonObject:
    target += _MARGIN * (1.0 - target)
    found = []
    for share in _SHARES:
        wanted = target + share * (1.0 - target)
        enough = [one for one in reaches if one.covered >= wanted]
        reach = (
            min(enough, key=lambda one: one.cost)
            if enough
            else max(reaches, key=lambda one: (one.covered, -one.cost))
        )
        looked = seen(reach)
        slack, recall = looked.least_slack(target)
        vectors = float((looked.needs <= slack).sum() / len(looked.lists))
        best: JsonObject = {"eps2": reach.eps2, "most": reach.most, "slack": slack}
        best |= {"recall": round(recall, 4), "vectors": round(vectors, 1)}
        best |= {"lists": round(float(looked.lists.mean()), 1)}
        best |= {"codes": round(float(looked.codes.mean()), 1)}
        found.append((recall < target, -recall if recall < target else _cost(best, list_us), best))
    return min(found, key=lambda one: one[:2])[2]


def _cost(found: JsonObject, list_us: float) -> float:
    cost: float = list_us * found["lists"] + _CODE_US * found["codes"]
    return cost + _VECTOR_US * float(found["vectors"])


class _Seen(NamedTuple):
    """What all samples' codes tell.

    ``true`` (n_samples, depth): the slack that each neighbour needs, infinite where it is in no
    list that is read; ``needs``: that of each vector met. ``lists``, ``codes`` (n_samples,).
    """

    true: Float32Array
    needs: Float32Array
    lists: Int64Array
    codes: Int64Array

    def least_slack(self, target: float) -> tuple[float, float]:
        """The least slack that reaches a target, or all there is, and the recall with it."""
        needs = np.sort(self.true, axis=None)
        if not len(needs):
            return _MOST_SLACK, 1.0
        wanted = min(int(np.ceil(target * len(needs))), len(needs)) - 1
        enough = target < 1.0 and np.isfinite(needs[wanted])
        slack = float(needs[wanted]) if enough else _MOST_SLACK
        slack *= 1.001  # a need is rounded
        return slack, float((needs <= slack).mean())


def _looked(asked: Samples, lists: Lists, rule: Rule) -> _Seen:
    k = asked.true.shape[1] + 1  # the sample finds itself as well
    limit = most_survivors(k)

    def one(number: int) -> tuple[Float32Array, Float32Array, int, int]:
        query, own, wanted = asked.queries[number], asked.places[number], asked.true[number]
        chosen = choose(lists, query, rule, _EVERY)
        found = survivors(lists, query, chosen, k, _MOST_SLACK, limit, _ANY)
        others = found.places != own
        order = np.argsort(found.places[others])
        places, needs = found.places[others][order], found.needs[others][order]
        true = np.full(len(wanted), np.inf, np.float32)
        at = np.searchsorted(places, wanted).clip(max=max(len(places) - 1, 0))
        if len(places):
            there = places[at] == wanted
            true[there] = needs[at[there]]
        return true, needs, len(chosen), found.codes

    with workers() as pool:
        found = list(pool.map(one, range(len(asked.queries))))
    true, needs, read, codes = zip(*found, strict=True)
    return _Seen(np.array(true), np.concatenate(needs), np.array(read), np.array(codes))
