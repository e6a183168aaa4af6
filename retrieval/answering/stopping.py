"""Whether an answer is still wanted: its reader may go, and its time may run out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Lock, Timer

from ..deadline import Deadline


class Stop:
    """One answer's end, told from any thread."""

    def __init__(self, deadline: Deadline | None = None) -> None:
        self._deadline = deadline or Deadline()
        self._cancelled = Event()
        self._hooks: list[Callable[[], None]] = []
        self._lock = Lock()

    def cancel(self) -> None:
        """The reader is gone."""
        self._cancelled.set()
        self._break_off()

    def gone(self) -> bool:
        """Whether the reader is gone."""
        return self._cancelled.is_set()

    @property
    def seconds_left(self) -> float | None:
        """Until the deadline; None where there is none."""
        left = self._deadline.left_ms
        return None if left is None else left / 1000

    def over(self) -> bool:
        """Whether to stop writing now."""
        return self.gone() or self._deadline.left_ms == 0

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the moment that the reader goes."""
        self._cancelled.wait(seconds)

    def check(self, step: str) -> None:
        """Raise :class:`~cormorant.errors.DeadlineError` when the time is over before ``step``."""
        self._deadline.passed(step)

    @contextmanager
    def breaking_off(self, hook: Callable[[], None]) -> Iterator[None]:
        """Call ``hook`` when the reader goes or the time runs out within the block.

        For what waits and cannot look: ``hook`` runs in another thread, or at once.
        """
        with self._lock:
            self._hooks.append(hook)
        left = self.seconds_left
        timer = None if left is None else Timer(left, hook)
        if timer is not None:
            timer.daemon = True
            timer.start()
        try:
            if self.over():
                hook()
            yield
        finally:
            if timer is not None:
                timer.cancel()
            with self._lock:
                self._hooks.remove(hook)

    def _break_off(self) -> None:
        with self._lock:
            hooks = list(self._hooks)
        for hook in hooks:
            hook()
