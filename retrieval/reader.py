"""Pins one committed version for the length of a search."""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from ..errors import CorruptionError, ReadOnlyError
from .catalog import connect_reader, translated
from .head import CATALOG
from .snapshot import Snapshot, complete_tails, read_snapshot


class Pinned(NamedTuple):
    """A version, and the connection whose read transaction sees exactly that version."""

    connection: sqlite3.Connection
    snapshot: Snapshot


class Reader:
    """Hands out pinned versions to any number of threads; refreshes when the catalog moved on."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.catalog = directory / CATALOG
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._snapshot: Snapshot | None = None
        self._closed = False
        self._process = os.getpid()

    @contextmanager
    def pinned(self, *, tail: bool = True) -> Iterator[Pinned]:
        """The latest committed version, held still until the block ends.

        ``tail=False`` is for the writer, which has no use for rows indexed in memory.
        """
        if self._closed:
            raise ReadOnlyError(f"{self.directory} is closed; open it again to read from it")
        if os.getpid() != self._process:
            raise ReadOnlyError(f"{self.directory} was opened before a fork; open it again here")
        try:
            try:
                connection = self._idle.get_nowait()
            except queue.Empty:
                connection = connect_reader(self.catalog)
            try:
                yield Pinned(connection, self._pin(connection, tail))
                connection.execute("COMMIT")
            except BaseException:
                # A traceback may keep a half-read query, and with it the old version, alive on
                # this connection: nobody else shall get it.
                connection.close()
                raise
            self._release(connection)
        except sqlite3.Error as error:
            raise translated(error, self.catalog) from error

    def snapshot(self) -> Snapshot:
        """The latest committed version, where neither its tails nor a connection are wanted."""
        with self.pinned(tail=False) as pinned:
            return pinned.snapshot

    def close(self) -> None:
        """Close every connection that is not in use; those in use close when they are done."""
        self._closed = True
        self._snapshot = None
        while True:
            try:
                self._idle.get_nowait().close()
            except queue.Empty:
                return

    def _release(self, connection: sqlite3.Connection) -> None:
        if self._closed:
            connection.close()
        else:
            self._idle.put(connection)

    def _pin(self, connection: sqlite3.Connection, tail: bool) -> Snapshot:
        failed_at = -1
        while True:
            connection.execute("BEGIN")
            (commit,) = connection.execute("SELECT commit_number FROM state").fetchone()
            with self._lock:
                current = self._snapshot
                if current is not None and current.commit == commit:
                    if tail and not current.complete:
                        self._snapshot = current = complete_tails(connection, self.catalog, current)
                    return current
                if current is None or current.commit < commit:
                    try:
                        snapshot = read_snapshot(connection, self.catalog, current)
                        if tail:
                            snapshot = complete_tails(connection, self.catalog, snapshot)
                        self._snapshot = snapshot
                        return snapshot
                    except CorruptionError:
                        # A merge may have dropped a segment between our reading its name and our
                        # opening its files; then the catalog has moved on and names others.
                        if failed_at == commit:
                            raise
                        failed_at = commit
            # Another thread pinned a later version in between, or the retry above: begin again.
            connection.execute("COMMIT")
