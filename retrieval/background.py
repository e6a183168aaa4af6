"""The background thread: builds what ``index="later"`` left to do, and merges what is due.

The story of a failure: what stops one index does not stop the others, nor the merges; then it is
kept, for ``describe`` and for whoever waits, and the next wake-up tries again. A task that succeeds
forgets it. Nothing is lost by a failure, or by a kill: what is behind stays behind in the catalog,
and the thread of the next writer goes on with it.

The condition here is notified after every piece; nothing of the writer's is locked under it.
"""

from __future__ import annotations

import threading
import time

from ..errors import CormorantError
from .building import Builder
from .ids import IDS
from .reader import Reader
from .shared_catalog import SharedCatalog

_COALESCE_SECONDS = 0.02


class Background:
    """One thread that works when it is woken, until there is nothing left to do."""

    def __init__(self, reader: Reader, catalog: SharedCatalog, builder: Builder) -> None:
        self._reader = reader
        self._catalog = catalog
        self._builder = builder
        self._failure: Exception | None = None
        self._ends = threading.Event()
        self._wake = threading.Event()
        self._idle = threading.Condition()
        self._worker: threading.Thread | None = None

    @property
    def failure(self) -> Exception | None:
        """What stopped the last task."""
        return self._failure

    def start(self) -> None:
        """Start the thread."""
        self._worker = threading.Thread(
            target=self._work, name=f"cormorant {self._reader.directory.name}", daemon=True
        )
        self._worker.start()
        self.wake()

    def wake(self) -> None:
        """There may be something to do."""
        self._wake.set()

    def end(self) -> int | None:
        """Let the thread begin no further task; returns which it is."""
        self._ends.set()
        self.wake()
        return None if self._worker is None else self._worker.ident

    def stop(self) -> None:
        """End the thread, waiting for the task it is at; who waits for the index looks again."""
        self.end()
        if self._worker is not None:
            self._worker.join()
        self._notify()

    def wait_indexed(self, timeout_seconds: float | None) -> bool:
        """Wait until no index is behind; False when the time ran out first.

        Raises what stopped the thread, if something did.
        """
        self._failure = None
        self.wake()
        with self._idle:
            done = self._idle.wait_for(
                lambda: self._catalog.closing or self._failure is not None or not self._behind(),
                timeout_seconds,
            )
        self._catalog.check_open()
        self._raise_failure()
        return done

    def _behind(self) -> list[str]:
        """Indexes that are behind: ids first, and last those whose encoders take their time."""
        views = [view for view in self._reader.snapshot().indexes.values() if view.rows_behind]
        views.sort(key=lambda view: (view.name != IDS, view.encoder is not None))
        return [view.name for view in views]

    def _work(self) -> None:
        while not self._ends.is_set():
            self._wake.wait()
            time.sleep(_COALESCE_SECONDS)
            self._wake.clear()
            try:
                while not self._ends.is_set() and self._step():
                    pass
                self._failure = None
            except Exception as error:
                # Kept for describe(), wait_indexed() and the next wake-up, which tries again.
                self._failure = error.with_traceback(None)
            self._notify()

    def _step(self) -> bool:
        """One piece, or one merge; what stops one index does not stop the others."""
        failure: Exception | None = None
        for name in self._behind():
            if self._ends.is_set():
                return False
            try:
                if self._builder.build_piece(name, None):
                    self._notify()
                    return True
            except Exception as error:
                failure = failure or error
        if not self._ends.is_set() and self._builder.merge_when_due():
            return True
        if failure is not None:
            raise failure
        return False

    def _notify(self) -> None:
        with self._idle:
            self._idle.notify_all()

    def _raise_failure(self) -> None:
        if self._failure is None:
            return
        if isinstance(self._failure, CormorantError):
            raise self._failure
        raise CormorantError(f"indexing in the background failed: {self._failure}") from (
            self._failure
        )
