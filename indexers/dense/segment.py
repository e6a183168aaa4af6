"""A dense segment: rows and their vectors, opened for searching."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Allowed, Array, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ..remembered import Remembered


class Passing(NamedTuple):
    """Which of a segment's places a search may find: (n,) bool, and how many; None: all of them."""

    mask: BoolArray | None
    size: int

    @property
    def places(self) -> Int64Array | None:
        """The places, (m,) int64, ascending; made whenever they are asked for."""
        return None if self.mask is None else np.flatnonzero(self.mask)


class DenseSegment:
    """Rows (n,) int64, vectors (n, dim) float32, and what an approximate search was built of."""

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject) -> None:
        self.arrays = arrays
        self.summary = summary
        self.rows: Int64Array = arrays["rows"]
        self.vectors: Float32Array = arrays["vectors"]
        self.cut: BoolArray = arrays["cut"]
        self._passing = Remembered[Passing]()
        self._kept: dict[str, Any] = {}
        self._lock = Lock()

    @property
    def largest_norm(self) -> float:
        """The length of the longest vector."""
        return float(self.summary["largest_norm"])

    def kept(self, what: str, make: Callable[[Float32Array], Any]) -> Any:
        """What ``make`` makes of the vectors, made when first asked for: a copy for a search."""
        with self._lock:
            if what not in self._kept:
                self._kept[what] = make(self.vectors)
            return self._kept[what]

    def places(self, rows: Int64Array) -> Int64Array:
        """Where rows are in this segment, -1 for those it does not hold; any shape."""
        if not len(self.rows):
            return np.full(rows.shape, -1, np.int64)
        if self.rows[-1] - self.rows[0] == len(self.rows) - 1:  # no gaps: a subtraction
            places = rows - self.rows[0]
            return np.where((places >= 0) & (places < len(self.rows)), places, -1)
        places = np.minimum(np.searchsorted(self.rows, rows), len(self.rows) - 1)
        return np.where(self.rows[places] == rows, places, -1)

    def vectors_at(self, places: Int64Array) -> Array:
        """The vectors of places: (n, dim), in the numbers they are kept in."""
        return self.vectors[places]

    def passing(self, allowed: Allowed) -> Passing:
        """The places that both masks let through; kept for the masks asked for last."""
        if allowed.visible is None and allowed.selected is None:
            return Passing(None, len(self.rows))
        known = self._passing.get(*allowed)
        if known is None:
            through = self._through(allowed)
            count = int(np.count_nonzero(through))
            known = Passing(None if count == len(through) else through, count)
            self._passing.put(known, *allowed)
        return known

    def _through(self, allowed: Allowed) -> BoolArray:
        through = np.ones(len(self.rows), np.bool_)
        for mask in allowed:
            if mask is not None:
                through &= mask[self.rows]
        return through
