"""How long a shard may take."""

from __future__ import annotations

from typing import Any, NamedTuple

from ...errors import InputError

_LONGEST_SECONDS = 1_000_000


class Limits(NamedTuple):
    """For one thing that is read outside a search, and for its part of one write."""

    read_seconds: float = 60.0
    write_seconds: float = 1800.0


def checked_limits(read_seconds: Any, write_seconds: Any) -> Limits:
    """Limits of a caller's."""
    limits = Limits(read_seconds, write_seconds)
    for field, value in limits._asdict().items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value <= _LONGEST_SECONDS:  # NaN fails too
            raise InputError(
                f"is a number of seconds above 0, up to {_LONGEST_SECONDS:,}, got {value!r}",
                field=field,
            )
    return limits
