"""Reading a mapped array ahead of use, and letting go of its pages afterwards.

A segment's arrays are files mapped into memory. What a search needs of them it names first: the
kernel reads all of it at once, in parallel and without threads (``MADV_WILLNEED``). Vectors are
then copied out of the page cache (``pread``), which tells of a disk that fails and of a file that
ends too soon, where touching a mapped page would end the process. Lists are waited for
(``MADV_POPULATE_READ``, which tells of the same), looked at where they are, and let go of, so that
they do not stay in this process (``MADV_DONTNEED``); so is a file all of whose vectors are
compared. Either way what was read stays in the page cache as long as nobody needs the memory: free
memory serves as a cache.

A disk answers so many requests a second, and one of 32 KB takes little longer than one of 4 KB: 4,
32 and 64 KB took 89, 138 and 169 microseconds each with eight waiting. So stretches that lie near
each other are read as one.

Where there is no file (a tail in memory) or no ``madvise``, only the copying is done. Where the
kernel cannot wait (before Linux 5.14, macOS), pages are copied before they are looked at, and the
copy is thrown away.
Asynchronous O_DIRECT reads took as long for a page where they were tried, and are never a cache.
"""

from __future__ import annotations

import errno
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Array, Int64Array
from ...errors import StorageError
from ...kernels.lists.disk import advise, begin, joined, read

_AHEAD = getattr(mmap, "MADV_WILLNEED", None)
_DONE = getattr(mmap, "MADV_DONTNEED", None)
_RANDOM = getattr(mmap, "MADV_RANDOM", None)
_IN_ORDER = getattr(mmap, "MADV_NORMAL", None)
_WAIT = 22
"""``MADV_POPULATE_READ`` of Linux, which Python does not name."""
_BLOCK = 1 << 20
"""Bytes copied at once where the kernel cannot wait for them."""
_GAP = 32 * 1024
"""Bytes between two stretches that are rather read than left out."""


class Pages:
    """The pages under one contiguous array; ``copied``: which may be read from its file, too."""

    def __init__(self, array: Array, *, copied: bool = False) -> None:
        self._mapped: mmap.mmap | None = None
        self._start = 0
        self._first = 0
        self._waits = False
        self._array = array
        self._file = -1
        self._polled = False
        owner: Any = array
        while owner is not None and not isinstance(owner, mmap.mmap):
            owner = owner.obj if isinstance(owner, memoryview) else getattr(owner, "base", None)
        if owner is not None and array.nbytes and None not in (_AHEAD, _DONE, _RANDOM):
            self._mapped = owner
            self._start = np.frombuffer(owner, np.uint8).ctypes.data
            self._first = array.ctypes.data - self._start
            assert _RANDOM is not None
            owner.madvise(_RANDOM)
            self._waits = _can_wait(owner)
            self.drop_all()
        identity = getattr(self._mapped, "identity", None)
        if copied and identity is not None and hasattr(os, "pread"):
            self._file = _opened(owner.path, identity)
            self._polled = _can_poll(self._file)
            weakref.finalize(self, os.close, self._file)

    @property
    def mapped(self) -> bool:
        """Whether there is a file."""
        return self._mapped is not None

    def spans(self, firsts: Int64Array, sizes: Int64Array | int) -> Int64Array:
        """Pages, from, to, (m, 2), of n stretches of bytes in ascending order.

        Stretches that overlap or lie near each other are joined.
        """
        if self._mapped is None or not len(firsts):
            return np.empty((0, 2), np.int64)
        starts = self._first + firsts
        found: Int64Array = joined(starts, starts + sizes, mmap.PAGESIZE, _GAP)
        return found

    def begin(self, numbers: Int64Array) -> int:
        """Begin to read rows of the array (m, dim); returns the bytes of the pages they lie in."""
        if self._mapped is None or not len(numbers):
            return 0
        size = self._array.strides[0]
        told: int = begin(self._start, self._first, size, numbers, mmap.PAGESIZE, _GAP, _AHEAD or 0)
        return told

    def ahead(self, spans: Int64Array) -> None:
        """Begin to read pages."""
        if len(spans):
            advise(self._start, spans, _AHEAD)

    def wait(self, spans: Int64Array) -> None:
        """Until pages are there.

        Raises :class:`~cormorant.errors.StorageError` where they cannot be read.
        """
        if self._waits:
            if advise(self._start, spans, _WAIT):
                self.check()
                raise StorageError("the disk did not give the pages of a segment's file")
        elif self._mapped is not None and self._file >= 0:
            for first, last in spans.tolist():
                for at in range(first, min(last, len(self._mapped)), _BLOCK):
                    self._copied(min(_BLOCK, last - at, len(self._mapped) - at), at)

    def wait_all(self) -> None:
        """Until every page is there, read in order.

        Raises :class:`~cormorant.errors.StorageError` where they cannot be read.
        """
        if self._mapped is None:
            return
        every = self.spans(np.zeros(1, np.int64), self._array.nbytes)
        self._mapped.madvise(_IN_ORDER or 0)
        self.wait(every)
        self._mapped.madvise(_RANDOM or 0)

    def rows(self, numbers: Int64Array) -> Array:
        """Rows (n, dim) of the array (m, dim), copied, without holding Python up.

        Raises :class:`~cormorant.errors.StorageError` where they cannot be read.
        """
        found = np.empty((len(numbers), self._array.shape[1]), self._array.dtype)
        if self._file < 0:
            return np.take(self._array, numbers, axis=0, out=found, mode="clip")
        if not read(self._file, self._first, numbers, found.view(np.uint8), self._polled):
            self._read_again(found, numbers)
        return found

    def _read_again(self, found: Array, numbers: Int64Array) -> None:
        """Where a read was interrupted, or failed, which is now said."""
        self.check()
        for row, number in zip(found, numbers.tolist(), strict=True):
            held = self._copied(row.nbytes, self._first + number * row.nbytes)
            row[:] = np.frombuffer(held, row.dtype)

    def _copied(self, size: int, first: int) -> bytes:
        try:
            held = os.pread(self._file, size, first)
        except OSError as error:
            raise StorageError(
                f"the disk did not give a segment's file: {error.strerror}"
            ) from error
        if len(held) < size:
            self.check()
            raise StorageError("a segment's file ends before its array does")
        return held

    def done(self, spans: Int64Array) -> None:
        """Let go of pages."""
        if len(spans):
            advise(self._start, spans, _DONE)

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


def _opened(path: Path, identity: tuple[int, int]) -> int:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from error
    status = os.fstat(file)
    if (status.st_dev, status.st_ino) != identity:
        os.close(file)
        raise StorageError(f"{path}: is another file than when it was opened")
    return file


def _can_poll(file: int) -> bool:
    """Whether the kernel and the file system say at once that something is not there yet."""
    flag = getattr(os, "RWF_NOWAIT", None)
    try:
        return flag is not None and os.preadv(file, [bytearray(1)], 0, flag) >= 0
    except BlockingIOError:
        return True
    except OSError:
        return False


def _can_wait(mapped: mmap.mmap) -> bool:
    try:
        mapped.madvise(_WAIT, 0, mmap.PAGESIZE)
    except OSError as error:
        return error.errno != errno.EINVAL
    return True
