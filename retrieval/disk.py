"""Every change Cormorant makes to the file system outside SQLite goes through here.

It is the seam at which tests fill the disk: a :class:`Disk` whose nth call fails must leave the
last committed version answering, for every n.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import DiskFullError, StorageError

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_BLOCK = 1 << 20


class Disk:
    """The real file system."""

    def make_directory(self, path: Path) -> None:
        """Create a directory and its parents."""
        path.mkdir(parents=True, exist_ok=True)

    def allocate(self, path: Path, size: int) -> None:
        """Create a file of zeros whose blocks exist, so that writing through a mapping cannot fail.

        A sparse file would be quicker, and kill the process with SIGBUS when the disk is full.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        try:
            if not hasattr(os, "posix_fallocate"):  # macOS
                _write_zeros(descriptor, size)
            elif size:
                os.posix_fallocate(descriptor, 0, size)
        finally:
            os.close(descriptor)

    def write(self, path: Path, data: bytes) -> None:
        """Create a file with this content."""
        with path.open("xb") as file:
            file.write(data)

    def overwrite(self, descriptor: int, data: bytes, offset: int) -> None:
        """Write in place inside a file that is long enough already, and make it durable."""
        os.pwrite(descriptor, data, offset)
        os.fsync(descriptor)

    def sync_file(self, path: Path) -> None:
        """Make a file's content durable."""
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_directory(self, path: Path) -> None:
        """Make a directory's entries durable."""
        self.sync_file(path)

    def rename(self, source: Path, target: Path) -> None:
        """Rename within a file system; the target must not exist."""
        os.rename(source, target)

    def copy(self, source: Path, target: Path) -> None:
        """Copy a file's content and make it durable."""
        shutil.copyfile(source, target)
        self.sync_file(target)

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it."""
        shutil.rmtree(path)

    def before_commit(self) -> None:
        """Stand in for SQLite's own writes: called right before each transaction commits."""


def _write_zeros(descriptor: int, size: int) -> None:
    zeros = memoryview(bytes(min(size, _BLOCK)))
    while size:
        size -= os.write(descriptor, zeros[:size])


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn what the operating system says into this project's errors."""
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            raise DiskFullError(
                f"{path}: no space left on the device; free some and try again "
                "(the last committed version goes on answering)"
            ) from error
        raise StorageError(f"{path}: {error.strerror or error}") from error
