"""FAISS's HNSW graph as two arrays: each vector's level, and everybody's links."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...contracts import Array, ArraySink, Float32Array, Int64Array
from ...documents import JsonObject
from ...errors import CormorantError
from .segment import DenseSegment
from .settings import HNSW, MAX_M

ARRAYS = ("hnsw_levels", "hnsw_links")


def build(
    vectors: Float32Array, settings: HNSW, sink: ArraySink, begun: DenseSegment | None
) -> JsonObject:
    """Write ``hnsw_levels`` (n,) and ``hnsw_links`` (int32, each vector's in turn).

    ``begun``: a segment of the first of these vectors, whose graph is gone on with.
    """
    import faiss

    known = None if begun is None else begun.summary.get("ann")
    if begun is not None and known is not None and _fits(known, settings):
        index, rest = opened(begun.arrays, known), vectors[len(begun.rows) :]
    else:
        index = faiss.IndexHNSWFlat(vectors.shape[1], settings.m, faiss.METRIC_INNER_PRODUCT)
        rest = vectors
    index.hnsw.efConstruction = settings.ef_construction
    index.add(rest)
    sink.put("hnsw_levels", faiss.vector_to_array(index.hnsw.levels))
    sink.put("hnsw_links", faiss.vector_to_array(index.hnsw.neighbors))
    return {
        "m": settings.m,
        "ef_construction": settings.ef_construction,
        "entry_point": int(index.hnsw.entry_point),
        "max_level": int(index.hnsw.max_level),
    }


def _fits(known: JsonObject, settings: HNSW) -> bool:
    made = known.get("kind"), known.get("m"), known.get("ef_construction")
    return made == (settings.kind, settings.m, settings.ef_construction)


def opened(arrays: Mapping[str, Array], summary: JsonObject) -> Any:
    """The graph over the vectors, which FAISS copies into its own memory.

    Raises :class:`~cormorant.errors.CormorantError` for a graph that would lead FAISS astray.
    """
    import faiss

    problems = problems_of(arrays, summary)
    if problems:
        raise CormorantError(f"a graph of this index cannot be used: {problems[0]}")
    vectors, levels = arrays["vectors"], arrays["hnsw_levels"]
    index = faiss.IndexHNSWFlat(vectors.shape[1], summary["m"], faiss.METRIC_INNER_PRODUCT)
    index.storage.add(vectors)
    graph = index.hnsw
    faiss.copy_array_to_vector(levels.astype(np.int32), graph.levels)
    faiss.copy_array_to_vector(_offsets(levels, summary["m"]), graph.offsets)
    faiss.copy_array_to_vector(np.array(arrays["hnsw_links"], np.int32), graph.neighbors)
    graph.entry_point = summary["entry_point"]
    graph.max_level = summary["max_level"]
    index.ntotal = len(vectors)
    return index


def search(index: Any, queries: Float32Array, k: int, ef: int, selector: Any) -> Int64Array:
    """Places (n_queries, k), -1 for none."""
    import faiss

    parameters = faiss.SearchParametersHNSW(efSearch=max(ef, k))
    if selector is not None:
        parameters.sel = selector
    places: Int64Array = index.search(queries, k, params=parameters)[1]
    return places


def problems_of(arrays: Mapping[str, Array], summary: JsonObject) -> list[str]:
    """Links that leave the graph; FAISS itself does not look."""
    if any(name not in arrays or arrays[name].dtype != np.int32 for name in ARRAYS):
        return ["the graph is not there"]
    n, m = len(arrays["vectors"]), summary["m"]
    levels, links = arrays["hnsw_levels"], arrays["hnsw_links"]
    top = summary["max_level"] + 1
    if not 2 <= m <= MAX_M or top > _most_levels(m):
        return ["the graph is of a form that FAISS does not build"]
    if levels.shape != (n,) or n == 0 or levels.min() < 1 or levels.max() != top:
        return ["the graph's levels do not fit its vectors"]
    offsets = _offsets(levels, m).astype(np.int64)
    if links.shape != (offsets[-1],) or links.min() < -1 or links.max() >= n:
        return ["a link of the graph leads nowhere"]
    entry = summary["entry_point"]
    if not 0 <= entry < n or levels[entry] != top:
        return ["the graph's entry point is not at its top"]
    for level in range(1, top):  # a link must lead to a vector that has this level too
        members = np.flatnonzero(levels > level)
        starts = offsets[members] + 2 * m + (level - 1) * m
        targets = links[starts[:, None] + np.arange(m)]
        if np.any(levels[targets[targets >= 0]] <= level):
            return [f"a link of level {level} leads below it"]
    return []


def _most_levels(m: int) -> int:
    """For how many levels FAISS knows the number of links."""
    import faiss

    graph = faiss.HNSW(m)  # kept: what is asked of it lives no longer than it does
    return int(graph.cum_nneighbor_per_level.size()) - 1


def _offsets(levels: Array, m: int) -> Array:
    """Where each vector's links begin: 2 m of them at the bottom and m a level above."""
    offsets = np.zeros(len(levels) + 1, np.uint64)
    np.cumsum(2 * m + (levels.astype(np.int64) - 1) * m, out=offsets[1:], dtype=np.uint64)
    return offsets
