"""A byte for each document that has a term more than once: roughly how often, and how long it is.

That bounds how much the repeats count, so that a table of at most 256 steps serves a whole list.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from .layout import Float32Array, Int64Array, Postings, Saturation, UInt32Array
from .scoring import first_from, gain, norm_of

LENGTH_CLASSES = 64
COUNT_CLASSES = 4
"""2, 3, 4, and more."""
MANY = 2 + COUNT_CLASSES - 1
CODES = LENGTH_CLASSES * COUNT_CLASSES


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
def code_of(length_class: int, count: int) -> int:
    """The byte of a count, 2 or more, in a document whose length is of a class."""
    return COUNT_CLASSES * length_class + min(count, MANY) - 2


@njit(nogil=True, cache=True)
def code_repeats(postings: Postings) -> None:
    """Fill in ``repeat_codes``, when all else is there."""
    lengths, documents, counts = postings.lengths, postings.repeat_documents, postings.repeat_counts
    codes = postings.repeat_codes
    longest = longest_of_classes()
    for place in range(len(documents)):
        length = np.int64(lengths[documents[place]])
        codes[place] = code_of(first_from(longest, 0, LENGTH_CLASSES, length), counts[place])


@njit(nogil=True, cache=True)
def gains_of_codes(lengths: UInt32Array, saturation: Saturation) -> Float32Array:
    """By how much more a term counts at most than if it occurred once: of each code in use.

    lengths: (n,) of the documents, ascending.
    """
    last = np.int64(lengths[len(lengths) - 1])
    longest = longest_of_classes()
    gains = np.empty(CODES, np.float32)
    shortest, length_class = 1, 0
    while length_class < LENGTH_CLASSES and shortest <= last:
        length = min(last, longest[length_class])
        low, high = norm_of(shortest, saturation), norm_of(length, saturation)
        for count in range(2, MANY + 1):
            # A count of MANY or more is at most the length.
            most = float(count) if count < MANY else float(max(length, MANY))
            if saturation.linear:
                more = gain(most, low, saturation) / gain(1.0, high, saturation) - 1.0
            else:
                more = high * (most - 1.0) / (most + high)
            # Rounded to float32 it must still be no less.
            gains[code_of(length_class, count)] = more * 1.000001
        shortest = length + 1
        length_class += 1
    return gains[: COUNT_CLASSES * length_class]
