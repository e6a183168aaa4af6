"""Scores of all items from the scores of a few: a CUR decomposition over the anchor queries.

``anchors`` holds the exact scores of ``k_q`` anchor queries for all ``n`` items. A new query, whose
scores of some items are known, is written as a combination of anchor queries that agrees there, and
the combination says the rest: ``scores = known . pinv(anchors[:, items]) . anchors`` (Yadav et al.,
"ANNCUR", EMNLP 2022, section 3). The pseudo-inverse with all singular values above rounding, which
the published code takes, blows up on near copies among items or queries. Here it has the rank that
predicted rows of ``anchors`` best that were held out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ...contracts import Int64Array
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


def estimates(
    anchors: Float64Array, items: Int64Array, values: Float64Array
) -> tuple[Float64Array, Report]:
    """Scores of all items: anchors (k_q, n), items (m,), values (m,) -> (n,)."""
    rank, error = best_rank(anchors, items)
    left, singular, right = np.linalg.svd(anchors[:, items], full_matrices=False)
    rank = min(rank, int(np.count_nonzero(singular > ROUNDING * singular.max(initial=0.0))))
    if rank == 0:
        return np.zeros(anchors.shape[1]), Report(0, 1.0, error)
    weights = left[:, :rank] @ ((right[:rank] @ values) / singular[:rank])
    return weights @ anchors, Report(rank, float(singular[0] / singular[rank - 1]), error)


def best_rank(anchors: Float64Array, items: Int64Array) -> tuple[int, float]:
    """The rank that predicts held-out anchor queries best from ``items``, and its relative error.

    Of ranks that are equally good the least.
    """
    n_rows, n = anchors.shape
    full = min(n_rows, len(items))
    if n_rows < 2 or full == 0:
        return full, float("nan")
    held = np.arange(0, n_rows, _HELD_OUT)
    kept = np.setdiff1d(np.arange(n_rows), held)
    unknown = np.setdiff1d(np.arange(n), items)
    if not len(kept) or not len(unknown):
        return full, float("nan")
    unknown = unknown[:: max(1, len(unknown) // _ITEMS)]
    left, singular, right = np.linalg.svd(anchors[np.ix_(kept, items)], full_matrices=False)
    usable = int(np.count_nonzero(singular > ROUNDING * singular.max(initial=0.0)))
    truth = anchors[np.ix_(held, unknown)]
    known = anchors[np.ix_(held, items)]
    spread = float(((truth - truth.mean(axis=1, keepdims=True)) ** 2).mean())
    spread = spread or float((truth**2).mean()) or 1.0
    coefficients = (known @ right[:usable].T) / singular[:usable]
    bases = left[:, :usable].T @ anchors[np.ix_(kept, unknown)]
    predicted = np.zeros_like(truth)
    errors = np.empty(usable)
    for rank in range(usable):
        predicted += np.outer(coefficients[:, rank], bases[rank])
        errors[rank] = ((predicted - truth) ** 2).mean() / spread
    if not usable:
        return 0, 1.0
    good = errors <= max(errors.min() * _NOT_WORSE, 1e-20)
    rank = int(np.argmax(good)) + 1
    # All rows together may carry one more direction than the rows that were kept.
    return (full if errors[rank - 1] <= 1e-20 else rank), float(errors[rank - 1])
