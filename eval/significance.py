"""Whether a pipeline is better than the baseline, or these queries were kind to it.

The paired randomisation test of Smucker, Allan and Carterette, "A Comparison of Statistical
Significance Tests for Information Retrieval Evaluation" (CIKM 2007): if the two are
alike, a query's two values might as well have been swapped, which changes the sign of their
difference. p is the share of all 2^n ways of swapping whose mean difference is at least as far from
zero as the one seen. p values of several comparisons are corrected with Holm's step-down procedure
("A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6,
1979).

A sign-flipped sum is a sum of groups of 16 differences; all 65,536 flipped sums of a group are made
once by doubling, and a random one of them is 16 fair coins. Up to 16 differences are one group,
which is gone through whole: that p is exact.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..documents import JsonObject
from ..errors import InputError, UnknownNameError
from .result import EvalResult

SIGNIFICANT = 0.05
TIE = 1e-9
SEED = 2007
ROUNDS = 100_000

_GROUP = 16
_BLOCK = 1 << 18  # rounds at a time: 2 MiB of sums
# Equal sums, added in another order, differ in their last bits: by less than n * 2^-53 of the sum
# of sizes, 1e-12 for 10,000 queries. Without the allowance some of the swaps that are as extreme as
# what was seen would not be counted, and p would be too small.
_ROUNDING = 1e-11

_Float64Array: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pipeline against the baseline: one measure on one data set.

    ``difference``: the mean over queries of the pipeline's value minus the baseline's. ``wins``,
    ``losses`` and ``ties``: how many queries have a higher, a lower and the same value (within
    1e-9). ``p``: two-sided; ``p_holm``: corrected for its family, which :func:`compare` takes to be
    this comparison alone and :func:`compare_all` to be all those of the data set.
    """

    dataset: str
    pipeline: str
    baseline: str
    measure: str
    difference: float
    wins: int
    losses: int
    ties: int
    p: float
    p_holm: float

    @property
    def mark(self) -> str:
        """``+`` or ``-``: above or below the baseline with ``p_holm`` under 0.05; else empty."""
        if self.p_holm >= SIGNIFICANT:
            return ""
        return "+" if self.difference > 0 else "-"

    def as_json(self) -> JsonObject:
        """What ``eval --json`` writes for one measure."""
        names = ("difference", "wins", "losses", "ties", "p", "p_holm")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Against:
    """All comparisons of a run with its baseline, in the order of results and measures."""

    baseline: str
    comparisons: tuple[Comparison, ...]

    def of(self, result: EvalResult) -> dict[str, Comparison]:
        """Measure -> comparison of one result; empty for the baseline's own."""
        place = (result.dataset, result.pipeline)
        return {
            comparison.measure: comparison
            for comparison in self.comparisons
            if (comparison.dataset, comparison.pipeline) == place
        }

    def as_json(self, result: EvalResult) -> JsonObject:
        """``{"baseline": ..., "measures": {"nDCG@10": {"difference": ..., ...}}}``."""
        measures = {name: comparison.as_json() for name, comparison in self.of(result).items()}
        return {"baseline": self.baseline, "measures": measures}


def randomisation_test(
    differences: Sequence[float] | _Float64Array, *, rounds: int = ROUNDS, seed: int = SEED
) -> float:
    """Two-sided p of the paired randomisation test on the mean of ``differences``: (n_queries,).

    With up to 16 differences other than zero (a zero has no sign to flip) all ways of swapping are
    counted and p is exact. With more, ``rounds`` random ones are, and p is (count + 1) / (rounds +
    1), since what was seen is itself one of the ways. p depends on the seed and the differences
    only: not on their order, and not on which of the two was called the baseline. All zeros, and a
    single query, give 1.

    Raises :class:`~cormorant.errors.InputError`: no difference, one that is not finite, another
    shape, ``rounds`` below 1.
    """
    seen = np.asarray(differences, dtype=np.float64)
    if seen.ndim != 1 or seen.size == 0 or not np.isfinite(seen).all():
        raise InputError(f"expected finite differences, shape (n_queries,), got {differences!r}")
    if rounds < 1:
        raise InputError(f"rounds is at least 1, got {rounds}", field="rounds")
    sizes = np.sort(np.abs(seen[seen != 0.0]))
    extreme = abs(math.fsum(seen)) - _ROUNDING * math.fsum(sizes)
    if sizes.size <= _GROUP:
        return float(np.mean(np.abs(_flipped_sums(sizes)) >= extreme))
    random = np.random.default_rng(seed)
    count = 0
    for start in range(0, rounds, _BLOCK):
        sums = np.zeros(min(_BLOCK, rounds - start))
        for first in range(0, sizes.size, _GROUP):
            flipped = _flipped_sums(sizes[first : first + _GROUP])
            sums += flipped[random.integers(flipped.size, size=sums.size)]
        count += int(np.count_nonzero(np.abs(sums) >= extreme))
    return (count + 1) / (rounds + 1)


