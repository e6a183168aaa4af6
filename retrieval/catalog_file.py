"""Opening the catalog's file beside SQLite, without taking SQLite's locks away.

POSIX drops every lock that a process holds on a file as soon as the process closes any descriptor
of that file. If we opened ``catalog.sqlite`` to checksum it, and closed it again while a connection
of this process was in use, another process would believe that nobody has the catalog open, and
could remove the log that our reader still needs.

So a process has one descriptor for each catalog, kept from before its first connection until after
its last one is closed; every connection holds a share in it.
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from threading import Lock
from typing import Any

import xxhash

_BLOCK = 1 << 20
BUSY_SECONDS = 30.0


class CatalogFile:
    """A catalog's file, open for reading for as long as somebody in this process uses it."""

    _open: dict[tuple[int, int], CatalogFile] = {}
    _lock = Lock()

    def __init__(self, key: tuple[int, int], descriptor: int) -> None:
        self._key = key
        self._descriptor = descriptor
        self._users = 0

    @classmethod
    def acquire(cls, path: Path) -> CatalogFile:
        """The process's one descriptor of the file; :meth:`release` it when done."""
        with cls._lock:
            status = os.stat(path)
            key = (status.st_dev, status.st_ino)
            file = cls._open.get(key)
            if file is None:
                # Open before anything of this process has a lock on it to lose.
                file = cls._open[key] = cls(key, os.open(path, os.O_RDONLY))
            file._users += 1
            return file

    def release(self) -> None:
        """Give a share back; the last one closes the file."""
        with self._lock:
            self._users -= 1
            if self._users == 0:
                del self._open[self._key]
                os.close(self._descriptor)

    def checksum(self) -> tuple[int, bytes]:
        """Size and xxh3 of what the file holds now."""
        digest = xxhash.xxh3_128()
        size = 0
        while block := os.pread(self._descriptor, _BLOCK, size):
            digest.update(block)
            size += len(block)
        return size, digest.digest()


class CatalogConnection(sqlite3.Connection):
    """A connection that holds a share in the process's descriptor of its file."""

    _file: CatalogFile | None = None

    def close(self) -> None:
        """Close the connection, then give the share back."""
        file, self._file = self._file, None
        try:
            super().close()
        finally:
            if file is not None:
                file.release()


def checksum_of(path: Path) -> tuple[int, bytes]:
    """Size and xxh3 of a catalog's main file."""
    file = CatalogFile.acquire(path)
    try:
        return file.checksum()
    finally:
        file.release()


def connect(path: Path, mode: str) -> CatalogConnection:
    """Open a catalog; ``mode`` is SQLite's (ro, rw, rwc). Any one thread at a time may use it."""
    if mode == "rwc":
        path.touch(exist_ok=False)
    file = CatalogFile.acquire(path)
    try:
        connection: Any = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={mode}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_SECONDS,
            factory=CatalogConnection,
        )
    except BaseException:
        file.release()
        raise
    opened: CatalogConnection = connection
    opened._file = file
    try:
        opened.execute("PRAGMA trusted_schema = OFF")
        opened.execute("PRAGMA cell_size_check = ON")
        opened.execute("PRAGMA cache_size = -16384")
    except BaseException:
        opened.close()
        raise
    return opened
