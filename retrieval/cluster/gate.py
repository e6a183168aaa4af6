"""A door that many pass at a time, or one alone: searches begin, and shards are switched over."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from ...errors import DeadlineError


class Gate:
    """Any number of threads inside, or one that has it for itself and keeps others waiting."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closed = False

    @contextmanager
    def passing(self, milliseconds: float | None = None) -> Iterator[None]:
        """Together with others.

        Raises :class:`~cormorant.errors.DeadlineError` for one who cannot wait so long; None: can.
        """
        seconds = None if milliseconds is None else milliseconds / 1000
        with self._changed:
            if not self._changed.wait_for(lambda: not self._closed, seconds):
                raise DeadlineError(
                    "the time was over while shards were switched over to new ones; try again"
                )
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Once everybody has left; one thread at a time may ask for this."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closed = False
                self._changed.notify_all()
