"""How an order is made of questions. Each takes places and gives them in a new order.

What is not answered moves no passage ahead of one that the model was not asked to compare it with.
A place's number is its prior rank, in whatever order the places are shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from .asking import Asker

Order = Callable[[Sequence[int], int], list[int] | None]
"""(places, how many of the best are wanted) -> the places, best first; None: not answered."""


def full(asker: Asker, places: Sequence[int], top: int) -> list[int]:
    """All passages in one call (Liu et al., "Sliding Windows Are Not the End", ACL 2025).

    In whatever order they are shown: those not named keep their prior order.
    """
    prior = sorted(places)
    return asker.order(places, top, prior) or prior


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
            made[start:end] = order(made[start:end], end - start) or made[start:end]
        if start == 0:
            break
        end -= stride
    return made


def setwise(asker: Asker, places: Sequence[int], top: int, children: int) -> list[int]:
    """A heap whose parents are better than their children, the best taken out ``top`` times.

    Zhuang et al., "A Setwise Approach", SIGIR 2024: one call compares a parent with all its
    children. What was not taken out keeps its prior order; once a question is not answered, nobody
    knows whether the root is the best of what is left, and nothing more is taken out.
    """
    heap = list(places)

    def sink(parent: int) -> bool:
        """Let a passage sink to where it belongs; False: a question was not answered."""
        while True:
            first = parent * children + 1
            family = [parent, *range(first, min(first + children, len(heap)))]
            if len(family) == 1:
                return True
            best = asker.best([heap[node] for node in family])
            if best is None:
                return False
            winner = next(node for node in family if heap[node] == best)
            if winner == parent:
                return True
            heap[parent], heap[winner] = heap[winner], heap[parent]
            parent = winner

    taken: list[int] = []
    sound = all(sink(parent) for parent in range((len(heap) - 2) // children, -1, -1))
    while sound and heap:
        taken.append(heap[0])
        last = heap.pop()
        if not heap or len(taken) == top:
            break
        heap[0] = last
        sound = sink(0)
    return taken + sorted(set(places) - set(taken))


def tournament(asker: Asker, places: Sequence[int], size: int, rounds: int, seed: int) -> list[int]:
    """Groups send their better half on, until one group is left; points over ``rounds``.

    Chen et al., "TourRank", WWW 2025. The groups of a stage are asked concurrently. Groups are
    dealt like cards, so that the first stage's best do not meet at once; every round after the
    first deals another order. Equal points keep the prior order. A round of which a question is not
    answered gives no points: they would go to passages for how they were dealt.
    """
    points = dict.fromkeys(places, 0.0)
    random = np.random.default_rng(seed)
    for number in range(rounds):
        left = list(places)
        if number:
            left = [left[place] for place in random.permutation(len(left)).tolist()]
        for passage, won in _round(asker, left, size).items():
            points[passage] += won
    return sorted(places, key=lambda passage: (-points[passage], passage))


def _round(asker: Asker, left: list[int], size: int) -> dict[int, float]:
    """What each passage wins in a round; nothing where a question is not answered."""
    points = dict.fromkeys(left, 0.0)
    while len(left) > 1:
        groups = math.ceil(len(left) / size)
        dealt = [left[group::groups] for group in range(groups)]
        answers = asker.together(lambda own: asker.order(own, len(own), sorted(own)), dealt)
        ordered = [answer for answer in answers if answer is not None]
        if len(ordered) < groups:
            return {}
        if groups == 1:
            for place, passage in enumerate(ordered[0]):
                points[passage] += 1.0 - place / len(ordered[0])
            break
        chosen = {passage for group in ordered for passage in group[: math.ceil(len(group) / 2)]}
        for passage in chosen:
            points[passage] += 1.0
        left = [passage for passage in left if passage in chosen]
    return points
