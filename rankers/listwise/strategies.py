"""How an order is made of questions. Each takes places in their prior order and gives a new one."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .asking import Asker

Order = Callable[[Sequence[int], int], list[int]]
"""(places, how many of the best are wanted) -> the places, best first."""


def full(asker: Asker, places: Sequence[int], top: int) -> list[int]:
    """All passages in one call (Liu et al., "Sliding Windows Are Not the End", ACL 2025).

    In whatever order they are shown: those not named keep their prior order.
    """
    return asker.order(places, top, sorted(places))


def windows(order: Order, places: Sequence[int], size: int, stride: int) -> list[int]:
    """A window slides from the last passage to the first, and what is good is carried up.

    Sun et al., "Is ChatGPT Good at Search?", EMNLP 2023. Only about the first ``size - stride``
    places are settled by one pass.
    """
    made = list(places)
    end = len(made)
    while end > 0:
        start = max(0, end - size)
        if end - start > 1:
            made[start:end] = order(made[start:end], end - start)
        if start == 0:
            break
        end -= stride
    return made


def setwise(asker: Asker, places: Sequence[int], top: int, children: int) -> list[int]:
    """A heap whose parents are better than their children, the best taken out ``top`` times.

    Zhuang et al., "A Setwise Approach", SIGIR 2024: one call compares a parent with all its
    children. What was not taken out keeps its prior order.
    """
    heap = list(places)

    def sink(parent: int, size: int) -> None:
        while True:
            first = parent * children + 1
            family = [parent, *range(first, min(first + children, size))]
            if len(family) == 1:
                return
            best = asker.best([heap[node] for node in family])
            winner = next(node for node in family if heap[node] == best)
            if winner == parent:
                return
            heap[parent], heap[winner] = heap[winner], heap[parent]
            parent = winner

    for parent in range((len(heap) - 2) // children, -1, -1):
        sink(parent, len(heap))
    taken: list[int] = []
    size = len(heap)
    while size and len(taken) < min(top, len(places)):
        taken.append(heap[0])
        size -= 1
        heap[0] = heap[size]
        heap.pop()
        if size > 1:
            sink(0, size)
    chosen = set(taken)
    return taken + [place for place in places if place not in chosen]


def tournament(asker: Asker, places: Sequence[int], size: int, rounds: int, seed: int) -> list[int]:
    """Groups send their better half on, until one group is left; points over ``rounds``.

    Chen et al., "TourRank", WWW 2025. The groups of a stage are asked concurrently. Groups are
    dealt like cards, so that the first stage's best do not meet at once; every round after the
    first deals another order. Equal points keep the prior order.
    """
    points = dict.fromkeys(places, 0.0)
    random = np.random.default_rng(seed)
    for number in range(rounds):
        left = list(places)
        if number:
            left = [left[place] for place in random.permutation(len(left)).tolist()]
        while len(left) > 1:
            groups = math.ceil(len(left) / size)
            dealt = [left[group::groups] for group in range(groups)]
            ordered = asker.together(lambda group: asker.order(group, len(group)), dealt)
            if groups == 1:
                for place, passage in enumerate(ordered[0]):
                    points[passage] += 1.0 - place / len(ordered[0])
                break
            winners = [group[: math.ceil(len(group) / 2)] for group in ordered]
            for group in winners:
                for passage in group:
                    points[passage] += 1.0
            chosen = {passage for group in winners for passage in group}
            left = [passage for passage in left if passage in chosen]
    prior = {passage: place for place, passage in enumerate(places)}
    return sorted(places, key=lambda passage: (-points[passage], prior[passage]))
