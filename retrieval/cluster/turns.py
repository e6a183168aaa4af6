"""One at a time: whoever changes something waits for its turn, and not for ever."""

from __future__ import annotations

import threading
from types import TracebackType

from ...errors import DeadlineError


class Turn:
    """A lock that a thread may take again; ``seconds``: how long it is waited for.

    Raises :class:`~cormorant.errors.DeadlineError` when the time is over. Whoever must have it
    takes ``lock`` itself.
    """

    def __init__(self, seconds: float) -> None:
        self.lock = threading.RLock()
        self._seconds = seconds

    def __enter__(self) -> None:
        if not self.lock.acquire(timeout=self._seconds):
            raise DeadlineError(
                f"another write, or a merge, backup or repair, is not done after {self._seconds:g} "
                "s; nothing was changed by this call: try again later"
            )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.lock.release()
