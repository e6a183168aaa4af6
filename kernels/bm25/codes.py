"""A byte for each document that has a term more than once: roughly how often, and how long it is.

All that bounds how much the repeats count, so that a table of 256 steps serves a whole list.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import Float32Array, Int64Array, Saturation, UInt32Array
from .scoring import gain

LENGTH_CLASSES = 64
COUNT_CLASSES = 4
"""2, 3, 4, and more."""
MANY = 2 + COUNT_CLASSES - 1


@njit(nogil=True, cache=True)
def longest_of_classes() -> Int64Array:
    """The longest length of each class of lengths: 1, 2, ... 8, then a quarter more, then all."""
    longest = np.empty(LENGTH_CLASSES, np.int64)
    length = 0
    for length_class in range(LENGTH_CLASSES - 1):
        length = max(length + 1, length * 5 // 4)
        longest[length_class] = length
    longest[LENGTH_CLASSES - 1] = np.int64(1) << 32
    return longest


@njit(forceinline=True)
def repeat_code(length_class: int, count: int) -> int:
    """The byte of a count, 2 or more, in a document whose length is of a class."""
    return COUNT_CLASSES * length_class + min(count, MANY) - 2


@njit(nogil=True, cache=True)
def gains_of_codes(lengths: UInt32Array, saturation: Saturation) -> Float32Array:
    """By how much more a term counts at most than if it occurred once: of each code in use.

    lengths: (n,) of the documents, ascending.
    """
    base, slope = saturation.norm_base, saturation.norm_slope
    linear, share = saturation.linear, saturation.share
    last = np.int64(lengths[len(lengths) - 1])
    longest = longest_of_classes()
    gains = np.empty(LENGTH_CLASSES * COUNT_CLASSES, np.float32)
    shortest, n = 1, 0
    while n < LENGTH_CLASSES and shortest <= last:
        length = min(last, longest[n])
        low, high = base + slope * shortest, base + slope * length
        for count in range(2, MANY + 1):
            # As if without end, where the count may be more.
            most = float(count) if count < MANY else float(length)
            if linear:
                more = gain(most, low, True, share) / gain(1.0, high, True, share) - 1.0
            elif count < MANY:
                more = high * (count - 1.0) / (count + high)
            else:
                more = high
            gains[repeat_code(n, count)] = max(0.0, more) * 1.000001
        shortest = length + 1
        n += 1
    return gains[: n * COUNT_CLASSES]
