"""Approximate search inside a segment: which structure, and when the exact pass is cheaper.

What FAISS builds is stored as plain arrays of the segment (links, centroids, codes), which have
their checksums and are checked again before FAISS sees them; a serialised FAISS index, a known way
to corrupt memory, is never written and never read. Vectors stay the truth: every structure here can
be rebuilt from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from ...contracts import Array, ArraySink, Float32Array, Int64Array
from ...documents import JsonObject
from ...ranking import NO_ROW
from . import exact, gpu, hnsw, ivf
from .segment import DenseSegment, Passing
from .settings import HNSW, IVF, Dense

_FEW_QUERIES = 8
_ROWS_PER_STEP_ONE = 20
_ROWS_PER_STEP_BATCH = 500
"""How many rows an exact pass reads while a walk over a graph takes one step: rows lie in order
for the one and anywhere for the other, and a batch reads them once for all its queries."""
_ROWS_PER_LISTED_ONE = 1
_ROWS_PER_LISTED_BATCH = 10
"""The same for one row of an inverted list, which each query of a batch reads for itself."""


def build(
    vectors: Float32Array, settings: Dense, sink: ArraySink, begun: DenseSegment | None = None
) -> JsonObject:
    """Write the arrays of the structure asked for; its part of the segment's summary.

    ``begun``: a segment that holds the first of these vectors, in the same order; a graph goes on
    from its graph, so that a merge inserts only what is new.

    Not for a tail: every reader would build it again, at its first search after an ``add``.
    """
    if settings.ann is None or len(vectors) < _least_rows(settings):
        return {}
    if not sink.lasting or not exact.has_faiss():
        return {}
    if isinstance(settings.ann, HNSW):
        return {"ann": {"kind": "hnsw", **hnsw.build(vectors, settings.ann, sink, begun)}}
    assert isinstance(settings.ann, IVF)
    return {"ann": {"kind": "ivf", **ivf.build(vectors, settings.ann, sink)}}


def _least_rows(settings: Dense) -> int:
    """Below so many rows a segment is searched exactly; a product quantiser needs data to learn."""
    quantised = isinstance(settings.ann, IVF) and settings.ann.quantizer == "pq"
    return max(settings.ann_rows, ivf.PQ_LEAST_ROWS if quantised else 0)


def _opened(segment: DenseSegment, _: Float32Array) -> Any:
    """FAISS's structure, made of a segment's arrays."""
    summary = segment.summary["ann"]
    return (hnsw if summary["kind"] == "hnsw" else ivf).opened(segment.arrays, summary)


def problems_of(arrays: Mapping[str, Array], summary: JsonObject) -> list[str]:
    """What is wrong with the arrays of the structure."""
    if summary["ann"]["kind"] == "hnsw":
        return hnsw.problems_of(arrays, summary["ann"])
    return ivf.problems_of(arrays, summary["ann"])


def candidates(
    segment: DenseSegment, settings: Dense, queries: Float32Array, k: int, passing: Passing
) -> Int64Array | None:
    """Places (n_queries, >= k where there are so many), -1 for none; None: search exactly.

    Under a filter the search goes wider, in proportion to what the filter lets through, until an
    exact pass over just these rows costs less; that has no loss at all. A query around which the
    filter lets too little through, however wide, gets an exact pass as well.
    """
    places = _walk(segment, settings, queries, k, passing)
    if places is None:
        return None
    short = np.count_nonzero(places >= 0, axis=1) < min(k, passing.size)
    if not short.any():
        return places
    found = exact.candidates(segment, queries[short], k, passing.places)
    wider = np.full((len(places), max(places.shape[1], found.shape[1])), NO_ROW, np.int64)
    wider[:, : places.shape[1]] = places
    wider[short] = NO_ROW
    wider[short, : found.shape[1]] = found
    return wider


def _walk(
    segment: DenseSegment, settings: Dense, queries: Float32Array, k: int, passing: Passing
) -> Int64Array | None:
    """What the structure finds; None where an exact pass is cheaper."""
    kind = segment.summary["ann"]["kind"]
    n, count = len(segment.rows), passing.size
    if count == 0 or kind != getattr(settings.ann, "kind", None):
        return None
    wider = n / count
    if isinstance(settings.ann, HNSW):
        ef = max(settings.ann.ef_search, k)
        rows = _ROWS_PER_STEP_BATCH if len(queries) >= _FEW_QUERIES else _ROWS_PER_STEP_ONE
        if passing.mask is not None and count <= ef * wider * rows:
            return None
        ef = int(min(n, np.ceil(ef * wider)))
        graph = segment.kept("ann", partial(_opened, segment))
        return hnsw.search(graph, queries, min(k, n), ef, selector(passing, n))
    assert isinstance(settings.ann, IVF)
    lists = segment.summary["ann"]["lists"]
    probes = settings.ann.probes or max(1, lists // 16)
    rows = _ROWS_PER_LISTED_BATCH if len(queries) >= _FEW_QUERIES else _ROWS_PER_LISTED_ONE
    if passing.mask is not None and count <= n * probes / lists * rows:
        return None
    probes = int(np.ceil(probes * wider))
    refine = 1 if settings.ann.quantizer == "none" else settings.ann.refine
    wanted = min(k * refine, n)
    index = segment.kept("ann", partial(_opened, segment))
    if passing.mask is None and gpu.is_worth_it(segment.vectors, wanted):
        index = segment.kept("gpu lists", lambda _: gpu.moved(index))
    return ivf.search(index, queries, wanted, min(probes, lists), selector(passing, n))


def selector(passing: Passing, n: int) -> Any:
    """FAISS's form of a mask; None where everything passes."""
    if passing.mask is None:
        return None
    import faiss

    return faiss.IDSelectorBitmap(np.packbits(passing.mask, bitorder="little"))
