"""Compressing texts, in numba, and the slow, obvious way back."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...contracts import Array, Float32Array, Int64Array
from .levels import LEVELS, ROUNDS, SHARE, STRETCH, n_centroids, packed_size

UInt8Array: TypeAlias = NDArray[np.uint8]


class Compressed(NamedTuple):
    """Texts, token after token.

    ``codes``: (n_tokens, bytes) uint8; ``scales``: (n_tokens,) float32; ``owners``: (n_tokens,)
    uint32, the number of a token's centroid among its text's own; ``centroids``: (n_centroids, dim)
    int8, text after text, with ``centroid_scales`` (n_centroids,) float32.
    """

    codes: UInt8Array
    scales: Float32Array
    owners: Array
    centroids: Array
    centroid_scales: Float32Array


def compress(vectors: Float32Array, starts: Int64Array, bits: int) -> Compressed:
    """Compress texts: vectors (n_tokens, dim) float32, finite, cut up by starts; bits 2 or 4."""
    n, dim = vectors.shape
    counts = n_centroids(np.diff(starts))
    begins = np.zeros(len(starts), np.int64)
    np.cumsum(counts, out=begins[1:])
    made = Compressed(
        np.zeros((n, packed_size(dim, bits)), np.uint8),
        np.zeros(n, np.float32),
        np.zeros(n, np.uint32),
        np.zeros((int(begins[-1]), dim), np.int8),
        np.zeros(int(begins[-1]), np.float32),
    )
    _compress(
        np.ascontiguousarray(vectors, np.float32), starts, begins, bits, LEVELS[bits],
        made.codes, made.scales, made.owners, made.centroids, made.centroid_scales,
    )  # fmt: skip
    return made


def expand(
    codes: Array,
    scales: Float32Array,
    owners: Array,
    centroids: Array,
    centroid_scales: Float32Array,
    bits: int,
) -> Float32Array:
    """The stored vectors: (n_tokens, dim) float32. ``owners`` number the rows of ``centroids``."""
    dim, each = centroids.shape[1], 8 // bits
    shifts = (bits * np.arange(each)).astype(np.uint8)
    levels = (np.asarray(codes)[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
    levels = levels.reshape(len(codes), codes.shape[1] * each)[:, :dim]
    held = np.asarray(centroids[owners], np.float32) * centroid_scales[owners][:, None]
    vectors: Float32Array = held + LEVELS[bits][levels] * np.asarray(scales)[:, None]
    return vectors


@njit(nogil=True, cache=True)
def _compress(
    vectors: Float32Array,
    starts: Int64Array,
    begins: Int64Array,
    bits: int,
    levels: Float32Array,
    codes: UInt8Array,
    scales: Float32Array,
    owners: Array,
    centroids: Array,
    centroid_scales: Float32Array,
) -> None:
    dim = vectors.shape[1]
    means = np.zeros((STRETCH // SHARE, dim), np.float64)
    left = np.zeros(dim, np.float64)
    for text in range(len(starts) - 1):
        base = begins[text]
        for first in range(starts[text], starts[text + 1], STRETCH):
            last = min(first + STRETCH, starts[text + 1])
            count = (last - first + SHARE - 1) // SHARE
            own = owners[first:last]
            _learn(vectors[first:last], count, means, own)
            for place in range(count):
                peak = np.abs(means[place]).max()
                scale = np.float32(peak / 127)
                centroid_scales[base + place] = scale
                for i in range(dim):
                    if scale > 0:
                        code = np.rint(means[place, i] / np.float64(scale))
                        centroids[base + place, i] = np.int8(min(127.0, max(-127.0, code)))
            for token in range(first, last):
                centre = base + owners[token]
                owners[token] += base - begins[text]
                for i in range(dim):
                    held = np.float32(centroids[centre, i]) * centroid_scales[centre]
                    left[i] = np.float64(vectors[token, i]) - np.float64(held)
                scales[token] = _code(left, bits, levels, codes[token])
            base += count


@njit(nogil=True, cache=True)
def _learn(vectors: Float32Array, count: int, means: Array, owners: Array) -> None:
    """Centroids of a stretch (``means``), and which of them each token is nearest to."""
    n, dim = vectors.shape
    for place in range(count):
        for i in range(dim):
            means[place, i] = vectors[place * n // count, i]
    _assign(vectors, count, means, owners)
    sizes = np.zeros(count, np.int64)
    for _ in range(ROUNDS):
        sizes[:] = 0
        for token in range(n):
            sizes[owners[token]] += 1
        for place in range(count):
            if sizes[place] > 0:
                means[place] = 0.0
        for token in range(n):
            place = owners[token]
            for i in range(dim):
                means[place, i] += np.float64(vectors[token, i])
        for place in range(count):
            if sizes[place] > 0:
                means[place] /= sizes[place]
        _assign(vectors, count, means, owners)


@njit(nogil=True, cache=True)
def _assign(vectors: Float32Array, count: int, means: Array, owners: Array) -> None:
    for token in range(len(vectors)):
        nearest = np.inf
        for place in range(count):
            distance = 0.0
            for i in range(vectors.shape[1]):
                apart = np.float64(vectors[token, i]) - means[place, i]
                distance += apart * apart
            if distance < nearest:
                nearest = distance
                owners[token] = place


@njit(nogil=True, cache=True)
def _code(left: Array, bits: int, levels: Float32Array, codes: UInt8Array) -> np.float32:
    """Write the codes of what is left of a token; returns its scale."""
    dim = len(left)
    spread = np.sqrt((left * left).mean())
    if spread == 0.0:
        return np.float32(0.0)
    both, square = 0.0, 0.0
    for i in range(dim):
        code = 0
        while (
            code + 1 < len(levels)
            and left[i] / spread > (np.float64(levels[code]) + np.float64(levels[code + 1])) / 2
        ):
            code += 1
        both += left[i] * np.float64(levels[code])
        square += np.float64(levels[code]) * np.float64(levels[code])
        bit = i * bits
        codes[bit // 8] |= np.uint8(code << (bit % 8))
    return np.float32(both / square)
