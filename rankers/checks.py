"""What the settings of stages have in common, checked once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InputError

MAX_DEPTH = 100_000
INTERPOLATE = ("before", "after", "both")


def check_integer(name: str, value: Any, least: int, most: int) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what is no integer in the range."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise InputError(f"is an integer from {least:,} to {most:,}, got {value!r}", field=name)


def check_number(name: str, value: Any, least: float, most: float) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what is no number in the range."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not least <= value <= most:  # also refuses NaN
        raise InputError(f"is a number from {least:g} to {most:g}, got {value!r}", field=name)


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what is not one of the choices."""
    if value not in choices:
        raise InputError(f"is one of {', '.join(choices)}, got {value!r}", field=name)


def check_depth(depth: Any) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what is no number of candidates."""
    check_integer("depth", depth, 1, MAX_DEPTH)


def check_name(name: str, value: Any) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what names nothing."""
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"is a name, got {value!r}", field=name)


def check_feedback(index: Any, depth: Any, interpolate: Any) -> None:
    """What every stage of feedback has: an index, a few documents, and where lists are fused."""
    check_name("index", index)
    check_integer("depth", depth, 1, 1000)
    check_choice("interpolate", interpolate, INTERPOLATE)
