"""AXN's item vectors, and the query's vector found by regression on its exact scores.

Each item has a vector; a query's scores are ``vectors . u``, and ``u`` follows from the scores that
are known (Yadav et al., "Adaptive Retrieval and Scalable Indexing", ICLR 2024, equation 5). Here
the vectors are the leading factors of the anchor queries' scores, what the collection's own indexes
say (stored vectors, first-stage scores), and a constant; ``u`` has a normal prior, so that few
scores do not leave it undetermined: a ridge regression, where the paper interpolates with the dual
encoder's vector. The factors are scaled so that the prior's covariance of scores is that of the
anchor queries. How many factors and which ridge: what predicted held-out anchor queries best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xxhash

from ...contracts import BoolArray, Float32Array, Int64Array
from .decomposition import ROUNDING, Report
from .features import Features, Line
from .ledger import Float64Array

SideVectors = Callable[[Int64Array], Float32Array]
"""(places of items (m,)) -> (m, dim): stored vectors that help to tell items apart."""

DEFAULT_RIDGE = 0.1
EXACT_RIDGE = 0.0
_RIDGES = (EXACT_RIDGE, 0.03, 0.1, 0.3)
_RANKS = (10, 30, 100, 300)
_CONSTANT = 3.0
_EXACT = 1e-18
_HELD_OUT = 8
_OBSERVED = 150
_ITEMS = 1500
_REMEMBERED = 2
_KEPT_BYTES = 1 << 28
"""Of all item vectors remembered together: those of 600,000 rows by 50 anchor queries.

They stay while the process lives. Of a larger collection every search makes its own.
"""


class ItemVectors(NamedTuple):
    """``factors`` (n, r) float64 of the anchor scores with a constant; and what was held out.

    ``mean`` (n,): how the anchor queries score an item on average. ``alone``: anchors explain
    held-out rows exactly, so that nothing else is to be asked.
    """

    factors: Float64Array
    mean: Float64Array
    ridge: float
    rank: int
    held_out_error: float
    alone: bool


def without_anchors(n: int) -> ItemVectors:
    """A constant, for a collection that has no anchor scores."""
    return ItemVectors(
        np.full((n, 1), _CONSTANT), np.zeros(n), DEFAULT_RIDGE, 0, float("nan"), False
    )


def item_vectors(anchors: Float64Array, side: SideVectors | None) -> ItemVectors:
    """Item vectors from anchor scores (k_q, n), rank and ridge chosen on held-out rows.

    Those made last are remembered, under a digest of all that they are made of.
    """
    items = np.arange(0, anchors.shape[1], max(1, anchors.shape[1] // _ITEMS))
    extra = np.zeros((len(items), 0), np.float32) if side is None else side(items)
    key = _digest(anchors.T, extra)
    return _MADE.get(key) or _MADE.put(key, _item_vectors(anchors, extra))


class _Made:
    """The item vectors made last, the newest first."""

    def __init__(self) -> None:
        self._made: tuple[tuple[bytes, ItemVectors], ...] = ()

    def get(self, key: bytes) -> ItemVectors | None:
        return next((items for own, items in self._made if own == key), None)

    def put(self, key: bytes, items: ItemVectors) -> ItemVectors:
        kept, size = [], 0
        for own, made in ((key, items), *self._made[: _REMEMBERED - 1]):
            more = made.factors.nbytes + made.mean.nbytes
            if size + more <= _KEPT_BYTES:
                size += more
                kept.append((own, made))
        self._made = tuple(kept)
        return items


_MADE = _Made()


def _digest(*arrays: Float64Array | Float32Array) -> bytes:
    """Of shapes and values; no copy is made of an array that lies in one piece."""
    digest = xxhash.xxh3_128()
    for array in arrays:
        digest.update(f"{array.dtype}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.digest()


def _item_vectors(anchors: Float64Array, extra: Float32Array) -> ItemVectors:
    rows = standardised(anchors)
    n_rows, n = rows.shape
    rank, ridge, error = n_rows, DEFAULT_RIDGE, float("nan")
    if n_rows >= 4:
        rank, ridge, error = _chosen(rows, extra)
    factors, mean = _factors(rows, rank)
    return ItemVectors(
        np.hstack([factors, mean[:, None], np.full((n, 1), _CONSTANT)]),
        mean,
        ridge,
        min(rank, factors.shape[1]),
        error,
        ridge == EXACT_RIDGE and error <= _EXACT,
    )


def standardised(rows: Float64Array) -> Float64Array:
    """Each row less its mean, over its standard deviation; a constant row becomes zeros."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    tiny = deviation <= ROUNDING * np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    return np.where(tiny, 0.0, centred / np.where(tiny, 1.0, deviation))


