"""Queries that name the cells they touch: most of a query's encoding is zero.

A query of 32 tokens falls into at most 32 of a repetition's cells. Without a final projection only
these need be multiplied, and only these parts of a document's encoding read.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ...contracts import Array, Float32Array, Int64Array
from ...errors import InputError
from ..bm25.lanes import pointer
from .eights import dot_of_blocks
from .settings import Fde


class SparseQueries(NamedTuple):
    """The cells of queries that are not empty, query after query.

    ``cells``: (m,) int64, repetition * 2^k_sim + cell, ascending within a query; ``values``: (m,
    width) float32; ``starts``: (n_queries + 1,) int64.
    """

    cells: Int64Array
    values: Float32Array
    starts: Int64Array

    @property
    def width(self) -> int:
        """Numbers of a cell."""
        return int(self.values.shape[1])


def sparse(fde: Fde, encodings: Float32Array) -> SparseQueries:
    """The cells of query encodings (n_queries, full_size) that hold anything but zeros."""
    if fde.d_final is not None:
        raise InputError(
            f"a final projection to {fde.d_final} leaves no cell empty; leave d_final None",
            field="d_final",
        )
    cells = encodings.reshape(len(encodings), fde.r_reps * fde.cells, fde.width)
    numbers, where = np.nonzero(cells.any(axis=2))
    starts = np.zeros(len(encodings) + 1, np.int64)
    np.cumsum(np.bincount(numbers, minlength=len(encodings)), out=starts[1:])
    return SparseQueries(where.astype(np.int64), cells[numbers, where], starts)


def score_sparse(
    queries: SparseQueries, encodings: Array, scales: Float32Array | None = None
) -> Float32Array:
    """Inner products with document encodings: (n_queries, n_documents) float32.

    ``encodings``: (n_documents, full_size) float32, or int8 with ``scales`` (n_documents,) float32.
    Sums are float32 or wider, in an order that only a query's cells decide: not the batch.
    """
    size = encodings.shape[1]
    if len(queries.cells) and int(queries.cells.max() + 1) * queries.width > size:
        raise InputError(
            f"the queries' cells reach beyond encodings of {size} numbers", field="encodings"
        )
    if (encodings.dtype == np.int8) != (scales is not None) or str(encodings.dtype) not in (
        "float32",
        "int8",
    ):
        raise InputError(
            f"float32 encodings, or int8 with a scale each; got {encodings.dtype}",
            field="encodings",
        )
    scores = np.zeros((len(queries.starts) - 1, len(encodings)), np.float32)
    held = np.ones(len(encodings), np.float32) if scales is None else scales
    documents = np.ascontiguousarray(encodings)
    if queries.width % 8:
        _score_any(queries.cells, queries.values, queries.starts, documents, held, scores)
        return scores
    blocks = queries.width // 8
    offsets = queries.cells[:, None] * queries.width + 8 * np.arange(blocks)
    _score_blocks(
        offsets.ravel(), queries.values.ravel(), queries.starts * blocks, documents, held, scores
    )
    return scores


@njit(nogil=True, cache=True)
def _score_blocks(
    offsets: Int64Array,
    values: Float32Array,
    starts: Int64Array,
    encodings: Array,
    scales: Float32Array,
    scores: Float32Array,
) -> None:
    n, size = encodings.shape
    places, numbers, held = pointer(offsets, 0), pointer(values, 0), pointer(encodings, 0)
    for document in range(n):
        for query in range(len(starts) - 1):
            total = dot_of_blocks(
                places, numbers, starts[query], starts[query + 1], held, document * size
            )
            scores[query, document] = total * np.float64(scales[document])


@njit(nogil=True, cache=True)
def _score_any(
    cells: Int64Array,
    values: Float32Array,
    starts: Int64Array,
    encodings: Array,
    scales: Float32Array,
    scores: Float32Array,
) -> None:
    """The same for cells of no whole blocks of eight, in float64."""
    width = values.shape[1]
    for document in range(encodings.shape[0]):
        for query in range(len(starts) - 1):
            total = 0.0
            for place in range(starts[query], starts[query + 1]):
                for i in range(width):
                    part = encodings[document, cells[place] * width + i]
                    total += np.float64(values[place, i]) * np.float64(part)
            scores[query, document] = total * np.float64(scales[document])
