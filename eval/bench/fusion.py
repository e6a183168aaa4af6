"""``cormorant bench fusion``: fusions and feedback on four test collections, with significance.

For each of nfcorpus, cranfield, cisi and vaswani one collection is built (BM25 and MiniLM vectors),
its queries are encoded once, and every pipeline searches it. Weights are found on nfcorpus'
training queries, where lists are fused again and again but retrieved once. The others have no
training queries: there each half of the queries is fused with what the other half taught.

Every value stands beside ``hybrid`` (BM25 and dense under convex fusion with its default weights):
difference, and p of the paired randomisation test, Holm over all pipelines of a data set and both
measures. Ratios: ``hybrid``, and the best pipeline that no judgement of the data set went into
(chosen by what it reached, so it flatters), by what was asked.

With ``--corpus`` the folders are looked for there. ``$CORMORANT_BENCH`` names a folder to keep the
collections in, ``$CORMORANT_ENCODING_CACHE`` one for vectors: documents are then encoded once.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import EVERYTHING, Int64Array
from ...documents import Chunk, JsonObject
from ...errors import CollectionError
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import DEFAULT_MODEL, Dense
from ...indexers.encoders.encoder import load_encoder
from ...rankers.by_rank import ISR, Borda
from ...rankers.comb import CombMNZ, CombSUM
from ...rankers.convex import Convex
from ...rankers.norms import MISSING, NORMS
from ...rankers.rrf import RRF
from ...rankers.term_feedback import RM3, Rocchio
from ...rankers.vector_feedback import METHODS, VectorPRF
from ...ranking import Ranking
from ...retrieval.collection import Collection
from ...retrieval.pipeline import Pipeline
from ...retrieval.segments import MemorySink
from ...stages import Fusion, RankedList
from ..datasets import Dataset, load_dataset
from ..measures import evaluate
from ..result import EvalResult
from ..significance import compare_all
from ..tuning import (
    Float64Array,
    Search,
    Weights,
    coordinate_ascent,
    fit_adaptive,
    grid,
    ndcg,
    shares_of,
    split,
    tune,
)
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

ASKED = {"nfcorpus": 0.356, "cranfield": 0.562, "cisi": 0.460, "vaswani": 0.492}
MEASURES = ("nDCG@10", "R@100")
TUNING_DEPTH = 100
"""Of lists that are fused again and again; under tmm the depth changes no score."""
GRID_STEPS = 20
SUPERVISED = ("tuned", "adaptive")
"""How pipelines begin whose weights saw judgements."""
Result = tuple[Sequence[str], Sequence[float]]


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and no peers: every other fusion is the peer."""
    home = corpus or shared_data()
    if home is None:
        raise CollectionError("bench fusion needs the test collections; name them with --corpus")
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    with ExitStack() as stack:
        kept = os.environ.get("CORMORANT_BENCH")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        for name, asked in ASKED.items():
            results = measured(load_dataset(home / name), folder, home / name)
            new = rows_of(results)
            show(new, {}, console)
            rows += new
            unsupervised = [r for r in results if not r.pipeline.startswith(SUPERVISED)]
            best = max(unsupervised, key=lambda result: result.measures["nDCG@10"])
            ratios[f"{name}_{best.pipeline}_vs_asked"] = best.measures["nDCG@10"] / asked
            hybrid = next(r for r in results if r.pipeline == "hybrid")
            ratios[f"{name}_hybrid_vs_asked"] = hybrid.measures["nDCG@10"] / asked
    return rows, ratios, {}


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


# -- pipelines over a collection ------------------------------------------------------------


