"""The weights of a fusion's lists: what is accepted, and which list each one means."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InputError
from ..stages import RankedList


def checked_weights(weights: Any) -> tuple[float, ...]:
    """Weights as a tuple of floats: none is negative, and at least one of them counts.

    Raises :class:`~cormorant.errors.InputError`, naming the field ``weights``.
    """
    if not isinstance(weights, list | tuple):
        raise InputError(f"takes one number for each list, got {weights!r}", field="weights")
    for weight in weights:
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise InputError(f"takes numbers, got {weight!r}", field="weights")
        if not 0 <= weight <= 1e9:  # also refuses NaN
            raise InputError(f"takes numbers from 0 to 1e9, got {weight!r}", field="weights")
    if weights and not any(weights):
        raise InputError(f"needs one above 0, got {list(weights)!r}", field="weights")
    return tuple(float(weight) for weight in weights)


def one_for_each(weights: Sequence[float], lists: Sequence[RankedList]) -> Sequence[float]:
    """The weights, if there are as many as lists.

    Raises :class:`~cormorant.errors.InputError`, naming the field ``weights``.
    """
    if len(weights) != len(lists):
        names = ", ".join(item.index for item in lists)
        raise InputError(
            f"{len(weights)} given for {len(lists)} lists ({names}); give one for each, in order",
            field="weights",
        )
    return weights


def shares(weights: Sequence[float]) -> tuple[float, ...]:
    """The weights divided by their sum."""
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)
