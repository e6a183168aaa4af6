"""What ``cormorant bench spann`` searches: vectors of length 1, queries, their exact neighbours.

The sentence vectors of the shared data (or of a corpus), and a million seeded vectors of 96 numbers
with a low intrinsic dimension and skewed clusters. All are scaled to length 1, so that cosine,
inner product and distance agree and every system is asked for the same neighbours, which are
computed here. They lie in the cache of benchmarks in a folder named by their checksum, with a
smaller set of the same kind beside them (``warm``) that a process searches before it is measured.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ..download import cache_folder
from .sentences import sentence_vectors

DEPTH = 10
QUERIES = 500
WARM = 10_000
"""Vectors of the smaller set: more than a segment of ours is searched exactly."""
SYNTHETIC = (1_000_000, 96)
_SEED = 7
_CLUSTERS, _INNER = 2000, 16
_BLOCK = 65_536


class Data(NamedTuple):
    """Where ``vectors.npy`` (n, dim), ``queries.npy`` and ``truth.npy`` (n_queries, 10) lie."""

    name: str
    folder: Path

    def vectors(self) -> Float32Array:
        """(n, dim) float32, of length 1, mapped."""
        found: Float32Array = np.load(self.folder / "vectors.npy", mmap_mode="r")
        return found


def data_sets(corpus: Path | None) -> list[Data]:
    """Both, or the corpus alone; made where they are not in the cache."""
    given = sentence_vectors(corpus)
    found = [stored(given.name, given.base, given.queries)]
    if corpus is None:
        found.append(stored("synthetic", *synthetic(*SYNTHETIC)))
    return found


def stored(name: str, vectors: Float32Array, queries: Float32Array) -> Data:
    """Vectors in the cache, with their neighbours."""
    import xxhash

    vectors, queries = unit(vectors), unit(queries[:QUERIES])
    key = xxhash.xxh3_128(vectors.data)
    key.update(queries.data)
    data = Data(name, bench_cache() / f"{name}-{key.hexdigest()[:16]}")
    for folder, some in ((data.folder / "warm", vectors[:WARM]), (data.folder, vectors)):
        if (folder / "truth.npy").is_file():  # the last that is written
            continue
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "vectors.npy", some)
        np.save(folder / "queries.npy", queries)
        np.save(folder / "truth.npy", neighbours(some, queries, DEPTH))
    return data


def synthetic(n: int, dim: int) -> tuple[Float32Array, Float32Array]:
    """``n`` vectors and ``QUERIES`` of the same kind."""
    random = np.random.Generator(np.random.Philox(_SEED))
    total = n + QUERIES
    sizes = random.pareto(1.2, _CLUSTERS) + 0.05
    owners = random.choice(_CLUSTERS, total, p=sizes / sizes.sum())
    centres = random.standard_normal((_CLUSTERS, _INNER), np.float32)
    points = centres[owners] + np.float32(0.35) * random.standard_normal(
        (total, _INNER), np.float32
    )
    vectors: Float32Array = points @ random.standard_normal((_INNER, dim), np.float32)
    vectors += np.float32(0.1) * random.standard_normal((total, dim), np.float32)
    return vectors[:n], vectors[n:]


def neighbours(vectors: Float32Array, queries: Float32Array, k: int) -> Int64Array:
    """The exact k best of each query by inner product, best first: (n_queries, k)."""
    places = np.zeros((len(queries), 0), np.int64)
    scores = np.zeros((len(queries), 0), np.float32)
    for first in range(0, len(vectors), _BLOCK):
        block = queries @ vectors[first : first + _BLOCK].T
        here = np.broadcast_to(np.arange(first, first + block.shape[1]), block.shape)
        scores, places = np.hstack([scores, block]), np.hstack([places, here])
        if scores.shape[1] > k:
            near = np.argpartition(-scores, k - 1, axis=1)[:, :k]
            scores = np.take_along_axis(scores, near, axis=1)
            places = np.take_along_axis(places, near, axis=1)
    order = np.argsort(-scores, axis=1, kind="stable")
    best: Int64Array = np.take_along_axis(places, order, axis=1)
    return best


def unit(vectors: Float32Array) -> Float32Array:
    """Scaled to length 1."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32Array = np.ascontiguousarray(vectors / lengths, np.float32)
    return scaled


def bench_cache() -> Path:
    """The folder of this benchmark."""
    return cache_folder().parent / "bench" / "spann"
