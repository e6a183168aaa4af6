"""Reading a mapped array ahead of use, and letting go of its pages afterwards.

A segment's arrays are files mapped into memory. What a search needs of them it names first: the
kernel reads all of it at once, in parallel and without threads (``MADV_WILLNEED``); then the search
copies it out and lets go of the pages, so that they do not stay in this process
(``MADV_DONTNEED``, which leaves them in the page cache as long as nobody needs the memory). So
free memory serves as a cache. A file that has become shorter is an error before it is touched.
Where there is no file (a tail in memory) or no ``madvise``, nothing here does anything.
Asynchronous O_DIRECT reads took as long for a page where they were tried, and are never a cache.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from ...contracts import Array, Int64Array
from ...errors import StorageError

_AHEAD = getattr(mmap, "MADV_WILLNEED", None)
_DONE = getattr(mmap, "MADV_DONTNEED", None)
_RANDOM = getattr(mmap, "MADV_RANDOM", None)


class Pages:
    """The pages under one contiguous array."""

    def __init__(self, array: Array) -> None:
        self._mapped: mmap.mmap | None = None
        self._first = 0
        owner: Any = array
        while owner is not None and not isinstance(owner, mmap.mmap):
            owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
        if owner is not None and array.nbytes and None not in (_AHEAD, _DONE, _RANDOM):
            start = np.frombuffer(owner, np.uint8).ctypes.data
            self._mapped = owner
            self._first = array.ctypes.data - start
            assert _RANDOM is not None
            owner.madvise(_RANDOM)
            self.drop_all()

    @property
    def mapped(self) -> bool:
        """Whether there is a file."""
        return self._mapped is not None

    def spans(self, firsts: Int64Array, sizes: Int64Array | int) -> list[tuple[int, int]]:
        """Pages, from, to, of stretches of bytes in ascending order; neighbours are joined."""
        if self._mapped is None or not len(firsts):
            return []
        page = mmap.PAGESIZE
        starts = (self._first + firsts) // page * page
        ends = -(-(self._first + firsts + sizes) // page) * page
        apart = np.flatnonzero(starts[1:] > np.maximum.accumulate(ends)[:-1])
        begins = np.concatenate([[0], apart + 1])
        lasts = np.maximum.reduceat(ends, begins)
        return list(zip(starts[begins].tolist(), lasts.tolist(), strict=True))

    def ahead(self, spans: list[tuple[int, int]]) -> None:
        """Begin to read pages."""
        if self._mapped is not None:
            for first, last in spans:
                self._mapped.madvise(_AHEAD or 0, first, last - first)

    def done(self, spans: list[tuple[int, int]]) -> None:
        """Let go of pages."""
        if self._mapped is not None:
            for first, last in spans:
                self._mapped.madvise(_DONE or 0, first, last - first)

    def check(self) -> None:
        """Refuse a file that was cut short since it was mapped; touching it would end the process.

        Raises :class:`~cormorant.errors.StorageError`.
        """
        if self._mapped is not None and self._mapped.size() < len(self._mapped):
            raise StorageError(
                f"a segment's file has {self._mapped.size():,} of its {len(self._mapped):,} bytes "
                "left: it was cut after it was opened; check the collection"
            )

    def drop_all(self) -> None:
        """Let go of every page."""
        if self._mapped is not None:
            self._mapped.madvise(_DONE or 0)