def pipelines() -> dict[str, Pipeline]:
    """Every fusion, and every feedback alone and with interpolation before, after and both."""
    both = ["bm25", "dense"]
    found = {
        "bm25": Pipeline("bm25"),
        "dense": Pipeline("dense"),
        "hybrid": Pipeline(both, Convex()),
        "bm25+rm3": Pipeline("bm25", feedback=RM3()),
        "bm25+rocchio": Pipeline("bm25", feedback=Rocchio()),
    }
    fusions: list[Fusion] = [RRF(), ISR(), Borda(), CombSUM(), CombMNZ()]
    found |= {str(getattr(fusion, "kind", "")): Pipeline(both, fusion) for fusion in fusions}
    for norm in NORMS:
        for missing in MISSING:
            found[f"convex.{norm}.{missing}"] = Pipeline(both, Convex((0.5, 0.5), norm, missing))
    for method in METHODS:
        found[f"dense+prf.{method}"] = Pipeline("dense", feedback=VectorPRF(method=method))
    for where in ("before", "after", "both"):
        vectors, terms = VectorPRF(interpolate=where), RM3(interpolate=where)
        found[f"hybrid+prf.{where}"] = Pipeline(both, Convex(), vectors)
        found[f"hybrid+rm3.{where}"] = Pipeline(both, Convex(), terms)
        if where != "before":
            found[f"hybrid+prf+rm3.{where}"] = Pipeline(both, Convex(), [vectors, terms])
    return found


def measured(dataset: Dataset, folder: Path, source: Path) -> list[EvalResult]:
    """Every pipeline on one data set."""
    queries = list(dataset.queries)
    texts = [dataset.queries[query] for query in queries]
    vectors = load_encoder(DEFAULT_MODEL).encode_query(texts).vectors
    path = folder / f"fusion-{dataset.name}.cm"
    if not path.exists():
        with Collection.create(path, {"bm25": BM25(), "dense": Dense()}) as made:
            made.add(dataset.documents())
    results = []
    with Collection.open(path, read_only=True) as collection:
        for name, pipeline in pipelines().items():
            dense = any(item.index == "dense" for item in pipeline.retrieve)
            given = vectors if dense else None
            found = collection.search_batch(texts, 100, vectors=given, pipeline=pipeline)
            answers = [(result.ids, result.scores) for result in found]
            results.append(result_of(dataset, name, dict(zip(queries, answers, strict=True))))
    return results + tuned_results(dataset, source)


def result_of(
    dataset: Dataset, name: str, found: Mapping[str, Result], note: str = ""
) -> EvalResult:
    """What a run is worth; it has no times. A note is kept among its flags."""
    run = {
        query: [(document, float(score)) for document, score in zip(ids, scores, strict=True)]
        for query, (ids, scores) in found.items()
    }
    value = evaluate(MEASURES, dataset.qrels, run)
    n_queries = len(value.per_query)
    return EvalResult(
        dataset=dataset.name,
        pipeline=name,
        measures=value.means,
        per_query=value.per_query,
        run=run,
        latency_ms={},
        index_seconds=0.0,
        index_bytes=0,
        catalog_bytes=0,
        queries=n_queries,
        flags={note: n_queries} if note else {},
    )


# -- weights from judgements ----------------------------------------------------------------


class FirstStage:
    """Both lists of some queries, retrieved once, with true scores for whoever asks."""

    def __init__(self, dataset: Dataset, documents: Sequence[tuple[str, str, str]]) -> None:
        self.ids = [name for name, _, _ in documents]
        places = {name: row for row, name in enumerate(self.ids)}
        self.queries = list(dataset.queries)
        self.gains = [
            {places[d]: float(grade) for d, grade in dataset.qrels[query].items() if d in places}
            for query in self.queries
        ]
        texts = [dataset.queries[query] for query in self.queries]
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
            found = index.search([segment], asked, TUNING_DEPTH, EVERYTHING)
            self._parts[name] = index, [segment], asked
            self.lists.append(RankedList(name, name, found, index.lowest_score))

    def fused(self, fusion: Fusion, k: int) -> Ranking:
        """The k best rows of each query."""

        def score(name: str, rows: Int64Array) -> Any:
            known = self._asked.get(name)
            if known is None or not np.array_equal(known[0], rows):
                index, segments, asked = self._parts[name]
                known = rows, index.score(segments, asked, rows, EVERYTHING)
                self._asked[name] = known
            return known[1]

        return fusion.fuse(self.lists, score, k)

    def values(self, fusion: Fusion) -> Float64Array:
        """nDCG@10 of each query."""
        if fusion not in self._values:
            self._values[fusion] = ndcg(self.fused(fusion, 10), self.gains)
        return self._values[fusion]

    def as_results(self, ranking: Ranking) -> dict[str, Result]:
        """By query, ids and scores."""
        found: dict[str, Result] = {}
        for number, query in enumerate(self.queries):
            there = ranking.rows[number] >= 0
            ids = [self.ids[row] for row in ranking.rows[number][there].tolist()]
            found[query] = ids, ranking.scores[number][there].tolist()
        return found


