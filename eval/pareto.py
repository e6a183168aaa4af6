"""Which of several costs and values nothing beats."""

from __future__ import annotations

from collections.abc import Sequence


def pareto_front(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """The places of the points that no other beats, cheapest first.

    One point beats another when it costs no more and is worth no less, and is better in one of the
    two; of equal points the first stands for all.
    """
    front: list[int] = []
    for place in sorted(range(len(costs)), key=lambda place: (costs[place], -values[place], place)):
        if not front or values[place] > values[front[-1]]:
            front.append(place)
    return front
