"""Weights of every fusion from judgements: lists that are fused again and again, retrieved once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from ...contracts import EVERYTHING, Int64Array
from ...documents import Chunk
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...rankers.by_rank import ISR, Borda
from ...rankers.comb import CombMNZ, CombSUM
from ...rankers.convex import Convex
from ...rankers.norms import NORMS
from ...rankers.rrf import RRF
from ...ranking import Ranking
from ...retrieval.pipeline import Pipeline
from ...retrieval.segments import MemorySink
from ...stages import Fusion, RankedList
from ..datasets import Dataset
from ..result import EvalResult
from ..tuning import (
    Float64Array,
    Search,
    Weights,
    coordinate_ascent,
    fit_adaptive,
    grid,
    ndcg,
    shares_of,
)
from .fusion_results import DEPTH, Choice, Searched

BOTH = ("bm25", "dense")
GRID_STEPS = 20
GRID = grid(shares_of(2, GRID_STEPS))
ASCENT = coordinate_ascent((0.5, 0.5))


class FirstStage:
    """Both lists of some queries, retrieved once, with true scores for whoever asks."""

    def __init__(self, dataset: Dataset) -> None:
        documents = [(d.id, d.title, d.text) for d in dataset.documents()]
        places = {name: row for row, (name, _, _) in enumerate(documents)}
        self.gains = [
            {places[d]: float(grade) for d, grade in dataset.qrels[query].items() if d in places}
            for query in dataset.queries
        ]
        texts = list(dataset.queries.values())
        self._parts: dict[str, tuple[Any, Any, Any]] = {}
        self._values: dict[Fusion, Float64Array] = {}
        self._asked: dict[str, tuple[Int64Array, Any]] = {}
        self.lists = []
        for name, settings in (("bm25", BM25()), ("dense", Dense())):
            index: Any = settings.index()
            chunks = [Chunk(row, row, *document) for row, document in enumerate(documents)]
            asked: Any = texts
            if name == "dense":
                encoded = index.encode(chunks).data
                chunks = [c._replace(encoding=e) for c, e in zip(chunks, encoded, strict=True)]
                asked = index.encode_queries(texts).vectors
            sink = MemorySink()
            segment = index.open(sink.arrays, index.build(chunks, sink))
            found = index.search([segment], asked, DEPTH, EVERYTHING)
            self._parts[name] = index, [segment], asked
            self.lists.append(RankedList(name, name, found, index.lowest_score))

    def values(self, fusion: Fusion) -> Float64Array:
        """nDCG@10 of each query: (n_queries,)."""
        if fusion not in self._values:
            self._values[fusion] = ndcg(fusion.fuse(self.lists, self._score, 10), self.gains)
        return self._values[fusion]

    def of_some(self, queries: Int64Array) -> list[RankedList]:
        """Both lists of some of the queries."""
        found = []
        for item in self.lists:
            ranking = Ranking(item.ranking.rows[queries], item.ranking.scores[queries])
            found.append(RankedList(item.index, item.kind, ranking, item.lowest_score))
        return found

    def _score(self, name: str, rows: Int64Array) -> Any:
        known = self._asked.get(name)
        if known is None or not np.array_equal(known[0], rows):
            index, segments, asked = self._parts[name]
            known = rows, index.score(segments, asked, rows, EVERYTHING)
            self._asked[name] = known
        return known[1]


def tuned_weights(asked: Searched, trained: Searched) -> list[EvalResult]:
    """Every fusion with its best weights; convex ones by coordinate ascent, too."""
    stage = FirstStage(trained.dataset)
    results = []
    for norm in NORMS:
        for how, search in (("grid", GRID), ("ascent", ASCENT)):
            name = f"tuned.convex.{norm}.{how}"
            results.append(_tuned(asked, trained, stage, name, Convex(norm=norm), search))
    others = (RRF(), ISR(), Borda(), CombSUM(), CombMNZ())
    results += [
        _tuned(asked, trained, stage, f"tuned.{fusion.kind}.grid", fusion, GRID)
        for fusion in others
    ]
    return [*results, _adaptive(asked, trained, stage)]


def _tuned(
    asked: Searched, trained: Searched, stage: FirstStage, name: str, fusion: Any, search: Search
) -> EvalResult:
    def choose(seen: Int64Array) -> Choice:
        def worth(weights: Weights) -> float:
            return float(stage.values(dataclasses.replace(fusion, weights=weights))[seen].mean())

        weights = search(worth)
        shares = "/".join(f"{weight / sum(weights):.2f}" for weight in weights)
        pipeline = Pipeline(BOTH, dataclasses.replace(fusion, weights=weights), depth=DEPTH)
        return pipeline, f"{shares}; training {worth(weights):.4f}"

    return asked.chosen(name, choose, trained)


def _adaptive(asked: Searched, trained: Searched, stage: FirstStage) -> EvalResult:
    shares = [n / GRID_STEPS for n in range(GRID_STEPS + 1)]
    table = np.stack([stage.values(Convex((1 - share, share))) for share in shares])

    def choose(seen: Int64Array) -> Choice:
        worth = table[:, seen]
        fusion, predicted = fit_adaptive(stage.of_some(seen), shares, worth)
        nearest = np.abs(np.array(shares)[:, None] - predicted[None]).argmin(axis=0)
        reached = worth[nearest, np.arange(len(predicted))].mean()
        one, each = worth.mean(axis=1).max(), worth.max(axis=0).mean()
        note = f"other folds {reached:.4f}, one for all {one:.4f}, best of each {each:.4f}"
        return Pipeline(BOTH, fusion, depth=DEPTH), note

    return asked.chosen("adaptive", choose, trained)
