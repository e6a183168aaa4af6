"""Recall under filters, labels and deletes: shares of 20,000 real vectors, against numpy."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import cormorant as cm

N, N_QUERIES, K = 20_000, 80, 10
SHARES = (100.0, 50.0, 10.0, 1.0, 0.1)
LEAST = {"flat": 1.0, "hnsw": 0.95, "ivf": 0.85}
INDEXES = {
    "flat": cm.Dense(model=None, similarity="dot"),
    "hnsw": cm.Dense(model=None, similarity="dot", ann=cm.HNSW(), ann_rows=10_000),
    "ivf": cm.Dense(model=None, similarity="dot", ann=cm.IVF(), ann_rows=10_000),
}


@dataclass
class Corpus:
    """``rank``: a random permutation, so that rank < share * N is a random share of the rows."""

    collection: cm.Collection
    vectors: np.ndarray
    queries: np.ndarray
    rank: np.ndarray
    topic: np.ndarray
    live: np.ndarray


def _vectors(shared_data: Path) -> np.ndarray:
    folder = shared_data / "sentences"
    rounded = np.load(folder / "minilm_int8.npy", mmap_mode="r")
    rows = np.concatenate([rounded[:N], rounded[-N_QUERIES:]])
    return rows * np.load(folder / "scale.npy")


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, shared_data: Path
) -> Iterator[tuple[Path, np.ndarray]]:
    """One collection with all three indexes; a name for each document, a share and a topic."""
    every = _vectors(shared_data)
    vectors = every[:N]
    rank = np.random.default_rng(0).permutation(N)
    topic = np.argmax(vectors @ vectors[:10].T, axis=1)
    path = tmp_path_factory.mktemp("filters") / "c.cm"
    with cm.Collection.create(path, INDEXES) as collection:
        documents = [
            cm.Document(
                id=f"d{row}",
                text="",
                metadata={"rank": int(rank[row]), "topic": int(topic[row])},
                labels=[f"under{share}" for share in SHARES if rank[row] < share / 100 * N],
            )
            for row in range(N)
        ]
        collection.add(documents, vectors=dict.fromkeys(INDEXES, vectors))
        collection.flush()
    yield path, every
    shutil.rmtree(path)


@pytest.fixture
def corpus(
    built: tuple[Path, np.ndarray], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Corpus]:
    """The collection; asked for with "deleted", a copy in which 30% are gone, not merged yet."""
    path, every = built
    rank = np.random.default_rng(0).permutation(N)
    topic = np.argmax(every[:N] @ every[:10].T, axis=1)
    live = np.ones(N, np.bool_)
    with cm.Collection.open(path, read_only=True) as source:
        if request.param == "deleted":
            source.backup(tmp_path / "deleted.cm")
    if request.param == "deleted":
        path = tmp_path / "deleted.cm"
    with cm.Collection.open(path) as collection:
        if request.param == "deleted":
            collection._writer.stop_background()
            gone = np.random.default_rng(1).permutation(N)[: int(0.3 * N)]
            live[gone] = False
            collection.delete([f"d{row}" for row in gone])
        yield Corpus(collection, every[:N], every[N:], rank, topic, live)
    shutil.rmtree(tmp_path, ignore_errors=True)


def _recall(
    corpus: Corpus, index: str, passing: np.ndarray, *, single: bool, **how: object
) -> float:
    rows = np.flatnonzero(passing & corpus.live)
    scores = corpus.queries @ corpus.vectors[rows].T
    k = min(K, len(rows))
    tenth = np.partition(-scores, k - 1, axis=1)[:, k - 1] * -1
    queries = corpus.queries
    if single:  # half of them: one by one they take their time
        queries, tenth = queries[::2], tenth[::2]
        results = [
            corpus.collection.search_batch(vectors=query[None], k=K, pipeline=index, **how)[0]
            for query in queries
        ]
    else:
        results = corpus.collection.search_batch(vectors=corpus.queries, k=K, pipeline=index, **how)
    found = 0
    allowed = {f"d{row}" for row in rows}
    for result, least in zip(results, tenth, strict=True):
        assert len(result) == k, f"{len(result)} hits where {k} pass"
        assert set(result.ids) <= allowed
        found += int(np.sum(np.array(result.scores) >= least - 1e-6))
    return found / (k * len(results))


@pytest.mark.parametrize("corpus", ["whole", "deleted"], indirect=True)
def test_recall_under_filters_and_labels(corpus: Corpus) -> None:
    print(f"\nrecall@{K}, {N} rows, {int(corpus.live.sum())} live (batch/single/labels)")
    table: dict[tuple[str, float], list[float]] = {}
    for share in SHARES:
        below = int(share / 100 * N)
        passing = corpus.rank < below
        condition = None if share == 100 else {"rank": {"lt": below}}
        for index in INDEXES:
            table[index, share] = [
                _recall(corpus, index, passing, single=False, filter=condition),
                _recall(corpus, index, passing, single=True, filter=condition),
                _recall(corpus, index, passing, single=False, as_labels=[f"under{share}"]),
            ]
            figures = " ".join(f"{value:.3f}" for value in table[index, share])
            print(f"{share:6.1f}% {index:5} {figures}")
    for (index, share), values in table.items():
        assert min(values) >= LEAST[index], (index, share, values)


@pytest.mark.parametrize("corpus", ["whole"], indirect=True)
def test_recall_where_the_filter_and_the_query_are_of_different_topics(corpus: Corpus) -> None:
    """The nearest vectors are all filtered out: a walk that stops among them finds nothing."""
    of_query = np.argmax(corpus.queries @ corpus.vectors[:10].T, axis=1)
    print()
    for topic in np.argsort(np.bincount(corpus.topic))[-3:].tolist():
        asked = of_query != topic
        other = Corpus(**{**vars(corpus), "queries": corpus.queries[asked]})
        passing = corpus.topic == topic
        for index in INDEXES:
            for single in (False, True):
                recall = _recall(other, index, passing, single=single, filter={"topic": topic})
                print(f"topic {topic} ({passing.mean():.1%}) {index} {single=}: {recall:.3f}")
                assert recall >= LEAST[index]
