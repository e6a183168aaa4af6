"""``head``: the last commit's number beside the catalog, and the writer's lock.

SQLite recovers from a log whose tail is damaged by dropping that tail without a word. Two failures
would then lose acknowledged commits silently:

1. the machine loses the end of ``catalog.sqlite-wal`` (a bad sector, a copy that was cut short);
2. someone copies the catalog and forgets the log.

So after each commit the writer notes its number here and syncs it. Whoever opens the collection
compares: a catalog behind its head has lost commits, and says so. A catalog ahead of it is what a
kill between the two syncs leaves, and is sound.

SQLite does not notice a flipped bit in the catalog either. ``head`` therefore holds the checksum of
the catalog's main file, which changes only when the writer checkpoints. While it matches, the file
is exactly what was written. When it does not (a kill during a checkpoint, or damage), every row is
verified by its own checksum instead.

The file is two slots of 512 bytes, written in turn and in place, so that a torn write leaves the
other slot and a full disk cannot stop one; then a line that names the writer for error messages.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path
from typing import NamedTuple

import xxhash

from ..errors import CorruptionError, LockedError
from .catalog_file import checksum_of
from .disk import Disk, storage_errors

HEAD = "head"
CATALOG = "catalog.sqlite"

_MAGIC = b"CMHEAD01"
_SLOT = struct.Struct("<8sQQQ16s")
_SLOT_SIZE = 512
_WRITER_OFFSET = 2 * _SLOT_SIZE
_WRITER_SIZE = 64
_UNKNOWN = bytes(16)


class Head(NamedTuple):
    """What the file says: the last commit noted and the catalog file's size and checksum."""

    sequence: int
    commit: int
    catalog_size: int
    catalog_hash: bytes

    @property
    def knows_catalog(self) -> bool:
        """Whether the checksum was taken after the last checkpoint."""
        return self.catalog_hash != _UNKNOWN

    def pack(self) -> bytes:
        """One slot."""
        body = _SLOT.pack(_MAGIC, *self)
        return (body + xxhash.xxh3_64_digest(body)).ljust(_SLOT_SIZE, b"\0")


def new_head(commit: int, catalog: Path) -> bytes:
    """The whole file for a new collection or a copy of one."""
    size, digest = checksum_of(catalog)
    slot = Head(0, commit, size, digest).pack()
    return slot + bytes(_SLOT_SIZE) + bytes(_WRITER_SIZE)


def read_head(path: Path) -> Head:
    """The newest sound slot. Raises :class:`~cormorant.errors.CorruptionError` when none is."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise CorruptionError(path, "is missing; restore the collection from a backup") from None
    slots = []
    for start in (0, _SLOT_SIZE):
        body = content[start : start + _SLOT.size]
        check = content[start + _SLOT.size : start + _SLOT.size + 8]
        if body[:8] == _MAGIC and xxhash.xxh3_64_digest(body) == check:
            slots.append(Head(*_SLOT.unpack(body)[1:]))
    if not slots:
        raise CorruptionError(path, "is damaged: neither of its slots matches its checksum")
    return max(slots)


def catalog_unchanged(head: Head, catalog: Path) -> bool:
    """Whether the catalog's main file is byte for byte the one ``head`` describes."""
    if not head.knows_catalog or catalog.stat().st_size != head.catalog_size:
        return False
    return checksum_of(catalog) == (head.catalog_size, head.catalog_hash)


class WriterHead:
    """The writer's side: holds the lock and notes commits."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._disk = disk
        self._path = path
        self.current = read_head(path)
        with storage_errors(path):
            self._descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, _WRITER_SIZE, _WRITER_OFFSET).rstrip(b"\0")
            os.close(self._descriptor)
            raise LockedError(
                f"{path.parent} is open for writing in "
                f"{holder.decode('utf-8', 'replace') or 'another process'}; close it there, "
                "open this one with read_only=True, or ask the server that holds it, at its URL"
            ) from None
        try:
            # The other writer may have committed between our reading and our locking.
            self.current = read_head(path)
            size = os.fstat(self._descriptor).st_size
            if size < _WRITER_OFFSET + _WRITER_SIZE:
                raise CorruptionError(path, f"is truncated to {size} bytes")
            name = f"process {os.getpid()}".encode().ljust(_WRITER_SIZE, b"\0")
            with storage_errors(path):
                disk.overwrite(self._descriptor, name, _WRITER_OFFSET)
        except BaseException:
            self.close()
            raise

    def note_commit(self, commit: int) -> None:
        """Note a commit that SQLite has made durable."""
        self._write(self.current._replace(commit=commit))

    def forget_catalog(self) -> None:
        """Note that the catalog's main file is about to change."""
        if self.current.knows_catalog:
            self._write(self.current._replace(catalog_size=0, catalog_hash=_UNKNOWN))

    def note_catalog(self, catalog: Path) -> None:
        """Note the catalog's main file as it is now."""
        size, digest = checksum_of(catalog)
        if (size, digest) != (self.current.catalog_size, self.current.catalog_hash):
            self._write(self.current._replace(catalog_size=size, catalog_hash=digest))

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    def _write(self, head: Head) -> None:
        head = head._replace(sequence=self.current.sequence + 1)
        with storage_errors(self._path):
            self._disk.overwrite(self._descriptor, head.pack(), (head.sequence % 2) * _SLOT_SIZE)
        self.current = head
