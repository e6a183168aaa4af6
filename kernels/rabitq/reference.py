"""The specification: slow, obvious, in float64."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array
from .layout import HEAD_BYTES, WORD


class Record(NamedTuple):
    """What a record of n codes holds; ``points`` (n, dim) are the grid's points."""

    steps: NDArray[np.float64]
    squares: NDArray[np.float64]
    spreads: NDArray[np.float64]
    points: NDArray[np.float64]


def read(record: NDArray[np.uint8], n: int, dim: int, bits: int) -> Record:
    """A record taken apart."""
    heads = [record[4 * i * n : 4 * (i + 1) * n].view(np.float32).astype(float) for i in (1, 2, 3)]
    words = record[HEAD_BYTES * n :].view(np.uint64).reshape(n, bits, dim // WORD, 1)
    planes: NDArray[Any] = (words >> np.arange(WORD, dtype=np.uint64)) & np.uint64(1)
    levels = (planes.reshape(n, bits, dim) << np.arange(bits, dtype=np.uint64)[:, None]).sum(axis=1)
    return Record(heads[0], heads[1], heads[2], levels.astype(float) - (2**bits - 1) / 2)


def estimate(
    record: NDArray[np.uint8], n: int, bits: int, query: Float32Array
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(squared distances, spreads), with the query as it is, not rounded."""
    held = read(record, n, len(query), bits)
    asked = query.astype(float)
    inner = held.steps * (held.points @ asked)
    length = np.sqrt(asked @ asked)
    return held.squares + asked @ asked - 2 * inner, held.spreads * length


def rotated(vectors: Float32Array, signs: Float32Array) -> NDArray[np.float64]:
    """The rotation as a product of matrices."""
    dim = signs.shape[1]
    size = 1 << (dim.bit_length() - 1)
    transform = np.ones((1, 1))
    while len(transform) < size:
        transform = np.block([[transform, transform], [transform, -transform]])
    result = vectors.astype(float)
    for number, own in enumerate(signs.astype(float)):
        first = 0 if number % 2 == 0 else dim - size
        result = result * own
        part = result[:, first : first + size] @ transform / np.sqrt(size)
        result = np.concatenate([result[:, :first], part, result[:, first + size :]], axis=1)
    return result
