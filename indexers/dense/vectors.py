"""Vectors at the edge: checked once, normalised once, packed for the catalog.

An encoding is the vector's float32 numbers, little-endian, and one byte that says whether the text
was cut to fit the model's window.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ...contracts import Array, BoolArray, Float32Array
from ...errors import InputError

_SMALLEST_NORM = 1e-30
_BLOCK = 4096
_LARGEST = 1e15  # so that no inner product overflows float32


def checked(
    vectors: Array,
    dim: int | None,
    similarity: str,
    what: str,
    named: Callable[[int], str] = "vector {}".format,
) -> Float32Array:
    """(n, dim) float32, finite; of length 1 where the similarity is the cosine.

    Raises :class:`~cormorant.errors.InputError`, naming the first row that cannot be used: NaN,
    infinite, too large, or of length zero where it has to be normalised. ``named`` names a row.
    """
    if vectors.ndim != 2 or (dim is not None and vectors.shape[1] != dim) or not vectors.shape[1]:
        raise InputError(
            f"this index holds vectors of {dim or 'some'} numbers, got an array {vectors.shape}",
            field=what,
        )
    with np.errstate(over="ignore"):  # becomes infinity, which is refused below
        values: Float32Array = np.array(vectors, np.float32, order="C")
    squares = np.einsum("nd,nd->n", values, values, dtype=np.float64)
    if not squares.max(initial=0.0) <= _LARGEST**2:  # else no number is too large, or NaN
        bad = ~(np.abs(values) <= _LARGEST).all(axis=1)
        if bad.any():
            row = int(np.flatnonzero(bad)[0])
            raise InputError(
                f"{named(row)} has NaN, infinity or a number beyond {_LARGEST:.0e}", field=what
            )
    if similarity == "cosine":
        norms = np.sqrt(squares)
        if norms.min(initial=1.0) < _SMALLEST_NORM:
            row = int(np.flatnonzero(norms < _SMALLEST_NORM)[0])
            raise InputError(
                f"{named(row)} is zero, which has no direction to compare; leave the document out "
                "of this collection, or use similarity='dot'",
                field=what,
            )
        values = (values / norms[:, None]).astype(np.float32)
    return values


def pack(vectors: Float32Array, cut: BoolArray) -> list[bytes]:
    """One encoding a vector."""
    packed = np.empty((len(vectors), vectors.shape[1] * 4 + 1), np.uint8)
    packed[:, :-1] = np.ascontiguousarray(vectors, "<f4").view(np.uint8)
    packed[:, -1] = cut
    return [row.tobytes() for row in packed]


def unpack(encodings: Sequence[bytes]) -> tuple[Float32Array, BoolArray]:
    """(vectors (n, dim), cut (n,)) of n encodings of one length."""
    if not encodings:
        return np.zeros((0, 0), np.float32), np.zeros(0, np.bool_)
    n, size = len(encodings), len(encodings[0])
    vectors, cut = np.empty((n, size // 4), np.float32), np.empty(n, np.bool_)
    for first in range(0, n, _BLOCK):
        block = np.frombuffer(b"".join(encodings[first : first + _BLOCK]), np.uint8)
        packed = block.reshape(-1, size)
        vectors[first : first + _BLOCK] = np.ascontiguousarray(packed[:, :-1]).view("<f4")
        cut[first : first + _BLOCK] = packed[:, -1] != 0
    return vectors, cut
