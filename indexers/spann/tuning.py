"""How far a search must go: measured on samples when a segment is written.

Samples are vectors of the segment itself, asked as queries, each without itself among the answers.
Their exact neighbours are found by one pass over all vectors. For each ``eps2`` of a ladder it is
known which of these stand in a list that is read, and so for each number of lists at most: in many
dimensions distances are nearly alike, and a query far from everything would read half of all lists
by ``eps2`` alone. For a few shares of neighbours that stand in lists, the cheapest such pair, and
each slack of a ladder, it is seen how many neighbours are among the survivors. Of all that reach
the target the cheapest is taken, by what a list, a code and a vector cost.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Lists, closest, distances, survivors
from .clustering import BLOCK
from .settings import Spann
from .space import Space

SAMPLES = 192
SEED = 11
DEPTHS = (10, 100)
_EPS2 = (
    *(0.0, 0.01, 0.02, 0.03, 0.045, 0.06, 0.08, 0.1, 0.125, 0.15, 0.18, 0.22, 0.26, 0.3),
    *(0.36, 0.42, 0.5, 0.6, 0.75, 1.0, 1.4, 2.0, 3.0, 5.0, 10.0),
)
_SLACKS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0, 6.0)
_SHARES = (0.15, 0.35, 0.6, 1.0)
"""Of what the target leaves to be missed: how much of it lists may miss, less each of these."""
_MARGIN = 0.1
"""Of what the target leaves to be missed: samples are few."""
_LIST_US, _CODE_US, _VECTOR_US = 0.4, 0.01, 22.0
"""What a list, a code and a vector from disk cost, in microseconds, where lists are in memory."""


class Effort(NamedTuple):
    """How far to go (lists: how many at most), and the recall that was measured for it."""

    eps2: float
    most: int
    slack: float
    recall: float


def most_survivors(k: int) -> int:
    """Vectors read for a query at most: where thousands are alike, any of them will do."""
    return 8 * k + 64


def effort_for(summary: JsonObject, k: int) -> Effort:
    """What reaches the target for the k best."""
    depth = DEPTHS[0] if k <= DEPTHS[0] else DEPTHS[1]
    found = summary["measured"][str(depth)]
    return Effort(found["eps2"], found["most"], found["slack"], found["recall"])


def measure(
    vectors: Float32Array,
    space: Space,
    lists: Lists,
    homes: NDArray[np.int32],
    copies: NDArray[np.int32],
    radius: float,
    settings: Spann,
) -> tuple[JsonObject, Float32Array]:
    """For each of ``DEPTHS`` the effort with what it costs; and how often each list was read."""
    n = len(vectors)
    random = np.random.Generator(np.random.Philox(SEED))
    sample = np.sort(random.choice(n, min(SAMPLES, n), replace=False))
    queries = space.of_queries(vectors[sample], space.signs())
    deepest = min(DEPTHS[-1], n - 1)
    true = _neighbours(vectors, space, queries, sample, deepest)
    extra: dict[int, list[int]] = {}
    for place, number in copies.tolist():
        extra.setdefault(place, []).append(number)
    walks = [
        _walk(lists, query, own, homes, extra) for query, own in zip(queries, true, strict=True)
    ]
    measured: JsonObject = {}
    heat = np.zeros(len(lists.counts), np.float32)
    for depth in DEPTHS:
        best = _cheapest(queries, sample, true[:, :depth], lists, walks, radius, settings)
        measured[str(depth)] = best
        for walk in walks if depth == DEPTHS[0] else ():
            heat[walk.order[: _read(walk, best["eps2"], best["most"], radius)]] += 1.0
    return measured, heat


_ANY: BoolArray = np.zeros(0, np.bool_)


class _Walk(NamedTuple):
    """One sample's lists, nearest first, with their distances and the codes up to each (m,).

    ``ranks``: at which of these each true neighbour is met first.
    """

    order: NDArray[np.int32]
    distances: Float32Array
    codes: Int64Array
    ranks: Int64Array


def _walk(
    lists: Lists,
    query: Float32Array,
    true: Int64Array,
    homes: NDArray[np.int32],
    extra: dict[int, list[int]],
) -> _Walk:
    apart = distances(lists, query)
    order = np.argsort(apart, kind="stable").astype(np.int32)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    ranks = [min(rank[[homes[place], *extra.get(place, ())]]) for place in true.tolist()]
    codes = np.cumsum(lists.counts[order], dtype=np.int64)
    return _Walk(order, apart[order], codes, np.array(ranks, np.int64))


def _read(walk: _Walk, eps2: float, most: int, radius: float) -> int:
    """How many lists are read."""
    nearest = float(walk.distances[0])
    bound = nearest + eps2 * max(nearest, radius)
    within = int(np.searchsorted(walk.distances, bound, side="right"))
    return max(1, min(within, most))


class _Reach(NamedTuple):
    """What a pair of limits gives: the share of neighbours that are met, at what cost."""

    eps2: float
    most: int
    covered: float
    cost: float


def _reaches(walks: list[_Walk], depth: int, radius: float, settings: Spann) -> list[_Reach]:
    """Every pair of a ladder."""
    m = len(walks[0].order)
    mosts = [settings.postings] if settings.postings else _ladder(m)
    ladder: tuple[float, ...] = _EPS2
    if settings.eps2 is not None:
        ladder, mosts = (settings.eps2,), [settings.postings or m]
    ranks = np.stack([walk.ranks[:depth] for walk in walks])
    numbers = np.arange(len(walks))
    codes = np.stack([walk.codes for walk in walks])
    found = []
    for eps2 in ladder:
        within = np.array([_read(walk, eps2, m, radius) for walk in walks])
        for most in mosts:
            reads = np.minimum(within, most)
            covered = float((ranks < reads[:, None]).mean()) if depth else 1.0
            cost = _LIST_US * reads.mean() + _CODE_US * codes[numbers, reads - 1].mean()
            found.append(_Reach(eps2, most, covered, float(cost)))
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


def _cheapest(
    queries: Float32Array,
    sample: Int64Array,
    true: Int64Array,
    lists: Lists,
    walks: list[_Walk],
    radius: float,
    settings: Spann,
) -> JsonObject:
    depth = true.shape[1]
    target = settings.target_recall + _MARGIN * (1.0 - settings.target_recall)
    reaches = _reaches(walks, depth, radius, settings)
    best: JsonObject = {}
    tried: set[tuple[float, int]] = set()
    for share in _SHARES:
        wanted = target + share * (1.0 - target)
        enough = [one for one in reaches if one.covered >= wanted]
        reach = (
            min(enough, key=lambda one: one.cost)
            if enough
            else max(reaches, key=lambda one: (one.covered, -one.cost))
        )
        if (reach.eps2, reach.most) in tried:
            continue
        tried.add((reach.eps2, reach.most))
        chosen = [walk.order[: _read(walk, reach.eps2, reach.most, radius)] for walk in walks]
        for slack in _SLACKS:
            found = _tried(queries, sample, true, lists, chosen, slack)
            found |= {"eps2": reach.eps2, "most": reach.most, "slack": slack}
            if not best or _better(found, best, target):
                best = found
            if found["recall"] >= target:
                break
    return best


def _better(one: JsonObject, other: JsonObject, target: float) -> bool:
    if (one["recall"] >= target) != (other["recall"] >= target):
        return bool(one["recall"] >= target)
    if one["recall"] < target:
        return bool(one["recall"] > other["recall"])
    return bool(_cost(one) < _cost(other))


def _cost(found: JsonObject) -> float:
    cost: float = _LIST_US * found["lists"] + _CODE_US * found["codes"]
    return cost + _VECTOR_US * float(found["vectors"])


def _tried(
    queries: Float32Array,
    sample: Int64Array,
    true: Int64Array,
    lists: Lists,
    chosen: list[NDArray[np.int32]],
    slack: float,
) -> JsonObject:
    """Recall and costs, means over samples."""
    k = true.shape[1] + 1  # the sample finds itself as well
    recalls, codes, kept = [], [], []
    for query, own, numbers, wanted in zip(queries, sample.tolist(), chosen, true, strict=True):
        found = survivors(lists, query, numbers, k, slack, most_survivors(k), _ANY)
        places = found.places[found.places != own]
        recalls.append(float(np.isin(wanted, places).mean()) if len(wanted) else 1.0)
        codes.append(found.codes)
        kept.append(len(places))
    return {
        "recall": round(float(np.mean(recalls)), 4),
        "lists": round(float(np.mean([len(numbers) for numbers in chosen])), 1),
        "codes": round(float(np.mean(codes)), 1),
        "vectors": round(float(np.mean(kept)), 1),
    }


def _neighbours(
    vectors: Float32Array, space: Space, queries: Float32Array, sample: Int64Array, depth: int
) -> Int64Array:
    """The nearest places of each sample but itself, (n_samples, depth), nearest first."""
    width = depth + 1
    places = np.zeros((len(queries), 0), np.int64)
    distances = np.zeros((len(queries), 0), np.float32)
    for first in range(0, len(vectors), BLOCK):
        points = space.of_vectors(vectors, slice(first, first + BLOCK))
        squares = np.einsum("nd,nd->n", points, points)
        ids, apart = closest(queries @ points.T, squares, width)
        places = np.concatenate([places, ids.astype(np.int64) + first], axis=1)
        distances = np.concatenate([distances, apart], axis=1)
        order = np.argsort(distances, axis=1, kind="stable")[:, :width]
        places = np.take_along_axis(places, order, axis=1)
        distances = np.take_along_axis(distances, order, axis=1)
    others = [row[row != own][:depth] for row, own in zip(places, sample, strict=True)]
    return np.array(others, np.int64).reshape(len(queries), depth)
