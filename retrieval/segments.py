"""A segment's files: written once, verified before they are mapped, never changed.

The story of a segment: its arrays are streamed into ``.npy`` files in a directory of its own; each
file is synced, then the directory, then its parent; and only then does one transaction of the
catalog name the segment, with every file's size, dtype, shape and checksum. A kill before that
leaves a directory that nothing names; the next writer removes it.
"""

from __future__ import annotations

import io
import math
import mmap
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash
from numpy.typing import DTypeLike

from ..contracts import Array
from ..documents import JsonObject
from ..errors import CorruptionError
from .disk import Disk, storage_errors

_DONE = getattr(mmap, "MADV_DONTNEED", None)


class ArrayFile(NamedTuple):
    """What the catalog says of one file of a segment."""

    name: str
    size: int
    dtype: str
    shape: tuple[int, ...]
    checksum: str

    def as_json(self) -> JsonObject:
        """As the catalog stores it."""
        return {**self._asdict(), "shape": list(self.shape)}

    @staticmethod
    def from_json(value: JsonObject) -> ArrayFile:
        """As the catalog stores it."""
        return ArrayFile(**{**value, "shape": tuple(value["shape"])})


class MappedFile(mmap.mmap):
    """A file that arrays lie in, its ``path``, and which file that is: its device and number."""

    path: Path
    identity: tuple[int, int]


class FileSink:
    """Writes a segment's arrays as ``<name>.npy`` into a new directory.

    ``lasting``: asked when it matters, as a piece ends only when it is full.
    """

    def __init__(
        self, directory: Path, disk: Disk, lasting: Callable[[], bool] = lambda: True
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._lasting = lasting
        self._mapped: dict[str, tuple[mmap.mmap, ArrayFile]] = {}
        with storage_errors(directory):
            disk.make_directory(directory)

    @property
    def lasting(self) -> bool:
        """Whether the segment is not soon merged into another."""
        return self._lasting()

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed, memory-mapped array to fill in place."""
        path = self._directory / f"{name}.npy"
        dtype = np.dtype(dtype)
        header = _npy_header(dtype, shape)
        size = len(header) + math.prod(shape) * dtype.itemsize
        with storage_errors(path):
            self._disk.allocate(path, size)
            with path.open("r+b") as file:
                mapped = mmap.mmap(file.fileno(), size)
        mapped[: len(header)] = header
        self._mapped[name] = mapped, ArrayFile(name, size, dtype.str, shape, "")
        return np.frombuffer(mapped, dtype, offset=len(header)).reshape(shape)

    def put(self, name: str, values: Array) -> None:
        """Write a whole array."""
        self.create(name, values.dtype, values.shape)[...] = values

    def finish(self) -> list[ArrayFile]:
        """Make everything durable; returns what the catalog has to know."""
        files = []
        for name, (mapped, file) in self._mapped.items():
            path = self._directory / f"{name}.npy"
            with storage_errors(path):
                mapped.flush()
                self._disk.sync_file(path)
            files.append(file._replace(checksum=xxhash.xxh3_128_hexdigest(mapped)))
        self._mapped.clear()
        with storage_errors(self._directory):
            self._disk.sync_directory(self._directory)
            self._disk.sync_directory(self._directory.parent)
            self._disk.sync_directory(self._directory.parent.parent)
        return files


class MemorySink:
    """Keeps a segment's arrays in memory: how the tail becomes searchable."""

    lasting = False

    def __init__(self) -> None:
        self.arrays: dict[str, Array] = {}

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array to fill in place."""
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def put(self, name: str, values: Array) -> None:
        """Keep a whole array."""
        self.arrays[name] = values


def open_arrays(directory: Path, files: Iterable[ArrayFile]) -> Mapping[str, Array]:
    """Map a segment's files read-only, after verifying each of them whole.

    Raises :class:`~cormorant.errors.CorruptionError`, naming the file, when one is missing, has
    another size than the catalog says, or does not match its checksum.
    """
    arrays: dict[str, Array] = {}
    for file in files:
        path = directory / f"{file.name}.npy"
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            raise CorruptionError(path, "is missing") from None
        with stream, storage_errors(path):
            status = os.fstat(stream.fileno())
            size = status.st_size
            if size != file.size:
                raise CorruptionError(path, f"has {size} bytes; the catalog says {file.size}")
            mapped = MappedFile(stream.fileno(), size, access=mmap.ACCESS_READ)
            mapped.path, mapped.identity = path, (status.st_dev, status.st_ino)
        if xxhash.xxh3_128_hexdigest(mapped) != file.checksum:
            raise CorruptionError(path, "does not match its checksum")
        header = _npy_header(np.dtype(file.dtype), file.shape)
        if mapped[: len(header)] != header:
            raise CorruptionError(path, f"does not hold {file.dtype}{file.shape} as catalogued")
        if _DONE is not None:
            mapped.madvise(_DONE)  # every page was read; this process keeps those it searches
        arrays[file.name] = np.frombuffer(mapped, file.dtype, offset=len(header)).reshape(
            file.shape
        )
    return arrays


def _npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer,
        {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape},
    )
    return buffer.getvalue()
