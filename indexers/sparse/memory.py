"""A place for arrays that are only looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from ...contracts import Array


class MemorySink:
    """An :class:`~cormorant.contracts.ArraySink` that keeps nothing."""

    lasting = False

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array."""
        return np.zeros(shape, dtype)

    def put(self, name: str, values: Array) -> None:
        """Nothing."""
