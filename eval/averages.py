"""Means over several data sets, in which CQADupStack's twelve parts count as one, as in BEIR."""

from __future__ import annotations

from collections.abc import Sequence

from .datasets import IN_PARTS
from .result import EvalResult

ALL = "mean"
PARTS = 12


def averages(results: Sequence[EvalResult]) -> list[EvalResult]:
    """For each pipeline the mean of every measure over CQADupStack's parts, and over all sets.

    Fewer parts than twelve are called ``cqadupstack (2 of 12)`` and are, like a set that failed, in
    no mean over sets: what is called CQADupStack is the whole.

    Means of means: a data set counts as much as another, whatever its number of queries. They are
    taken where there are several to average, and of a measure that all of them have. They have no
    values per query, no times and no index.
    """
    found = []
    for pipeline in dict.fromkeys(result.pipeline for result in results):
        own = [result for result in results if result.pipeline == pipeline]
        parts = [result for result in own if result.dataset.startswith(f"{IN_PARTS}-")]
        complete = len(parts) == PARTS
        name = IN_PARTS if complete else f"{IN_PARTS} ({len(parts)} of {PARTS})"
        whole = [_mean(name, parts)] if len(parts) > 1 else []
        sets = [result for result in own if result not in parts] + (whole if complete else [])
        found += whole
        found += [_mean(f"{ALL} of {len(sets)}", sets)] if len(sets) > 1 else []
    return found


def _mean(name: str, results: Sequence[EvalResult]) -> EvalResult:
    shared = [
        measure
        for measure in results[0].measures
        if all(measure in result.measures for result in results)
    ]
    return EvalResult(
        dataset=name,
        pipeline=results[0].pipeline,
        measures={
            measure: sum(result.measures[measure] for result in results) / len(results)
            for measure in shared
        },
        per_query={},
        run={},
        latency_ms={},
        index_seconds=0.0,
        index_bytes=0,
        catalog_bytes=0,
        queries=sum(result.queries for result in results),
        judgements=sum(result.judgements for result in results),
        flags={},
    )
