"""The specification: slow, obvious, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Float32Array
from ..rabitq import reference as codes
from ..rabitq.layout import HEAD_BYTES, WORD
from .layout import Lists, Rule


def centroids_of(lists: Lists) -> NDArray[np.float64]:
    """(m, dim)."""
    points: NDArray[np.float64] = lists.centroids.astype(float)
    points *= lists.scales.astype(float)[:, None]
    return points


def distances(lists: Lists, query: Float32Array) -> NDArray[np.float64]:
    """The contract's, with the query as it is, not rounded."""
    apart: NDArray[np.float64] = np.sqrt(((centroids_of(lists) - query) ** 2).sum(axis=1))
    return apart


def choose(lists: Lists, query: Float32Array, rule: Rule, allowed: NDArray[np.int32]) -> list[int]:
    """The contract's, with the query as it is, not rounded."""
    apart = distances(lists, query)
    order = np.argsort(apart, kind="stable")
    nearest = apart[order[0]]
    bound = rule.bound(float(nearest))
    ruled = [i for i in order[: rule.most].tolist() if apart[i] <= bound or i == order[0]]
    wanted = max(int(lists.counts[ruled].sum()), rule.least)
    if not len(allowed) and lists.counts[ruled].sum() >= rule.least:
        return ruled
    holds = lists.counts if not len(allowed) else allowed
    chosen: list[int] = []
    for number in order.tolist():
        if holds[chosen].sum() < wanted and holds[number] > 0:
            chosen.append(number)
    return chosen


def survivors(
    lists: Lists,
    query: Float32Array,
    numbers: list[int],
    k: int,
    slack: float,
    most: int,
    mask: BoolArray,
    more: float = 0.0,
) -> list[int]:
    """The contract's places, with the query as it is, not rounded; ``more`` is added to the bar."""
    best: dict[int, tuple[float, float]] = {}
    dim = len(query)
    for number in numbers:
        count = int(lists.counts[number])
        size = count * (HEAD_BYTES + lists.bits * (dim // WORD) * 8)
        first = int(lists.slots[number])
        source = lists.kept
        if first < 0:
            first, source = int(lists.offsets[number]), lists.paged
        record = source[first : first + size]
        residual = (query - centroids_of(lists)[number]).astype(np.float32)
        squares, spreads = codes.estimate(record, count, lists.bits, residual)
        for place, square, spread in zip(
            record[: 4 * count].view(np.int32).tolist(), squares, spreads, strict=True
        ):
            low = square - slack * spread
            if not len(mask) or mask[place]:
                old = best.get(place, (np.inf, np.inf))
                best[place] = min(old[0], square), min(old[1], low)
    ordered = sorted(best, key=lambda place: best[place][0])
    bar = best[ordered[k - 1]][0] if len(ordered) >= k else np.inf
    return [place for place in ordered if best[place][1] <= bar + more][:most]
