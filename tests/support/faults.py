"""A disk that fills up at the nth call."""

from __future__ import annotations

import errno
from typing import Any

from cormorant.retrieval.disk import Disk


class DiskFilledError(OSError):
    """ENOSPC, from here and not from the machine's own disk."""

    def __init__(self) -> None:
        super().__init__(errno.ENOSPC, "No space left on device")


CALLS = ("make_directory", "allocate", "write", "overwrite", "sync_file", "rename", "before_commit")


class FillingDisk(Disk):
    """Fails its ``fail_at``-th call (from 1) and every later one until :meth:`free`."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.calls = 0
        self.fail_at = fail_at
        self.failed = False

    def free(self) -> None:
        """Make room again."""
        self.fail_at = None

    def _count(self) -> None:
        self.calls += 1
        if self.fail_at is not None and self.calls >= self.fail_at:
            self.failed = True
            raise DiskFilledError


def _counted(name: str) -> Any:
    def call(self: FillingDisk, *arguments: Any) -> Any:
        self._count()
        return getattr(Disk, name)(self, *arguments)

    return call


for _name in CALLS:
    setattr(FillingDisk, _name, _counted(_name))
