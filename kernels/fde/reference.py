"""The specification: slow, obvious, in float64."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...vectors import TokenVectors
from ..maxsim.reference import document
from ..maxsim.tokens import Tokens
from . import settings
from .settings import TIE_BITS, Fde, dense_final, tie_factors

Float64Array = NDArray[np.float64]

hyperplanes = lru_cache(maxsize=128)(settings.hyperplanes)
inner = lru_cache(maxsize=128)(settings.inner)
sketch = lru_cache(maxsize=128)(settings.sketch)


def cells(fde: Fde, repetition: int, tokens: Float64Array, mean: Float32Array | None) -> Int64Array:
    """The cell of each token (n, dim): bit i is set where it lies above hyperplane i."""
    shifted = _shifted(tokens, mean)
    numbers: Int64Array = np.zeros(len(tokens), np.int64)
    for bit, normal in enumerate(hyperplanes(fde, repetition).astype(np.float64)):
        numbers += (((shifted * normal).sum(axis=1) > 0).astype(np.int64)) << bit
    return numbers


def ties(fde: Fde, tokens: Float64Array) -> Int64Array:
    """The number of each token (n, dim) that decides between equally near ones."""
    bits = tokens.astype(np.float32).view(np.int32).astype(np.int64)
    totals: Int64Array = (bits * tie_factors(fde)).sum(axis=1)  # modulo 2^64
    return (totals >> (64 - TIE_BITS)) & ((1 << TIE_BITS) - 1)


def fill(numbers: Int64Array, chances: Int64Array, cell: int) -> int:
    """The token whose cell differs from ``cell`` in the fewest bits; of several the least tie."""
    return min(
        range(len(numbers)),
        key=lambda token: ((int(numbers[token]) ^ cell).bit_count(), int(chances[token])),
    )


def documents(fde: Fde, tokens: Tokens, mean: Float32Array | None, filled: bool) -> Float64Array:
    """Encodings of documents: (n_documents, size)."""
    encodings = np.zeros((tokens.n_documents, fde.size))
    for place in range(tokens.n_documents):
        held = document(tokens, place)
        encodings[place] = _encode(fde, held, _shifted(held, mean), mean, True, filled)
    return encodings


def queries(fde: Fde, asked: TokenVectors, mean: Float32Array | None) -> Float64Array:
    """Encodings of queries: (n_queries, size)."""
    encodings = np.zeros((len(asked), fde.size))
    for number in range(len(asked)):
        held = asked.vectors[asked.starts[number] : asked.starts[number + 1]].astype(np.float64)
        encodings[number] = _encode(fde, held, held, mean, False, False)
    return encodings


def _shifted(tokens: Float64Array, mean: Float32Array | None) -> Float64Array:
    if mean is None:
        return tokens
    return (tokens.astype(np.float32) - mean).astype(np.float64)


def _encode(
    fde: Fde,
    hashed: Float64Array,
    values: Float64Array,
    mean: Float32Array | None,
    averaged: bool,
    filled: bool,
) -> Float64Array:
    full = np.zeros((fde.r_reps, fde.cells, fde.width))
    chances = ties(fde, values)
    for repetition in range(fde.r_reps if len(hashed) else 0):
        numbers = cells(fde, repetition, hashed, mean)
        projected = values
        if fde.d_proj is not None:
            projected = values @ inner(fde, repetition).astype(np.float64).T
        for cell in range(fde.cells):
            inside = projected[numbers == cell]
            if len(inside):
                full[repetition, cell] = inside.sum(axis=0) / (len(inside) if averaged else 1)
            elif filled:
                full[repetition, cell] = projected[fill(numbers, chances, cell)]
    if fde.d_final is None:
        return full.ravel()
    final = np.zeros(fde.d_final)
    for repetition in range(fde.r_reps):
        if fde.final == "dense":
            final += dense_final(fde, repetition).astype(np.float64) @ full[repetition].ravel()
        else:
            where = sketch(fde, repetition)
            np.add.at(final, where.places, where.signs * full[repetition].ravel())
    return final
