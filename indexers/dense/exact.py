"""Exact search, by whatever does it fastest.

A large batch goes through bfloat16 products where the hardware has them
(:mod:`cormorant.kernels.nearest`, which keeps all that rounding leaves in doubt), else through
FAISS's blocked products, or torch's where FAISS is not installed; a few queries are one pass over
the vectors each. All of them find candidates, a few more than k; :mod:`cormorant.kernels.dots`
gives these their scores; and where rounding inside a product could have decided anything, which is
known from a bound, the query is asked again with every near tie kept.
"""

from __future__ import annotations

import functools
import importlib.util
from threading import Lock
from typing import Any

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...kernels.dots import dots
from ...kernels.nearest import halved, nearest
from ...ranking import NO_ROW
from ..encoders.precision import has_bfloat16
from . import gpu
from .segment import DenseSegment

SLACK = 16
_BLOCK = 16_384
_FEW_QUERIES = 4
_MANY_QUERIES = 4
_MANY_ROWS = 8192
_MANY_NEAR = 1024
_DENSE_SHARE = 8
_ONE_AT_A_TIME = Lock()
"""A product over all vectors takes every processor; several at once only wait for each other."""


@functools.cache
def has_faiss() -> bool:
    """Whether FAISS is installed; does not import it."""
    return importlib.util.find_spec("faiss") is not None


def candidates(
    segment: DenseSegment, queries: Float32Array, k: int, allowed: Int64Array | None
) -> Int64Array:
    """Places (n_queries, m) of the vectors nearest by inner product, -1 for none, in any order.

    The k best by true score are among them, of equal ones the lowest places, whatever the batch:
    where rounding leaves a doubt, it is settled. ``allowed``: the places that may be found,
    ascending (None: all).
    """
    vectors = segment.vectors
    n = len(vectors) if allowed is None else len(allowed)
    wanted = min(k + SLACK, n)
    if wanted == 0 or len(queries) == 0:
        return np.full((len(queries), 0), NO_ROW, np.int64)
    if allowed is None and has_faiss() and gpu.is_worth_it(vectors, wanted):
        scores, places = segment.kept("gpu flat", gpu.flat).search(queries, wanted)
        return _settled(segment, queries, k, scores, places, allowed)
    most = n * _DENSE_SHARE >= len(vectors)
    if len(queries) < _FEW_QUERIES and most:
        places = np.full((len(queries), wanted), NO_ROW, np.int64)
        return _settle(segment, queries, k, places, np.arange(len(queries)), allowed)
    many = len(queries) >= _MANY_QUERIES and n >= max(_MANY_ROWS, 16 * k)
    if many and most and has_bfloat16("cpu"):
        return _through_halves(segment, queries, k, allowed)
    if allowed is None:
        scores, places = _nearest(vectors, queries, wanted)
        return _settled(segment, queries, k, scores, places, allowed)
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
    return _settled(segment, queries, k, scores, places, allowed)


def _through_halves(
    segment: DenseSegment, queries: Float32Array, k: int, allowed: Int64Array | None
) -> Int64Array:
    mask = None
    if allowed is not None:
        mask = np.zeros(len(segment.vectors), np.bool_)
        mask[allowed] = True
    found = nearest(segment.kept("half", halved), queries, k, mask)
    counts = np.diff(found.starts)
    # One query with thousands of near ties must not widen everybody's row.
    doubtful = found.doubtful | (counts > 2 * k + _MANY_NEAR)
    kept = found.places[np.repeat(~doubtful, counts)]
    counts[doubtful] = 0
    width = max(int(counts.max()), k + SLACK)
    places = np.full((len(queries), width), NO_ROW, np.int64)
    places[np.arange(width) < counts[:, None]] = kept
    return _settle(segment, queries, k, places, np.flatnonzero(doubtful), allowed)


def _settled(
    segment: DenseSegment,
    queries: Float32Array,
    k: int,
    scores: Float32Array,
    places: Int64Array,
    allowed: Int64Array | None,
) -> Int64Array:
    """Candidates by float32 products, (n_queries, m) with their scores, made sure of.

    What was left out scores no more than the least of these, and rounding adds no more than
    ``_error``: where that could reach the k-th best true score, the query is asked anew.
    """
    width = places.shape[1]
    if width == (len(segment.vectors) if allowed is None else len(allowed)):
        return places
    true = dots(queries, segment.vectors, places)
    last = np.partition(true, width - k, axis=1)[:, width - k]
    doubtful = scores.min(axis=1) + _error(segment, queries) >= last
    return _settle(segment, queries, k, places, np.flatnonzero(doubtful), allowed)


def _settle(
    segment: DenseSegment,
    queries: Float32Array,
    k: int,
    places: Int64Array,
    doubtful: Int64Array,
    allowed: Int64Array | None,
) -> Int64Array:
    """Ask the doubtful queries one by one: one pass over the vectors each, every near tie kept."""
    errors = _error(segment, queries)
    for number in doubtful.tolist():
        with _ONE_AT_A_TIME:
            scores = segment.vectors @ queries[number]
        if allowed is not None:
            scores = scores[allowed]
        n = len(scores)
        near = np.arange(n)
        if k < n:
            near = np.flatnonzero(scores >= np.partition(scores, n - k)[n - k] - 2 * errors[number])
        best = near if allowed is None else allowed[near]
        if len(best) > places.shape[1]:
            true = dots(queries[number : number + 1], segment.vectors, best[None])[0]
            best = best[np.lexsort((best, -true))[:k]]
        places[number] = NO_ROW
        places[number, : len(best)] = best
    return places


def _error(segment: DenseSegment, queries: Float32Array) -> Float32Array:
    """How far a float32 product of a query and a vector can be from the true one: (n_queries,)."""
    norms = np.sqrt(np.einsum("nd,nd->n", queries, queries, dtype=np.float64))
    errors: Float32Array = norms * segment.largest_norm * queries.shape[1] * 2.0**-23
    return errors


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
