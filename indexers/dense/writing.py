"""The arrays of a dense segment, from encodings or from other segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from ...contracts import ArraySink, BoolArray, Float32Array, Int64Array
from ...documents import Chunk, JsonObject
from . import ann
from .segment import DenseSegment
from .settings import Dense
from .vectors import unpack

_BLOCK = 4096


def build(chunks: Iterable[Chunk], settings: Dense, sink: ArraySink) -> JsonObject:
    """One segment over chunks that carry their encodings, rows ascending; returns its summary."""
    rows, encodings = [], []
    for chunk in chunks:
        rows.append(chunk.row)
        encodings.append(chunk.encoding)
    vectors, cut = unpack(encodings)
    sink.put("rows", np.array(rows, np.int64))
    sink.put("vectors", vectors)
    sink.put("cut", cut)
    return {**_facts(vectors), **ann.build(vectors, settings, sink)}


def _facts(vectors: Float32Array) -> JsonObject:
    largest = 0.0
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        largest = max(largest, float(np.einsum("nd,nd->n", block, block, dtype=np.float64).max()))
    return {"n_rows": len(vectors), "largest_norm": largest**0.5}


def merge(
    segments: Sequence[DenseSegment],
    keep: Sequence[BoolArray | None],
    settings: Dense,
    sink: ArraySink,
) -> JsonObject:
    """One segment of several, in row order; vectors are copied, structures built anew."""
    kept = [
        np.arange(len(segment.rows)) if mask is None else np.flatnonzero(mask)
        for segment, mask in zip(segments, keep, strict=True)
    ]
    rows = np.concatenate([s.rows[places] for s, places in zip(segments, kept, strict=True)])
    order = np.argsort(rows, kind="stable")
    target = np.empty(len(rows), np.int64)  # where each row, as concatenated, goes
    target[order] = np.arange(len(rows))
    dim = max((s.vectors.shape[1] for s in segments if len(s.rows)), default=0)
    vectors = sink.create("vectors", np.float32, (len(rows), dim))
    cut = sink.create("cut", np.bool_, (len(rows),))
    start = 0
    for segment, places in zip(segments, kept, strict=True):
        for at in range(0, len(places), _BLOCK):
            block = places[at : at + _BLOCK]
            into = target[start + at : start + at + len(block)]
            vectors[into] = segment.vectors_at(block)
            cut[into] = segment.cut[block]
        start += len(places)
    sink.put("rows", rows[order])
    begun = _first_whole(segments, keep, rows[order])
    return {**_facts(vectors), **ann.build(vectors, settings, sink, begun)}


def _first_whole(
    segments: Sequence[DenseSegment], keep: Sequence[BoolArray | None], rows: Int64Array
) -> DenseSegment | None:
    """The segment that has become the first stretch of the merged rows, nothing of it dropped."""
    for segment, mask in zip(segments, keep, strict=True):
        n = len(segment.rows)
        if mask is None and n and segment.rows[0] == rows[0] and segment.rows[-1] == rows[n - 1]:
            return segment
    return None
