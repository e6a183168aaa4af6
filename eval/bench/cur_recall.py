"""How much of a scorer's exact best is found, query by query, and whether one way is ahead.

Recall@k is the share of the first k places that hold a document of the exact k best; one that ties
with the k-th counts. Two ways at equal calls are compared over the same queries by the paired
randomisation test.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array
from ..significance import SIGNIFICANT, randomisation_test

DEPTHS = (1, 10, 100)

Shares = Mapping[int, NDArray[np.float64]]
"""Depth -> recall of each query, (n_queries,) float64."""


def exact_order(ids: Sequence[str], row: Float32Array, place_of: Mapping[str, int]) -> list[str]:
    """The ids by a query's exact scores, ties in the order they had."""
    scores = row[[place_of[name] for name in ids]]
    return [ids[place] for place in np.argsort(-scores, kind="stable")]


def shares(
    found: Sequence[Sequence[str]], truth: Sequence[Float32Array], place_of: Mapping[str, int]
) -> dict[int, NDArray[np.float64]]:
    """Recall of each query at every depth.

    ``found``: each query's ids, best first. ``truth``: its exact scores, (n_texts,) float32.
    ``place_of``: the text of each document of the collection.
    """
    made = {depth: np.zeros(len(found)) for depth in DEPTHS}
    for query, (ids, row) in enumerate(zip(found, truth, strict=True)):
        every = np.sort(row[list(place_of.values())])[::-1]
        for depth in DEPTHS:
            own = row[[place_of[name] for name in ids[:depth]]]
            kth = every[min(depth, len(every)) - 1]
            made[depth][query] = np.mean(own >= kth) if len(own) else 0.0
    return made


def means(made: Shares) -> dict[str, float]:
    """``{"recall@10": ...}``."""
    return {f"recall@{depth}": float(values.mean()) for depth, values in made.items()}


class Ahead(NamedTuple):
    """A method against the best of others at as many calls, at one depth.

    ``difference``: of the mean recalls; ``p``: two-sided, of the paired randomisation test, not
    corrected for other depths and budgets.
    """

    depth: int
    other: str
    difference: float
    p: float


def ahead(own: Shares, others: Mapping[str, Shares]) -> list[Ahead]:
    """The method against that of ``others`` whose mean recall is the highest, at every depth."""
    made = []
    for depth, values in own.items():
        best = max(others, key=lambda name: float(others[name][depth].mean()))
        differences = values - others[best][depth]
        p = randomisation_test(differences)
        made.append(Ahead(depth, best, float(differences.mean()), p))
    return made


def verdicts(compared: Mapping[str, Mapping[int, Sequence[Ahead]]]) -> list[str]:
    """A line for each method and depth: at how many budgets it is ahead or behind.

    ``compared``: method -> calls -> the comparisons.
    """
    lines = []
    for method, by_calls in compared.items():
        for depth in DEPTHS:
            found = [one for own in by_calls.values() for one in own if one.depth == depth]
            counts = []
            for word, side in (
                ("ahead", [one for one in found if one.difference > 0]),
                ("behind", [one for one in found if one.difference < 0]),
            ):
                sure = sum(one.p < SIGNIFICANT for one in side)
                counts.append(f"{word} at {len(side)} ({sure} with p < {SIGNIFICANT})")
            lines.append(
                f"{method}, recall@{depth} against the best rerank at {len(found)} budgets: "
                + ", ".join(counts)
            )
    return lines
