"""Encodings of documents in fewer bytes, scored against queries in float32.

Either a byte a number, with one scale for each document; or a product quantiser (Jegou et al.,
"Product Quantization for Nearest Neighbor Search", 2011): numbers in groups, each group a byte that
names one of 256 centroids. The query is never quantised.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import numba
import numpy as np
from numba import njit
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from ..maxsim.cpu import run, shares
from .tables import BLOCK, FOUR, LANES, fill_tables, look_up

UInt8Array: TypeAlias = NDArray[np.uint8]
Int8Array: TypeAlias = NDArray[np.int8]

CENTROIDS = 256
MOST_GROUPS = 1 << 12
"""Groups whose tables, of sixteen queries 64 MiB, are made side by side; of more, one by one."""


class Bytes(NamedTuple):
    """Codes (n, size) int8 and scales (n,) float32: about ``codes * scales[:, None]``."""

    codes: Int8Array
    scales: Float32Array


class Product(NamedTuple):
    """A trained product quantiser: centroids (n_groups, 256, group) float32."""

    centroids: Float32Array

    def encode(self, encodings: Float32Array) -> UInt8Array:
        """The nearest centroid of each group, of several the first: (n, n_groups) uint8."""
        groups, _, group = self.centroids.shape
        if encodings.shape[1] != groups * group:
            raise InputError(
                f"the quantiser is for {groups * group} numbers, got {encodings.shape[1]}",
                field="encodings",
            )
        codes = np.empty((len(encodings), groups), np.uint8)
        _encode(np.ascontiguousarray(encodings, np.float32), self._across(), codes)
        return codes

    def decode(self, codes: UInt8Array) -> Float32Array:
        """The encodings that codes stand for: (n, size) float32."""
        groups, _, group = self.centroids.shape
        picked = self.centroids[np.arange(groups), codes]
        return picked.reshape(len(codes), groups * group)

    def _across(self) -> Float32Array:
        """Centroids with the numbers of one dimension side by side: (n_groups, group, 256)."""
        return np.ascontiguousarray(self.centroids.transpose(0, 2, 1))


def as_bytes(encodings: Float32Array) -> Bytes:
    """Round encodings (n, size) to a byte a number; a scale is the greatest magnitude / 127."""
    peaks = np.abs(encodings).max(axis=1, initial=0.0)
    scales = (peaks / 127).astype(np.float32)
    divisors = np.where(scales > 0, scales, 1).astype(np.float32)
    codes = np.clip(np.rint(encodings / divisors[:, None]), -127, 127).astype(np.int8)
    return Bytes(codes, scales)


def product_quantiser(
    sample: Float32Array, group: int = 8, *, rounds: int = 10, seed: int = 0
) -> Product:
    """Train a quantiser on encodings (n, size), in groups of so many numbers, by Lloyd's rounds.

    A group starts from 256 of the sample's rows, drawn by ``seed``. Raises InputError where the
    size is no multiple of the group or the sample has fewer than 256 rows.
    """
    n, size = sample.shape
    if group < 1 or size % group:
        raise InputError(f"{size} numbers are no whole groups of {group}", field="group")
    if n < CENTROIDS:
        raise InputError(
            f"256 centroids need 256 encodings or more to learn from, got {n}", field="sample"
        )
    rows = np.random.Generator(np.random.Philox(seed)).permutation(n)[:CENTROIDS]
    held = np.ascontiguousarray(sample, np.float32)
    across = np.ascontiguousarray(
        held[rows].reshape(CENTROIDS, size // group, group).transpose(1, 2, 0)
    )
    codes = np.empty((n, size // group), np.uint8)
    for _ in range(rounds):
        _encode(held, across, codes)
        _move(held, codes, across)
    return Product(np.ascontiguousarray(across.transpose(0, 2, 1)))


def score_product(
    queries: Float32Array, product: Product, codes: UInt8Array, *, threads: int | None = None
) -> Float32Array:
    """Inner products of queries (n_queries, size) with coded documents: float32.

    Queries' inner products with all centroids are tabled, sixteen queries side by side; groups
    where these are zero, cells they do not touch, are skipped. Sums are float32 in the order of the
    groups, the same bits in any batch and by any number of ``threads`` (None: as many as numba may
    use).
    """
    groups, _, group = product.centroids.shape
    if queries.shape[1] != groups * group or codes.shape[1] != groups:
        raise InputError(
            f"the quantiser is for {groups * group} numbers in {groups} groups, got queries of "
            f"{queries.shape[1]} and codes of {codes.shape[1]}",
            field="queries",
        )
    if threads is not None and threads < 1:
        raise InputError(f"threads are 1 or more, got {threads}", field="threads")
    scores = np.zeros((len(queries), len(codes)), np.float32)
    held, centroids = np.ascontiguousarray(codes), np.ascontiguousarray(product.centroids)
    cuts = shares(len(held), numba.get_num_threads() if threads is None else threads)
    together = LANES if groups <= MOST_GROUPS else 1
    for first in range(0, len(queries), together):
        some = np.ascontiguousarray(queries[first : first + together], np.float32)
        touched = np.flatnonzero(some.reshape(-1, groups, group).any(axis=(0, 2)))
        columns = np.zeros(-(-len(touched) // FOUR) * FOUR, np.int64)
        columns[: len(touched)] = touched  # and tables of zeros to whole fours
        lanes = 1 if len(some) == 1 else LANES
        tables = np.zeros((len(columns), CENTROIDS, lanes), np.float32)
        wide = np.zeros((groups * group, lanes), np.float32)
        wide[:, : len(some)] = some.T
        fill_tables(touched, centroids, wide, tables)
        out = scores[first : first + len(some)]

        def task(
            begin: int,
            end: int,
            columns: Int64Array = columns,
            tables: Float32Array = tables,
            out: Float32Array = out,
        ) -> Callable[[], None]:
            sums = np.empty(BLOCK * tables.shape[2], np.float32)
            return lambda: look_up(columns, tables, held, begin, end, sums, out)

        run([task(begin, end) for begin, end in cuts])
    return scores


@njit(nogil=True, cache=True)
def _encode(encodings: Float32Array, across: Float32Array, codes: UInt8Array) -> None:
    """Nearest centroids, by least |c|^2 - 2 <x, c>."""
    n_groups, group, n_centroids = across.shape
    squares = np.empty(n_centroids, np.float32)
    distances = np.empty(n_centroids, np.float32)
    for place in range(n_groups):
        squares[:] = 0
        for i in range(group):
            for c in range(n_centroids):
                squares[c] += across[place, i, c] * across[place, i, c]
        for row in range(len(encodings)):
            distances[:] = squares
            for i in range(group):
                twice = np.float32(2.0) * encodings[row, place * group + i]
                for c in range(n_centroids):
                    distances[c] -= twice * across[place, i, c]
            best = 0
            for c in range(1, n_centroids):
                if distances[c] < distances[best]:
                    best = c
            codes[row, place] = best


@njit(nogil=True, cache=True)
def _move(encodings: Float32Array, codes: UInt8Array, across: Float32Array) -> None:
    """Each centroid to the mean of what is nearest to it; one that nothing is near to stays."""
    n_groups, group, n_centroids = across.shape
    sums = np.empty((group, n_centroids), np.float64)
    counts = np.empty(n_centroids, np.int64)
    for place in range(n_groups):
        sums[:] = 0
        counts[:] = 0
        for row in range(len(encodings)):
            code = codes[row, place]
            counts[code] += 1
            for i in range(group):
                sums[i, code] += np.float64(encodings[row, place * group + i])
        for c in range(n_centroids):
            if counts[c] > 0:
                for i in range(group):
                    across[place, i, c] = sums[i, c] / counts[c]
