"""Approximate indexes in shards find as many of the true best as they find in one collection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spann_collections import vectors_of

import cormorant as cm
from cormorant.indexers.spann import tuning as spann_tuning
from cormorant.indexers.sparse import tuning as sparse_tuning
from cormorant.retrieval.cluster.executor import Executor
from cormorant.vectors import SparseVectors, TokenVectors

N_DOCUMENTS, N_QUERIES, K = 4800, 400, 10
LEAST_ROWS = 256
"""Shards of fewer rows would be searched exactly."""

DOCUMENTS = [cm.Document(id=f"{number}", text="") for number in range(N_DOCUMENTS)]
APPROXIMATE = {
    "hnsw": cm.Dense(
        model=None, ann=cm.HNSW(m=6, ef_construction=32, ef_search=24), ann_rows=LEAST_ROWS
    ),
    # Its usual probes are a sixteenth of a segment's lists, which is less where lists are few.
    "ivf": cm.Dense(model=None, ann=cm.IVF(lists=64, probes=4), ann_rows=LEAST_ROWS),
    "spann": cm.Spann(model=None, list_rows=LEAST_ROWS, posting=16, memory=1.0),
    "sparse": cm.Sparse(model=None, target_recall=0.9),
    "muvera": cm.Muvera(
        model=None, proxy_rows=LEAST_ROWS, target_recall=0.8, k_sim=2, r_reps=10, d_proj=8,
        fill=False,
    ),
}  # fmt: skip
EXACT = {
    **dict.fromkeys(("hnsw", "ivf", "spann"), cm.Dense(model=None)),
    "sparse": cm.Sparse(model=None),
    "muvera": cm.Muvera(model=None, target_recall=None),
}

Found = dict[str, list[set[str]]]
"""By index the ids that each query finds."""


def _weights(n: int, most: int, seed: int) -> SparseVectors:
    """Some of 2,000 terms each, the first of them in many texts."""
    random = np.random.default_rng(seed)
    chances = 1.0 / np.arange(5, 2005)
    own = [np.unique(random.choice(2000, most, p=chances / chances.sum())) for _ in range(n)]
    starts = np.cumsum([0, *map(len, own)])
    weights = random.gamma(2.0, 0.5, starts[-1]).astype(np.float32) + np.float32(0.01)
    return SparseVectors(starts, np.concatenate(own), weights)


def _tokens(n: int, most: int, seed: int) -> TokenVectors:
    lengths = np.random.default_rng(seed).integers(1, most + 1, n)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return TokenVectors(starts, vectors_of(int(starts[-1]), seed))


def _vectors(n: int, seed: int, n_terms: int, n_tokens: int) -> dict[str, Any]:
    dense = dict.fromkeys(("hnsw", "ivf", "spann"), vectors_of(n, seed))
    return {**dense, "sparse": _weights(n, n_terms, seed), "muvera": _tokens(n, n_tokens, seed)}


def found(collection: Any) -> Found:
    """What an empty collection finds once it is filled, every index in one segment a shard."""
    collection.add(DOCUMENTS, vectors=_vectors(N_DOCUMENTS, 1, 40, 8))
    collection.merge()
    return {
        name: [
            {*result.ids} for result in collection.search_batch(vectors=asked, k=K, pipeline=name)
        ]
        for name, asked in _vectors(N_QUERIES, 2, 12, 4).items()
    }


def recalls(results: Found, truth: Found) -> dict[str, float]:
    return {
        name: float(np.mean([len(a & b) / K for a, b in zip(own, truth[name], strict=True)]))
        for name, own in results.items()
    }


@pytest.fixture(scope="module", autouse=True)
def small() -> Iterator[None]:
    """Segments so small have an effort of their own, for the target asked for only.

    Not in Ray's actors: sparse is exact there.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse_tuning, "LEAST_ROWS", LEAST_ROWS)
        patch.setattr(spann_tuning, "TARGETS", ())
        yield


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Found:
    with cm.Collection.create(tmp_path_factory.mktemp("exact") / "c.cm", EXACT) as collection:
        return found(collection)


@pytest.fixture(scope="module")
def alone(truth: Found, tmp_path_factory: pytest.TempPathFactory) -> dict[str, float]:
    """Recalls of one collection, in which no index is exact."""
    with cm.Collection.create(tmp_path_factory.mktemp("one") / "c.cm", APPROXIMATE) as collection:
        own = recalls(found(collection), truth)
    assert all(0.5 < recall < 1 for recall in own.values()), own
    return own


@pytest.mark.parametrize(
    "n_shards",
    [1, pytest.param(2, marks=pytest.mark.soak), pytest.param(3, marks=pytest.mark.soak), 8],
)
def test_shards_find_as_much_as_one_collection(
    n_shards: int,
    truth: Found,
    alone: dict[str, float],
    tmp_path: Path,
    executor: Callable[[], Executor],
) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=n_shards, executor=executor()) as cluster:
        collection = cluster.create_collection("papers", APPROXIMATE)
        own = recalls(found(collection), truth)
        described = collection.describe()
    assert min(shard["documents"] for shard in described["shards"]) >= LEAST_ROWS
    for name, facts in described["indexes"].items():
        assert (facts["segments"], facts["tail_rows"]) == (n_shards, 0), name
        assert own[name] >= alone[name] - 0.01, (name, own, alone)
