"""What pipelines are worth to fixed queries: by one measure, and in milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..retrieval.pipeline import Pipeline
from .asking import Searched
from .measures import evaluate
from .runner import latency_ms
from .tune_lists import FixedQueries
from .tuning import Float64Array

TIMED_QUERIES = 25


class Worth:
    """A measure of every query under a pipeline, of its k best hits; each pipeline is run once."""

    def __init__(
        self, lists: FixedQueries, measure: str, qrels: Mapping[str, Mapping[str, int]], k: int
    ) -> None:
        self._lists, self._measure, self._qrels, self._k = lists, measure, qrels, k
        self._known: dict[Pipeline, Float64Array] = {}

    def __call__(self, pipeline: Pipeline) -> Float64Array:
        """The value of each judged query, in the order of the qrels: (n_queries,)."""
        if pipeline not in self._known:
            run = self._lists.run(pipeline, self._k)
            found = evaluate([self._measure], self._qrels, run).per_query
            values = [value for own in found.values() for value in own.values()]
            self._known[pipeline] = np.array(values, np.float64)
        return self._known[pipeline]


class Latency:
    """The median milliseconds of one search with k = 10, asked one at a time.

    A pipeline's weights do not change how long it takes, so pipelines that differ in nothing else
    are measured once.
    """

    def __init__(
        self,
        collection: Searched,
        texts: Sequence[str],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._collection, self._texts, self.clock = collection, texts, clock
        self._known: dict[Pipeline, float] = {}

    def __call__(self, pipeline: Pipeline) -> float:
        """Milliseconds, encoding the query included."""
        shape = without_weights(pipeline)
        if shape not in self._known:
            taken = latency_ms(self._collection, self._texts, pipeline, self.clock, TIMED_QUERIES)
            self._known[shape] = taken["p50"]
        return self._known[shape]


def without_weights(pipeline: Pipeline) -> Pipeline:
    """The pipeline with the same weight for every list."""
    fuse: Any = pipeline.fuse
    if getattr(fuse, "weights", None):
        fuse = replace(fuse, weights=(1.0,) * len(pipeline.retrieve))
    return Pipeline(
        pipeline.retrieve,
        fuse,
        pipeline.feedback,
        pipeline.rerank,
        pipeline.reformulate,
        pipeline.depth,
    )