class Regression:
    """One query's weights, found again as scores come in.

    ``ridge``: of the prior; ``EXACT_RIDGE`` means least squares. Inner products of what was scored
    before are kept.
    """

    def __init__(self, features: Features, ridge: float) -> None:
        self.features = features
        self._ridge = ridge
        self._known = np.zeros((0, features.dim))
        self._gram = np.zeros((0, 0))  # of items while they are fewer than dimensions

    def fit(self, items: Int64Array, values: Float64Array) -> tuple[Line, Report]:
        """From all items scored so far, (m,), those of before first, and their scores."""
        new = self.features.rows(items[len(self._known) :])
        if self._ridge > 0:
            self._gram = self._with(new)
        self._known = np.vstack([self._known, new])
        mean, deviation = float(values.mean()), float(values.std())
        if deviation <= ROUNDING * float(np.abs(values).max()):
            return Line(np.zeros(self.features.dim), mean), Report(0, 1.0, float("nan"))
        target = (values - mean) / deviation
        if self._ridge > 0:
            weights, report = self._ridge_weights(target)
        else:
            weights, report = _least_squares(self._known, target)
        return Line(weights * deviation, mean), report

    def _with(self, new: Float64Array) -> Float64Array:
        """The inner products when ``new`` rows have come, the ridge on the diagonal."""
        before, dim = self._known.shape
        m = before + len(new)
        if before > dim:
            return self._gram + new.T @ new
        known = np.vstack([self._known, new])
        if m > dim:
            gram = known.T @ known
            gram[np.diag_indices(dim)] += self._ridge
            return gram
        gram = np.empty((m, m))
        gram[:before, :before] = self._gram
        gram[before:] = new @ known.T
        gram[:before, before:] = gram[before:, :before].T
        gram[np.arange(before, m), np.arange(before, m)] += self._ridge
        return gram

    def _ridge_weights(self, target: Float64Array) -> tuple[Float64Array, Report]:
        m, dim = self._known.shape
        if m <= dim:
            weights = self._known.T @ np.linalg.solve(self._gram, target)
        else:
            weights = np.linalg.solve(self._gram, self._known.T @ target)
        # At least the largest eigenvalue: no decomposition is needed.
        largest = float(np.trace(self._gram))
        condition = float((largest / self._ridge) ** 0.5)
        return weights, Report(min(m, dim), condition, float("nan"))


def regressed(
    vectors: Float64Array, items: Int64Array, values: Float64Array, ridge: float
) -> tuple[Float64Array, Report]:
    """Scores of all items: vectors (n, d), items (m,), values (m,) -> (n,)."""
    line, report = Regression(Features(vectors), ridge).fit(items, values)
    return vectors @ line.weights + line.offset, report


def _least_squares(known: Float64Array, target: Float64Array) -> tuple[Float64Array, Report]:
    left, singular, right = np.linalg.svd(known, full_matrices=False)
    rank = int(np.count_nonzero(singular > ROUNDING * singular.max(initial=0.0)))
    weights = right[:rank].T @ ((left[:, :rank].T @ target) / singular[:rank])
    return weights, Report(rank, float(singular[0] / singular[rank - 1]), float("nan"))


def _factors(rows: Float64Array, rank: int) -> tuple[Float64Array, Float64Array]:
    """(n, r) with r at most ``rank`` and the numerical rank; and the mean row (n,)."""
    mean = rows.mean(axis=0)
    _, singular, right = np.linalg.svd(rows - mean, full_matrices=False)
    usable = int(np.count_nonzero(singular > ROUNDING * max(singular.max(initial=0.0), 1e-300)))
    kept = min(rank, usable)
    scale = singular[:kept] / np.sqrt(len(rows))
    return right[:kept].T * scale, mean


def _chosen(rows: Float64Array, side: Float32Array) -> tuple[int, float, float]:
    """(rank, ridge, relative error), best at predicting held-out rows from some of their scores.

    ``side``: the side vectors of the items that are looked at. Half of the scores shown are a row's
    highest, as a search would have found them.
    """
    n_rows, n = rows.shape
    items = np.arange(0, n, max(1, n // _ITEMS))
    held = np.arange(0, n_rows, max(2, n_rows // _HELD_OUT))
    kept = np.setdiff1d(np.arange(n_rows), held)
    sample = rows[np.ix_(held, items)]
    shown = max(2, min(_OBSERVED, len(items) // 2))
    best = (n_rows, DEFAULT_RIDGE, float("inf"))
    extra = centred(side)
    for rank in sorted({min(rank, len(kept)) for rank in _RANKS}):
        factors, mean = _factors(rows[kept][:, items], rank)
        plain = np.hstack([factors, mean[:, None], np.full((len(items), 1), _CONSTANT)])
        whole = np.hstack([plain, extra])
        for ridge in _RIDGES:
            vectors = plain if ridge == EXACT_RIDGE else whole
            if ridge == EXACT_RIDGE and plain.shape[1] > shown:
                continue
            errors = [_error(vectors, row, shown, ridge) for row in sample]
            error = float(np.mean(errors))
            if error < best[2] * 0.999:
                best = (rank, ridge, error)
    # All rows together may carry more directions than the rows that were kept.
    return (n_rows if best[2] <= _EXACT else best[0]), best[1], best[2]


def _error(vectors: Float64Array, row: Float64Array, shown: int, ridge: float) -> float:
    order = np.argsort(-row, kind="stable")
    top = order[: shown // 2]
    rest = order[shown // 2 :]
    items = np.concatenate([top, rest[:: max(1, len(rest) // (shown - len(top)))]])[:shown]
    unknown = np.setdiff1d(np.arange(len(row)), items)
    if not len(unknown) or row[unknown].std() == 0:
        return 0.0
    guessed, _ = regressed(vectors, items, row[items], ridge)
    return float(((guessed - row)[unknown] ** 2).mean() / row[unknown].var())


def centred(vectors: Float32Array) -> Float64Array:
    """Side vectors less their mean, scaled to a length of 1 on average; missing (NaN): zeros."""
    there: BoolArray = np.asarray(np.isfinite(vectors).all(axis=1))
    values = vectors.astype(np.float64)
    values[~there] = 0.0
    if not there.any():
        return values
    values -= values.sum(axis=0) / np.count_nonzero(there)
    values[~there] = 0.0
    length = np.sqrt(np.vdot(values, values) / np.count_nonzero(there))
    if length > 0:
        values /= length
    return values
