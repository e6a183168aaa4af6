"""What the report shows of one data set, looked at while its collection is there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ...documents import JsonObject
from ..datasets import Dataset
from ..result import EvalResult
from ..runner import LATENCY_K
from .contrasts import Contrast, find_contrasts

STAGE_QUERIES = 20


@dataclass(frozen=True, slots=True)
class Section:
    """One data set.

    ``stages_ms``: pipeline -> stage -> mean milliseconds of a single search; empty where runs were
    read from files.
    ``contrasts``: pipeline -> the queries where it differs most from the baseline.
    """

    dataset: Dataset
    results: list[EvalResult]
    stages_ms: dict[str, dict[str, float]]
    contrasts: dict[str, list[Contrast]]


def section_of(
    dataset: Dataset,
    results: Sequence[EvalResult],
    measure: str,
    baseline: str,
    collection: Any,
    pipelines: Mapping[str, Any],
    k: int,
) -> Section:
    """Look at the results of a data set; with its collection also at stages and reasons.

    ``collection``: a :class:`~cormorant.Collection`, or None where runs were read from files;
    ``pipelines``: name -> the :class:`~cormorant.Pipeline` that was measured; ``k``: the depth of
    its searches, of which scores that are scaled within a list depend.
    """
    plans = {} if collection is None else dict(pipelines)
    texts = list(dataset.queries.values())

    @cache  # the baseline is asked the same query beside several others
    def explain(pipeline: str, query: str) -> dict[str, JsonObject | None]:
        if collection is None:
            return {}
        hits = collection.search(query, k=k, pipeline=plans[pipeline], explain=True)
        return {hit.id: hit.explanation for hit in hits}

    base = next(result for result in results if result.pipeline == baseline)
    pairs = [(base, other) for other in results if other is not base]
    found = find_contrasts(dataset, pairs, measure, explain)
    return Section(
        dataset=dataset,
        results=list(results),
        stages_ms={name: _stages(collection, texts, plan) for name, plan in plans.items()},
        contrasts={other.pipeline: own for (_, other), own in zip(pairs, found, strict=True)},
    )


def _stages(collection: Any, texts: Sequence[str], pipeline: Any) -> dict[str, float]:
    """Mean milliseconds of each part, over single searches spread over the queries."""
    chosen = min(len(texts), STAGE_QUERIES)
    totals: dict[str, float] = {}
    for place in range(chosen):
        text = texts[place * len(texts) // chosen]
        found = collection.search(text, k=LATENCY_K, pipeline=pipeline)
        for part, taken_ms in found.timings_ms.items():
            totals[part] = totals.get(part, 0.0) + taken_ms
    return {part: total / chosen for part, total in totals.items()}
