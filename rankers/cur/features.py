"""What is known of a query's items: rows of a matrix that queries share, and columns of its own.

The estimates of a batch are one matrix product for all queries that share a matrix, so that it is
read once a round and never copied; or, where a query's items are few of its rows, a product with
those alone, some of them gathered at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import Int64Array
from .ledger import Float64Array

_FEW = 2
"""Up to so many times a query's items, a product with all rows costs less than gathering its own.
"""
_QUERIES_AT_ONCE = 64
_ROWS_AT_ONCE = 512
_BITS = 36


class Features(NamedTuple):
    """The vectors of ``n`` items: ``shared[places]``, and beside them ``own``.

    ``shared`` (n_shared, d) float64; ``places`` (n,), None for all in their order; ``own`` (n, e)
    float64, None for none.
    """

    shared: Float64Array
    places: Int64Array | None = None
    own: Float64Array | None = None

    @property
    def n(self) -> int:
        """How many items there are."""
        return len(self.shared) if self.places is None else len(self.places)

    @property
    def dim(self) -> int:
        """How long a vector is: d + e."""
        dim: int = self.shared.shape[1] + (0 if self.own is None else self.own.shape[1])
        return dim

    def rows(self, items: Int64Array) -> Float64Array:
        """The vectors of items: (m,) -> (m, dim)."""
        rows = self.shared[items if self.places is None else self.places[items]]
        return rows if self.own is None else np.hstack([rows, self.own[items]])


class Line(NamedTuple):
    """A query's estimates as a linear function: ``vectors . weights + offset``; weights (dim,)."""

    weights: Float64Array
    offset: float


def estimates(features: Sequence[Features], lines: Sequence[Line]) -> list[Float64Array]:
    """The estimates of every query's items, (n,) each.

    How a product is summed depends on where a row stands and on how many queries there are, which
    shows in its last digits. Those far behind float32's are dropped, so that copies of an item tie,
    and a query is answered as it would be alone: but for one value in thousands, at a step's edge,
    and more where the matrix is ill-conditioned.
    """
    found: list[Float64Array] = [np.zeros(0)] * len(features)
    groups: dict[int, list[int]] = {}
    for query, one in enumerate(features):
        if one.places is not None and len(one.shared) > _FEW * one.n:
            product = _gathered(one.shared, one.places, lines[query].weights)
            found[query] = _finished(product, one, lines[query])
        else:
            groups.setdefault(id(one.shared), []).append(query)
    for group in groups.values():
        shared = features[group[0]].shared
        for at in range(0, len(group), _QUERIES_AT_ONCE):
            block = group[at : at + _QUERIES_AT_ONCE]
            weights = np.array([lines[query].weights[: shared.shape[1]] for query in block])
            for query, product in zip(block, weights @ shared.T, strict=True):
                places = features[query].places
                values = product if places is None else product[places]
                found[query] = _finished(values, features[query], lines[query])
    return found


def _gathered(shared: Float64Array, places: Int64Array, weights: Float64Array) -> Float64Array:
    own = weights[: shared.shape[1]]
    parts = np.split(places, range(_ROWS_AT_ONCE, len(places), _ROWS_AT_ONCE))
    return np.concatenate([shared[part] @ own for part in parts])


def _finished(values: Float64Array, features: Features, line: Line) -> Float64Array:
    if features.own is not None:
        values = values + features.own @ line.weights[-features.own.shape[1] :]
    _, exponent = np.frexp(np.abs(values).max(initial=0.0))
    step = np.ldexp(1.0, int(exponent) - _BITS)
    finished: Float64Array = np.round(values / step) * step + line.offset
    return finished
