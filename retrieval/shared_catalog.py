"""The catalog's writer as threads share it: one transaction at a time, and none after closing.

The story of closing: a collection may be closed while other threads add, delete or wait, and while
the background builds. From then on only the thread that closes may begin a transaction, and the
background's, which is waited for, for what it is at: a merge may have taken minutes. The thread
that closes writes the tail if that is worth a file, and closes the catalog, which releases the
collection's lock. Whoever comes in between or later is told. So is a process that was forked off:
it has the same files open, and what it wrote would tear the parent's catalog apart.

The lock here is the innermost of the writer's (:mod:`cormorant.retrieval.writer`): under it nothing
is waited for but the disk.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ReadOnlyError
from .catalog import CatalogWriter
from .disk import Disk
from .transaction import Transaction


class SharedCatalog:
    """Hands the one :class:`CatalogWriter` to one thread at a time, while the writer is open."""

    def __init__(self, directory: Path, disk: Disk) -> None:
        self._directory = directory
        self._catalog = CatalogWriter(directory, disk)
        self._writing = threading.Lock()
        self._closing = threading.Event()
        self._closing_thread: int | None = None
        self._finishing: int | None = None
        self._process = os.getpid()

    @contextmanager
    def held(self) -> Iterator[CatalogWriter]:
        """The catalog's writer, which no other thread has until the block ends."""
        with self._writing:
            yield self._catalog

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """One atomic, durable change; an error inside leaves nothing behind.

        Raises :class:`~cormorant.errors.ReadOnlyError` once the writer is being closed, and in a
        process that was forked off.
        """
        with self.held() as catalog:
            self.check_open()
            with catalog.transaction() as transaction:
                yield transaction

    def check_open(self, *, to_go_on: bool = False) -> None:
        """Raise :class:`~cormorant.errors.ReadOnlyError` where a transaction would.

        ``to_go_on``: or where what is finished would be followed by more.
        """
        own = (self._closing_thread,) if to_go_on else (self._closing_thread, self._finishing)
        if self.closing and threading.get_ident() not in own:
            raise ReadOnlyError(f"{self._directory} is closed; open it again to write to it")
        if self.forked:
            raise ReadOnlyError(f"{self._directory} was opened before a fork; open it again here")

    @property
    def closing(self) -> bool:
        """Whether the writer is being closed, or is closed."""
        return self._closing.is_set()

    @property
    def forked(self) -> bool:
        """Whether this is another process than the one that opened the writer."""
        return os.getpid() != self._process

    def begin_closing(self, finishing: int | None) -> None:
        """From now on only this thread may begin a transaction, and one that finishes its task."""
        self._closing_thread, self._finishing = threading.get_ident(), finishing
        self._closing.set()

    def close(self) -> None:
        """Close the catalog and release the collection's lock."""
        with self.held() as catalog:
            catalog.close()
