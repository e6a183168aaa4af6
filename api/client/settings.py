"""How long the client waits, how often it tries again, and the clock and dice it does that with."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from email.utils import parsedate_to_datetime
from math import isfinite

from ...errors import InputError


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each phase of one attempt may take; None: as long as it likes.

    ``connect_seconds``: to open a connection. ``pool_seconds``: to be given one when all are busy.
    ``write_seconds`` and ``read_seconds``: between two pieces sent or received.
    ``work_seconds`` is in the place of ``read_seconds`` for calls that are work for the server:
    adding documents and indexes, ``flush``, ``merge``, ``check``.
    """

    connect_seconds: float | None = 5.0
    pool_seconds: float | None = 30.0
    write_seconds: float | None = 30.0
    read_seconds: float | None = 40.0
    work_seconds: float | None = 600.0

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if value is not None:
                _check_number(item.name, value, above_zero=True)


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed attempt is made again.

    At most ``attempts`` more after the first, and none that would begin later than
    ``total_seconds`` after it. Attempt n waits a random part of ``first_seconds * 2**n``, of
    ``longest_seconds`` at most ("full jitter"); where the server says Retry-After, that is
    waited first. With these numbers the time ends the attempts, not their number: a server that
    is started again is back within it.
    """

    attempts: int = 100
    first_seconds: float = 0.25
    longest_seconds: float = 3.0
    total_seconds: float = 60.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int):
            raise InputError(f"is a whole number, got {self.attempts!r}", field="attempts")
        if not 0 <= self.attempts <= 1000:
            raise InputError(f"is from 0 to 1000, got {self.attempts}", field="attempts")
        for name in ("first_seconds", "longest_seconds", "total_seconds"):
            _check_number(name, getattr(self, name), above_zero=False)

    def wait_seconds(self, attempt: int, retry_after: float | None, dice: float) -> float:
        """How long to wait after failed attempt ``attempt`` (from 0); ``dice`` is in [0, 1)."""
        if retry_after is not None:
            return retry_after + dice * self.first_seconds
        return dice * min(self.longest_seconds, self.first_seconds * 2.0 ** min(attempt, 60))


async def _sleep_async(seconds: float) -> None:
    import anyio

    await anyio.sleep(seconds)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and randomness, for tests to replace. ``now`` only ever grows; ``wall`` is Unix time."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    dice: Callable[[], float] = random.random
    sleep: Callable[[float], None] = time.sleep
    sleep_async: Callable[[float], Awaitable[None]] = _sleep_async

    def seconds_until(self, retry_after: str | None) -> float | None:
        """What a Retry-After header asks for, seconds or a date; None where it is neither."""
        if retry_after is None:
            return None
        try:
            seconds = float(retry_after)
        except ValueError:
            try:
                seconds = parsedate_to_datetime(retry_after).timestamp() - self.wall()
            except (ValueError, OverflowError):
                return None
        return max(0.0, seconds) if isfinite(seconds) else None


def as_timeouts(value: float | Timeouts | None) -> Timeouts:
    """One number stands for every phase but the work of the server."""
    if isinstance(value, Timeouts):
        return value
    if value is None:
        return Timeouts()
    _check_number("timeout", value, above_zero=True)
    seconds = float(value)
    return Timeouts(seconds, seconds, seconds, seconds, max(seconds, 600.0))


def as_retries(value: int | Retries) -> Retries:
    """A number stands for that many attempts after the first."""
    if isinstance(value, Retries):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"is a number or Retries(...), got {value!r}", field="retries")
    return Retries(attempts=value)


def _check_number(name: str, value: object, *, above_zero: bool) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise InputError(f"is a number of seconds, got {value!r}", field=name)
    if value < 0 or (above_zero and value == 0):
        raise InputError(f"is more than 0 seconds, got {value}", field=name)
