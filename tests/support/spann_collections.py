"""A small collection with a spann index, its vectors, and what a search of it must give."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import cormorant as cm

DIM = 20
SPANN = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)
BASE_ROWS = 600


def vectors_of(n: int, seed: int) -> np.ndarray:
    """Vectors of length 1 in twelve clusters, the same clusters for every seed."""
    centres = np.random.default_rng(4).standard_normal((12, DIM))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, 12, n)] + 0.7 * random.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def crowd_of(n: int, seed: int) -> np.ndarray:
    """Vectors all about one place, which no list has room for."""
    random = np.random.default_rng(seed)
    vectors = vectors_of(1, 3) + 0.05 * random.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


BASE = np.concatenate([vectors_of(BASE_ROWS, 1), crowd_of(300, 5)])
"""The rows that a collection begins with, then those that make lists split."""
QUERIES = np.concatenate([vectors_of(100, 2), crowd_of(20, 6)])


def add(collection: cm.Collection, rows: np.ndarray | range) -> None:
    """Rows of ``BASE`` as documents ``d0``, ``d1``, ..."""
    documents = [cm.Document(id=f"d{row}", text="", metadata={"part": row % 10}) for row in rows]
    collection.add(documents, vectors={"spann": BASE[list(rows)]})


def begun(path: Path) -> None:
    """A collection of the base rows, in one segment with lists."""
    with cm.Collection.create(path, {"spann": SPANN}) as collection:
        add(collection, range(BASE_ROWS))
        collection.merge()


def recall(collection: cm.Collection, live: np.ndarray, **options: object) -> float:
    """Share of the ten best that are found; every score is checked, and that no row is gone."""
    exact = np.where(live, QUERIES.astype(float) @ BASE.T.astype(float), -np.inf)
    results = collection.search_batch(vectors=QUERIES, k=10, pipeline="spann", **options)
    found = []
    for own, result in zip(exact, results, strict=True):
        rows = [int(hit.id[1:]) for hit in result]
        assert len(set(rows)) == len(rows) == min(10, live.sum())
        assert live[rows].all()
        assert np.allclose([hit.score for hit in result], own[rows], atol=2e-6)
        found.append(np.isin(np.argsort(-own)[: len(rows)], rows).mean())
    return float(np.mean(found))
