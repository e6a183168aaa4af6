"""Any number of shards answers as one collection of the same documents does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_sparse import make_sparse_model

import cormorant as cm
from cormorant.retrieval.cluster.executor import Executor
from cormorant.vectors import TokenVectors

N_DOCUMENTS = 400
N_QUERIES = 40
DIM = 16


class Real:
    """Real texts, with made-up vectors for the indexes that take them."""

    def __init__(self, data: Path) -> None:
        with (data / "corpus.jsonl").open() as lines:
            records = [json.loads(line) for _, line in zip(range(N_DOCUMENTS), lines, strict=False)]
        with (data / "queries.jsonl").open() as lines:
            queries = [json.loads(line) for _, line in zip(range(N_QUERIES), lines, strict=False)]
        self.documents = [
            cm.Document(
                id=record["_id"],
                title=record.get("title", ""),
                text=record["text"],
                metadata={"year": 1990 + number % 10},
                labels=["odd" if number % 2 else "even"],
            )
            for number, record in enumerate(records)
        ]
        self.queries = [query["text"] for query in queries]
        random = np.random.default_rng(3)
        self.dense = random.normal(size=(N_DOCUMENTS, DIM)).astype(np.float32)
        self.dense_queries = random.normal(size=(N_QUERIES, DIM)).astype(np.float32)
        self.sparse = [_weights(random) for _ in range(N_DOCUMENTS)]
        self.sparse_queries = [_weights(random) for _ in range(N_QUERIES)]
        self.tokens = _tokens(random, N_DOCUMENTS)
        self.token_queries = _tokens(random, N_QUERIES)
        self.vectors = {"dense": self.dense, "sparse": self.sparse, "muvera": self.tokens}


def _weights(random: np.random.Generator) -> dict[int, float]:
    terms = random.choice(60, size=random.integers(2, 12), replace=False)
    return {int(term): float(random.random()) + 0.01 for term in terms}


def _tokens(random: np.random.Generator, n: int) -> TokenVectors:
    lengths = random.integers(2, 6, size=n)
    starts = np.zeros(n + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    vectors = random.normal(size=(int(starts[-1]), DIM)).astype(np.float32)
    return TokenVectors(starts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


@pytest.fixture(scope="module")
def real(shared_data: Path) -> Real:
    return Real(shared_data / "nfcorpus")


INDEXES = {
    "bm25": cm.BM25(),
    "dense": cm.Dense(model=None),
    "sparse": cm.Sparse(model=None),
    "muvera": cm.Muvera(model=None, target_recall=None, candidates=N_DOCUMENTS),
}


def fill(collection: Any, real: Real) -> None:
    """Documents in two parts, one of them in segments; some replaced, some deleted."""
    half = N_DOCUMENTS // 2
    first = {name: _part(values, 0, half) for name, values in real.vectors.items()}
    second = {name: _part(values, half, N_DOCUMENTS) for name, values in real.vectors.items()}
    collection.add(real.documents[:half], vectors=first)
    collection.flush()
    collection.add(real.documents[half:], vectors=second)
    collection.delete([document.id for document in real.documents[::17]])


def _part(values: Any, start: int, end: int) -> Any:
    return values[start:end]


def found(results: list[cm.Result]) -> list[tuple[list[str], list[np.float32]]]:
    """Ids and scores; of the last place's score any documents may be there, so none is named."""
    return [
        (
            [hit.id for hit in result if hit.score > result.scores[-1]],
            [np.float32(score) for score in result.scores],
        )
        for result in results
    ]


def answers(collection: Any, real: Real) -> dict[str, Any]:
    """Everything that must not depend on the number of shards."""
    given = {
        "dense": real.dense_queries,
        "sparse": real.sparse_queries,
        "muvera": real.token_queries,
    }
    made: dict[str, Any] = {}
    for options in ({}, {"filter": {"year": {"gte": 1995}}}, {"as_labels": ["odd"]}):
        what = json.dumps(options)
        made[f"bm25 {what}"] = found(
            collection.search_batch(real.queries, 20, pipeline="bm25", **options)
        )
        for name, vectors in given.items():
            made[f"{name} {what}"] = found(
                collection.search_batch(vectors=vectors, k=20, pipeline=name, **options)
            )
        for fuse in (cm.RRF(), cm.Convex()):
            pipeline = cm.Pipeline(["bm25", "dense"], fuse=fuse, feedback=cm.RM3(depth=5))
            made[f"{fuse} {what}"] = found(
                collection.search_batch(
                    real.queries, 20, vectors=real.dense_queries, pipeline=pipeline, **options
                )
            )
    explained = collection.search(real.queries[0], 5, pipeline="bm25", explain=True)
    made["explained"] = [hit.explanation for hit in explained]
    made["documents"] = [hit.document for hit in explained]
    return made


@pytest.fixture(scope="module")
def expected(real: Real, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with cm.Collection.create(tmp_path_factory.mktemp("one") / "c.cm", INDEXES) as collection:
        fill(collection, real)
        return answers(collection, real)


@pytest.mark.parametrize("n_shards", [1, 2, 3, 8])
def test_shards_answer_as_one_collection(
    n_shards: int,
    real: Real,
    expected: dict[str, Any],
    tmp_path: Path,
    executor: Callable[[], Executor],
) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=n_shards, executor=executor()) as cluster:
        collection = cluster.create_collection("papers", INDEXES)
        fill(collection, real)
        for _ in ("with a tail", "merged"):
            made = answers(collection, real)
            for what, own in expected.items():
                assert made[what] == own, what
            collection.merge()
        assert collection.check().problems == ()


@pytest.mark.parametrize("variant", ["okapi", "bm25l", "bm25+"])
def test_every_variant_shares_its_statistics(variant: str, real: Real, tmp_path: Path) -> None:
    indexes = {"bm25": cm.BM25(variant=variant)}
    with (
        cm.Collection.create(tmp_path / "one", indexes) as one,
        cm.Cluster.create(tmp_path / "c", shards=3) as cluster,
    ):
        collection = cluster.create_collection("papers", indexes)
        for each in (one, collection):
            each.add(real.documents)
        queries = [*real.queries, "the of a nothing"]
        for labels in (None, ["odd"]):
            alone = found(one.search_batch(queries, 20, as_labels=labels))
            assert found(collection.search_batch(queries, 20, as_labels=labels)) == alone


def test_words_weigh_as_rare_as_all_shards_make_them(real: Real, tmp_path: Path) -> None:
    model = make_sparse_model(tmp_path / "model", inference_free=True)
    indexes = {"sparse": cm.Sparse(model=str(model), idf="collection")}
    pipeline = cm.Pipeline("sparse", feedback=cm.RM3("sparse", depth=3))
    with (
        cm.Collection.create(tmp_path / "one", indexes) as one,
        cm.Cluster.create(tmp_path / "c", shards=3) as cluster,
    ):
        collection = cluster.create_collection("papers", indexes)
        for each in (one, collection):
            each.add(real.documents[:60])
        for asked in ("sparse", pipeline):
            alone = found(one.search_batch(real.queries[:8], 10, pipeline=asked))
            assert found(collection.search_batch(real.queries[:8], 10, pipeline=asked)) == alone