def tuned_results(dataset: Dataset, source: Path) -> list[EvalResult]:
    """Weights from training queries; where there are none, from the other half of the queries."""
    documents = [(d.id, d.title, d.text) for d in dataset.documents()]
    asked = FirstStage(dataset, documents)
    trained = asked
    if (source / "qrels" / "train.tsv").is_file():
        trained = FirstStage(load_dataset(source, split="train"), documents)
    searches = {
        "grid": grid(shares_of(2, GRID_STEPS)),
        "ascent": coordinate_ascent((0.5, 0.5)),
    }
    results = [
        _tuned(dataset, asked, trained, f"tuned.{norm}.{how}", norm, search)
        for norm in NORMS
        for how, search in searches.items()
    ]
    return [*results, _adaptive(dataset, asked, trained)]


def _tuned(
    dataset: Dataset,
    asked: FirstStage,
    trained: FirstStage,
    name: str,
    norm: str,
    search: Search,
) -> EvalResult:
    """With the best weights on training queries, or on those of the other half."""

    def values(weights: Weights) -> Float64Array:
        return trained.values(Convex(weights, norm))

    if trained is asked:

        def fitted(seen: Int64Array) -> Fusion:
            return Convex(search(lambda weights: float(values(weights)[seen].mean())), norm)

        return _held_out(dataset, asked, name, fitted)
    tuned = tune(values, search, len(trained.queries))
    shares = "/".join(f"{weight / sum(tuned.weights):.2f}" for weight in tuned.weights)
    note = f"{shares}; train {tuned.value:.4f}, its other half {tuned.held_out.mean():.4f}"
    fused = asked.fused(Convex(tuned.weights, norm), 100)
    return result_of(dataset, name, asked.as_results(fused), note)


def _adaptive(dataset: Dataset, asked: FirstStage, trained: FirstStage) -> EvalResult:
    shares = [n / GRID_STEPS for n in range(GRID_STEPS + 1)]
    worth = np.stack([trained.values(Convex((1 - share, share))) for share in shares])
    if trained is asked:

        def fitted(seen: Int64Array) -> Fusion:
            lists = [_some(item, seen) for item in asked.lists]
            return fit_adaptive(lists, shares, worth[:, seen])[0]

        return _held_out(dataset, asked, "adaptive", fitted)
    fusion, predicted = fit_adaptive(trained.lists, shares, worth)
    nearest = np.abs(np.array(shares)[:, None] - predicted[None]).argmin(axis=0)
    reached = worth[nearest, np.arange(len(predicted))].mean()
    one, each = worth.mean(axis=1).max(), worth.max(axis=0).mean()
    note = f"train: other folds {reached:.4f}, one for all {one:.4f}, best of each {each:.4f}; "
    note += str([round(value, 4) for value in fusion.coefficients])
    return result_of(dataset, "adaptive", asked.as_results(asked.fused(fusion, 100)), note)


def _some(item: RankedList, queries: Int64Array) -> RankedList:
    ranking = Ranking(item.ranking.rows[queries], item.ranking.scores[queries])
    return RankedList(item.index, item.kind, ranking, item.lowest_score)


def _held_out(
    dataset: Dataset, stage: FirstStage, name: str, fit: Callable[[Int64Array], Fusion]
) -> EvalResult:
    """Each half of the queries under what the other half taught."""
    everyone = np.arange(len(stage.queries))
    found: dict[str, Result] = {}
    for part in split(len(everyone), 2, seed=0):
        fused = stage.as_results(stage.fused(fit(np.setdiff1d(everyone, part)), 100))
        found |= {stage.queries[number]: fused[stage.queries[number]] for number in part.tolist()}
    return result_of(dataset, name, {query: found[query] for query in stage.queries})
