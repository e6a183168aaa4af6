"""Exact search, by whatever does it fastest.

A large batch goes through bfloat16 products where the hardware has them
(:mod:`cormorant.kernels.nearest`, which keeps all that rounding leaves in doubt), else through
FAISS's blocked products, or torch's where FAISS is not installed; a few queries are one pass over
the vectors each. All of them find candidates; :mod:`cormorant.kernels.dots` gives these their
scores, so a few more than k are asked for and rounding inside a product decides nothing.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any, cast

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...kernels.nearest import halved, nearest
from ...ranking import NO_ROW
from . import gpu
from .segment import DenseSegment

SLACK = 16
_BLOCK = 16_384
_FEW_QUERIES = 8
_MANY_QUERIES = 64
_MANY_ROWS = 8192
_DENSE_SHARE = 8


@functools.cache
def has_faiss() -> bool:
    """Whether FAISS is installed; does not import it."""
    return importlib.util.find_spec("faiss") is not None


@functools.cache
def _has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware."""
    import torch

    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def candidates(
    segment: DenseSegment, queries: Float32Array, k: int, allowed: Int64Array | None
) -> Int64Array:
    """Places (n_queries, m) of the vectors nearest by inner product, -1 for none, in any order.

    The k best are among them. ``allowed``: the places that may be found, ascending (None: all).
    """
    vectors = segment.vectors
    n = len(vectors) if allowed is None else len(allowed)
    wanted = min(k + SLACK, n)
    if wanted == 0 or len(queries) == 0:
        return np.full((len(queries), 0), -1, np.int64)
    if allowed is None and has_faiss() and gpu.is_worth_it(vectors, wanted):
        return cast(Int64Array, segment.kept("gpu flat", gpu.flat).search(queries, wanted)[1])
    most = n * _DENSE_SHARE >= len(vectors)
    if len(queries) < _FEW_QUERIES and most:
        return _one_by_one(vectors, queries, wanted, allowed)
    many = len(queries) >= _MANY_QUERIES and n >= max(_MANY_ROWS, 16 * k)
    if many and most and _has_bfloat16():
        return _through_halves(segment, queries, k, allowed)
    if allowed is None:
        return _nearest(vectors, queries, wanted)[1]
    scores = np.empty((len(queries), 0), np.float32)
    places = np.empty((len(queries), 0), np.int64)
    for start in range(0, n, _BLOCK):
        block = allowed[start : start + _BLOCK]
        found, inside = _nearest(vectors[block], queries, min(wanted, len(block)))
        scores = np.concatenate([scores, found], axis=1)
        places = np.concatenate([places, block[inside]], axis=1)
        if scores.shape[1] > wanted:
            best = np.argpartition(-scores, wanted - 1, axis=1)[:, :wanted]
            scores = np.take_along_axis(scores, best, axis=1)
            places = np.take_along_axis(places, best, axis=1)
    return places


def _through_halves(
    segment: DenseSegment, queries: Float32Array, k: int, allowed: Int64Array | None
) -> Int64Array:
    mask = None
    if allowed is not None:
        mask = np.zeros(len(segment.vectors), np.bool_)
        mask[allowed] = True
    found = nearest(segment.kept("half", halved), queries, k, mask)
    counts = np.diff(found.starts)
    wanted = k + SLACK if found.doubtful.any() else 0
    width = max(int(counts.max()), wanted)
    places = np.full((len(queries), width), NO_ROW, np.int64)
    places[np.arange(width) < counts[:, None]] = found.places
    if found.doubtful.any():
        asked = queries[found.doubtful]
        places[found.doubtful, :wanted] = _one_by_one(segment.vectors, asked, wanted, allowed)
    return places


def _one_by_one(
    vectors: Float32Array, queries: Float32Array, k: int, allowed: Int64Array | None
) -> Int64Array:
    """For a query or a few: one pass over the vectors each, no blocks to fill."""
    places = np.empty((len(queries), k), np.int64)
    for number, query in enumerate(queries):
        scores = vectors @ query
        if allowed is not None:
            scores = scores[allowed]
        best = np.argpartition(-scores, k - 1)[:k] if k < len(scores) else np.arange(k)
        places[number] = best if allowed is None else allowed[best]
    return places


def _nearest(
    vectors: Float32Array, queries: Float32Array, k: int
) -> tuple[Float32Array, Int64Array]:
    """(scores, places), both (n_queries, k), in no particular order."""
    if not has_faiss():
        return _nearest_by_torch(vectors, queries, k)
    faiss = _faiss()
    scores, places = faiss.knn(queries, vectors, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, places


def _nearest_by_torch(
    vectors: Float32Array, queries: Float32Array, k: int
) -> tuple[Float32Array, Int64Array]:
    import torch

    asked = torch.from_numpy(queries)
    best: list[torch.Tensor] = []
    places: list[torch.Tensor] = []
    for start in range(0, len(vectors), _BLOCK):
        block = np.array(vectors[start : start + _BLOCK])  # torch wants memory it may write to
        found = torch.topk(asked @ torch.from_numpy(block).T, min(k, len(block)), dim=1)
        best.append(found.values)
        places.append(found.indices + start)
    scores, order = torch.topk(torch.cat(best, 1), k, dim=1)
    return scores.numpy(), torch.gather(torch.cat(places, 1), 1, order).numpy()


def _faiss() -> Any:
    import faiss

    return faiss
