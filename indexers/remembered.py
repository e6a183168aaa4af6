"""What was made of masks, for as long as these live."""

from __future__ import annotations

from threading import Lock
from typing import Generic, TypeAlias, TypeVar
from weakref import ref

from ..contracts import BoolArray

_MOST = 8

Names: TypeAlias = tuple["ref[BoolArray] | None", ...]
T = TypeVar("T")


class Remembered(Generic[T]):
    """The things made last, each of some masks (None: none), found by the very same masks.

    It keeps no mask alive (nor may what is made): with those of a version that is over goes what
    was made of them.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Names, T]] = []
        self._lock = Lock()

    def get(self, *masks: BoolArray | None) -> T | None:
        """What was made of these."""
        with self._lock:
            for names, value in self._made:
                if all(map(_is, names, masks)):
                    return value
        return None

    def put(self, value: T, *masks: BoolArray | None) -> None:
        """Remember it; the oldest is forgotten where there are many."""
        names = tuple(None if mask is None else ref(mask) for mask in masks)
        with self._lock:
            self._made = [(names, value), *self._living()[: _MOST - 1]]

    def values(self) -> list[T]:
        """All there is."""
        with self._lock:
            return [value for _, value in self._living()]

    def _living(self) -> list[tuple[Names, T]]:
        self._made = [
            one for one in self._made if all(name is None or name() is not None for name in one[0])
        ]
        return self._made


def _is(name: ref[BoolArray] | None, mask: BoolArray | None) -> bool:
    return mask is None if name is None else mask is not None and name() is mask
