"""What the pipelines of ``cormorant bench fusion`` find for a data set's queries, and are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from ...contracts import Int64Array
from ...documents import JsonObject
from ...indexers.dense.settings import DEFAULT_MODEL
from ...indexers.encoders.encoder import load_encoder
from ...retrieval.collection import Collection
from ...retrieval.pipeline import Pipeline
from ..datasets import Dataset
from ..result import EvalResult
from ..runner import scored
from ..significance import compare_all
from ..tuning import Float64Array, split

MEASURES = ("nDCG@10", "R@100")
DEPTH = 100
"""Of results, as R@100 needs it, and of the lists of a pipeline that is chosen by judgements, while
it is chosen and when it is measured: the scale of most norms depends on it."""
Result = tuple[Sequence[str], Sequence[float]]
Choice = tuple[Pipeline, str]
"""A pipeline, and a note on what was chosen in it."""


class Searched:
    """The queries of a data set, encoded once, and the collection that they search."""

    def __init__(self, collection: Collection, dataset: Dataset) -> None:
        self.dataset = dataset
        self.queries = list(dataset.queries)
        self._collection = collection
        self._texts = [dataset.queries[query] for query in self.queries]
        self._vectors = load_encoder(DEFAULT_MODEL).encode_query(self._texts).vectors
        self._values: dict[Pipeline, Float64Array] = {}

    def found(self, pipeline: Pipeline, k: int = DEPTH) -> dict[str, Result]:
        """By query, ids and scores of the k best."""
        dense = any(item.index == "dense" for item in pipeline.retrieve)
        given = self._vectors if dense else None
        found = self._collection.search_batch(self._texts, k, vectors=given, pipeline=pipeline)
        answers = [(result.ids, result.scores) for result in found]
        return dict(zip(self.queries, answers, strict=True))

    def values(self, pipeline: Pipeline) -> Float64Array:
        """nDCG@10 of each query: (n_queries,)."""
        if pipeline not in self._values:
            result = result_of(self.dataset, "", self.found(pipeline, 10))
            own = [result.per_query.get(query, {}) for query in self.queries]
            self._values[pipeline] = np.array([values.get("nDCG@10", 0.0) for values in own])
        return self._values[pipeline]

    def chosen(
        self, name: str, choose: Callable[[Int64Array], Choice], trained: Searched
    ) -> EvalResult:
        """What a pipeline is worth that training queries chose.

        ``choose``: (the numbers of the queries whose judgements it may see) -> its choice. Where
        there are no others than these, each half of them gets what the other half chose.
        """
        if trained is not self:
            pipeline, note = choose(np.arange(len(trained.queries)))
            return result_of(self.dataset, name, self.found(pipeline), note)
        everyone = np.arange(len(self.queries))
        found: dict[str, Result] = {}
        notes = []
        for part in split(len(everyone), 2, seed=0):
            pipeline, note = choose(np.setdiff1d(everyone, part))
            own = self.found(pipeline)
            found |= {self.queries[number]: own[self.queries[number]] for number in part.tolist()}
            notes.append(note)
        in_order = {query: found[query] for query in self.queries}
        return result_of(self.dataset, name, in_order, " | ".join(notes))


def result_of(
    dataset: Dataset, name: str, found: Mapping[str, Result], note: str = ""
) -> EvalResult:
    """What a run is worth; it has no times. A note is kept among its flags."""
    run = {
        query: [(document, float(score)) for document, score in zip(ids, scores, strict=True)]
        for query, (ids, scores) in found.items()
    }
    value = scored(dataset, name, run, MEASURES)
    return replace(value, flags={note: value.queries} if note else {})


def rows_of(results: Sequence[EvalResult]) -> list[JsonObject]:
    """One row a pipeline, best first, each compared with ``hybrid``."""
    against = compare_all(results, "hybrid")
    rows = []
    for result in sorted(results, key=lambda result: -result.measures["nDCG@10"]):
        row: JsonObject = {"system": result.pipeline, "setting": result.dataset}
        comparisons = against.of(result)
        for measure in MEASURES:
            row[measure] = result.measures[measure]
            if measure in comparisons:
                row[f"{measure} vs hybrid"] = comparisons[measure].difference
                row[f"{measure} p"] = comparisons[measure].p_holm
        if result.flags:
            row["note"] = next(iter(result.flags))
        rows.append(row)
    return rows
