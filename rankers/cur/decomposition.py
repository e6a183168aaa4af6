"""Scores of all items from the scores of a few: a CUR decomposition over the anchor queries.

``anchors`` holds the exact scores of ``k_q`` anchor queries for all ``n`` items. A new query, whose
scores of some items are known, is written as a combination of anchor queries that agrees there, and
the combination says the rest: ``scores = known . pinv(anchors[:, items]) . anchors`` (Yadav et al.,
"ANNCUR", EMNLP 2022, section 3). The pseudo-inverse with all singular values above rounding, which
the published code takes, blows up on near copies among items or queries. Here it has the rank that
predicted rows of ``anchors`` best that were held out.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np

from ...contracts import BoolArray, Int64Array
from .features import Features, Line
from .ledger import Float64Array

ROUNDING = 1e-10
"""Singular values below this share of the largest are rounding."""
_HELD_OUT = 5  # one row of so many
_ITEMS = 512
_NOT_WORSE = 1.0001


class Report(NamedTuple):
    """How well posed an estimate was.

    ``rank``: singular values kept; ``condition``: the largest over the smallest of them.
    ``held_out_error``: mean squared error on rows that were held out, over their mean square about
    their own means; NaN where there were too few rows to hold one out.
    """

    rank: int
    condition: float
    held_out_error: float


class Decomposition:
    """One query's combination of anchor queries, found again as scores come in.

    ``features``: the columns of ``anchors``, an item each. What was scored is kept as the triangle
    of a QR decomposition, so that a round costs no more when much was scored before.
    """

    def __init__(self, features: Features) -> None:
        self.features = features
        n_rows = features.dim
        self._n_held = len(range(0, n_rows, _HELD_OUT)) if n_rows > 1 else 0
        held = np.arange(n_rows) % _HELD_OUT == 0
        self._order = np.argsort(held, kind="stable") if self._n_held else np.arange(n_rows)
        self._triangle = np.zeros((0, n_rows + 1))  # of the columns kept, held out, and the scores
        self._asked: BoolArray = np.zeros(features.n, np.bool_)
        self._n_items = 0

    def fit(self, items: Int64Array, values: Float64Array) -> tuple[Line, Report]:
        """From all items scored so far, (m,), those of before first, and their scores."""
        new = slice(self._n_items, None)
        rows = self.features.rows(items[new])[:, self._order]
        stacked = np.vstack([self._triangle, np.column_stack([rows, values[new]])])
        self._triangle = cast(Float64Array, np.linalg.qr(stacked, mode="r"))
        self._asked[items[new]] = True
        self._n_items = len(items)
        n_rows = len(self._order)
        rank, error = self._best_rank()
        known = self._triangle[:n_rows]
        left, singular, right = np.linalg.svd(known[:, :n_rows].T, full_matrices=False)
        rank = min(rank, _usable(singular))
        weights = np.zeros(n_rows)
        if rank == 0:
            return Line(weights, 0.0), Report(0, 1.0, error)
        weights[self._order] = left[:, :rank] @ ((right[:rank] @ known[:, -1]) / singular[:rank])
        return Line(weights, 0.0), Report(rank, float(singular[0] / singular[rank - 1]), error)

    def _best_rank(self) -> tuple[int, float]:
        """The rank that predicts held-out anchor queries best, and its relative error.

        Of ranks that are equally good the least.
        """
        n_rows = len(self._order)
        full = min(n_rows, self._n_items)
        n_kept = n_rows - self._n_held
        unknown = np.flatnonzero(~self._asked)
        if not self._n_held or not n_kept or not full or not len(unknown):
            return full, float("nan")
        unknown = unknown[:: max(1, len(unknown) // _ITEMS)]
        triangle = self._triangle[:n_kept]
        left, singular, right = np.linalg.svd(triangle[:, :n_kept].T, full_matrices=False)
        usable = _usable(singular)
        if not usable:
            return 0, 1.0
        others = self.features.rows(unknown).T[self._order]
        truth = np.ascontiguousarray(others[n_kept:])
        spread = float(((truth - truth.mean(axis=1, keepdims=True)) ** 2).mean())
        spread = spread or float((truth**2).mean()) or 1.0
        held = triangle[:, n_kept:n_rows].T
        coefficients = (held @ right[:usable].T) / singular[:usable]
        bases = left[:, :usable].T @ others[:n_kept]
        errors = np.empty(usable)
        short, step = truth, np.empty_like(truth)  # what a rank does not explain yet
        for rank in range(usable):
            np.multiply(coefficients[:, rank, None], bases[rank], out=step)
            short -= step
            errors[rank] = np.vdot(short, short)
        errors /= truth.size * spread
        good = errors <= max(errors.min() * _NOT_WORSE, 1e-20)
        rank = int(np.argmax(good)) + 1
        # All rows together may carry one more direction than the rows that were kept.
        return (full if errors[rank - 1] <= 1e-20 else rank), float(errors[rank - 1])


def _usable(singular: Float64Array) -> int:
    return int(np.count_nonzero(singular > ROUNDING * singular.max(initial=0.0)))


def estimates(
    anchors: Float64Array, items: Int64Array, values: Float64Array
) -> tuple[Float64Array, Report]:
    """Scores of all items: anchors (k_q, n), items (m,), values (m,) -> (n,)."""
    line, report = Decomposition(Features(anchors.T)).fit(items, values)
    return line.weights @ anchors, report
