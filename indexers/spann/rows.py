"""What lists are made of: vectors by place, in whatever numbers they are kept.

Vectors that were given as float16 or as small integers are kept as such where nothing is lost by
it: half, or a quarter, of the bytes on disk and of those that a search reads. That is so for inner
products and distances; a cosine's vectors are scaled to length 1, which takes float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, Float32Array, Int64Array

NUMBERS = (np.int8, np.float16, np.float32)
"""What vectors are kept in, the narrowest first."""
_BLOCK = 4096


class Rows(Protocol):
    """n vectors: an array (n, dim), or what becomes one where it is looked at."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, dim)."""

    @property
    def nbytes(self) -> int:
        """What they take on disk."""

    def __len__(self) -> int:
        """N."""

    def __getitem__(self, places: Int64Array | slice, /) -> Array:
        """Some of them: (m, dim) numbers."""


@dataclass(frozen=True, slots=True)
class Scaled:
    """Vectors kept as bytes, ``codes`` (n, dim) int8, times a number each, ``scales`` (n,)."""

    codes: Array
    scales: Float32Array

    @property
    def shape(self) -> tuple[int, ...]:
        """See :class:`Rows`."""
        return self.codes.shape

    @property
    def nbytes(self) -> int:
        """See :class:`Rows`."""
        return self.codes.nbytes

    def __len__(self) -> int:
        """See :class:`Rows`."""
        return len(self.codes)

    def __getitem__(self, places: Int64Array | slice, /) -> Float32Array:
        """See :class:`Rows`."""
        widened: Float32Array = self.codes[places].astype(np.float32)
        widened *= self.scales[places][:, None]
        return widened


@dataclass(frozen=True, slots=True)
class Laid:
    """Vectors (n, dim) that lie in another order: that of place p at ``slots[p]``."""

    vectors: Array
    slots: NDArray[np.int32]

    @property
    def shape(self) -> tuple[int, ...]:
        """See :class:`Rows`."""
        return self.vectors.shape

    @property
    def nbytes(self) -> int:
        """See :class:`Rows`."""
        return self.vectors.nbytes

    def __len__(self) -> int:
        """See :class:`Rows`."""
        return len(self.vectors)

    def __getitem__(self, places: Int64Array | slice, /) -> Array:
        """See :class:`Rows`."""
        return self.vectors[self.slots[places]]


def narrowest(parts: Iterable[Array]) -> type[np.number[Any]]:
    """The narrowest of ``NUMBERS`` that holds all the numbers of some arrays (n, dim) exactly."""
    at = 0
    for part in parts:
        for first in range(0, len(part), _BLOCK):
            block = part[first : first + _BLOCK]
            while not _holds(NUMBERS[at], block):
                at += 1
            if at == len(NUMBERS) - 1:
                return NUMBERS[at]
    return NUMBERS[at]


def _holds(numbers: type[np.number[Any]], block: Array) -> bool:
    if np.can_cast(block.dtype, numbers):
        return True
    with np.errstate(over="ignore", invalid="ignore"):  # becomes another number, which is seen
        return bool((block.astype(numbers) == block).all())
