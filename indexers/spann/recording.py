"""Where a segment's arrays go while its lists are made of them."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import DTypeLike

from ...contracts import Array, ArraySink
from .rows import narrowest


class Recorded:
    """A sink that remembers its arrays, so that lists are made of what was written."""

    def __init__(self, sink: ArraySink) -> None:
        self.sink = sink
        self.arrays: dict[str, Array] = {}

    @property
    def lasting(self) -> bool:
        """Whether it is for files."""
        return self.sink.lasting

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array to fill in place."""
        self.arrays[name] = self.sink.create(name, dtype, shape)
        return self.arrays[name]

    def put(self, name: str, values: Array) -> None:
        """Write a whole array."""
        self.create(name, values.dtype, values.shape)[...] = values


class Narrowed(Recorded):
    """One whose ``vectors`` are kept in the narrowest numbers, where they are to have lists.

    ``sources``: vectors that are going to be copied.
    """

    def __init__(self, sink: ArraySink, list_rows: int, sources: Sequence[Array] = ()) -> None:
        super().__init__(sink)
        self._list_rows = list_rows
        self._sources = sources

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array to fill in place."""
        if name == "vectors" and self.lasting and shape[0] >= self._list_rows:
            dtype = narrowest(self._sources)
        return super().create(name, dtype, shape)

    def put(self, name: str, values: Array) -> None:
        """Write a whole array."""
        if name == "vectors":
            self._sources = [values]
        super().put(name, values)