def _flipped_sums(sizes: _Float64Array) -> _Float64Array:
    """The sums under all ways of giving signs: (2^n,) for (n,)."""
    sums = np.zeros(1)
    for size in sizes:
        sums = np.concatenate([sums + size, sums - size])
    return sums


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p values of one family, in the order given.

    The i-th smallest of m is multiplied by m - i + 1, made no smaller than those before it, and cut
    at 1. Those under 0.05 may be rejected together: the chance of any false rejection among them is
    at most 0.05, however they depend on each other.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    smallest_first = sorted(range(len(p_values)), key=lambda place: p_values[place])
    for rank, place in enumerate(smallest_first):
        largest = min(1.0, max(largest, (len(p_values) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted


def compare(baseline: EvalResult, other: EvalResult, measure: str) -> Comparison:
    """Compare two results on the queries they share; those must be all of both.

    Differences within 1e-9 are ties, and zero to the test: two engines' last bits are no win.

    Raises :class:`~cormorant.errors.InputError`: another data set, other queries, or a measure that
    one of them lacks.
    """
    names = f"{baseline.pipeline!r} and {other.pipeline!r}"
    if baseline.dataset != other.dataset:
        where = f"{baseline.dataset!r} and {other.dataset!r}"
        raise InputError(f"{names} were measured on different data sets: {where}")
    unshared = baseline.per_query.keys() ^ other.per_query.keys()
    if unshared:
        example = f"{len(unshared)} are in one only, such as {min(unshared)!r}"
        raise InputError(f"{names} were measured on different queries: {example}")
    try:
        pairs = [
            (values[measure], other.per_query[query][measure])
            for query, values in baseline.per_query.items()
        ]
    except KeyError:
        raise InputError(f"{names} were not both measured with {measure}") from None
    differences = np.array([value - base for base, value in pairs])
    differences[np.abs(differences) <= TIE] = 0.0
    p = randomisation_test(differences)
    wins, losses = int(np.sum(differences > 0.0)), int(np.sum(differences < 0.0))
    return Comparison(
        dataset=other.dataset,
        pipeline=other.pipeline,
        baseline=baseline.pipeline,
        measure=measure,
        difference=math.fsum(differences) / differences.size,
        wins=wins,
        losses=losses,
        ties=differences.size - wins - losses,
        p=p,
        p_holm=p,
    )


def compare_all(results: Sequence[EvalResult], baseline: str) -> Against:
    """Compare every other pipeline with the baseline, on every measure, data set by data set.

    Holm's family is one data set: all its comparisons in this run, other pipelines times measures.
    Asking for another measure or pipeline therefore raises ``p_holm``; another data set does not.

    Raises as :func:`check_baseline` and :func:`compare` do.
    """
    found: list[Comparison] = []
    for dataset in dict.fromkeys(result.dataset for result in results):
        here = [result for result in results if result.dataset == dataset]
        check_baseline(baseline, [result.pipeline for result in here])
        base = next(result for result in here if result.pipeline == baseline)
        family = [
            compare(base, other, measure)
            for other in here
            if other is not base
            for measure in other.measures
        ]
        adjusted = holm([comparison.p for comparison in family])
        found += [replace(one, p_holm=p) for one, p in zip(family, adjusted, strict=True)]
    return Against(baseline, tuple(found))


def check_baseline(baseline: str, pipelines: Sequence[str]) -> None:
    """Raise :class:`~cormorant.errors.InputError` unless the name is that of one pipeline.

    Names given twice (runs of one file name in two folders) are refused: a comparison would not say
    which of the two it is of.
    """
    if baseline not in pipelines:
        known = ", ".join(map(repr, pipelines))
        raise UnknownNameError(
            f"there is no pipeline {baseline!r}; one of {known}", field="baseline"
        )
    twice = next((name for name in pipelines if pipelines.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two pipelines are called {twice!r}", field="baseline")
