"""The time a search may take: looked at between its steps, which are left out once it is over."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from threading import Event

from ..errors import DeadlineError
from ..stages import Budget


@dataclass(slots=True)
class Deadline:
    """When a search must be done; None: whenever it is.

    Once it has passed, a search stops before its next step with a
    :class:`~cormorant.errors.DeadlineError`; or, where ``partial`` is asked for, leaves out every
    step that is left and says so in ``flags``. A step under way is not broken off; one that can
    stop by itself (a ranker) is told how much time is left. A search that is ``cancelled``, which
    another thread may do, stops in the same places.
    """

    timeout_ms: int | None = None
    partial: bool = False
    cancelled: Event | None = None
    flags: list[str] = field(default_factory=list)
    _begun: float = field(default_factory=lambda: time.perf_counter())

    @property
    def left_ms(self) -> float | None:
        """Milliseconds left, never below 0; None for no end."""
        if self.timeout_ms is None:
            return None
        return max(0.0, self.timeout_ms - (time.perf_counter() - self._begun) * 1000)

    @property
    def budget(self) -> Budget:
        """What is left, for a ranker."""
        return Budget(milliseconds=self.left_ms, cancelled=self.cancelled)

    def passed(self, step: str) -> bool:
        """Whether ``step`` is to be left out."""
        if self.cancelled is not None and self.cancelled.is_set():
            raise DeadlineError(f"the search was cancelled before {step}")
        if self.timeout_ms is None or self.left_ms:
            return False
        if not self.partial:
            raise DeadlineError(
                f"no answer within {self.timeout_ms} ms: the time was over before {step}; allow "
                "more with timeout_ms, or ask for less (a smaller depth or k)"
            )
        self.flags.append(f"{self.timeout_ms} ms were over before {step}, which was left out")
        return True
