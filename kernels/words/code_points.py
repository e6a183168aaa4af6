"""What the kernel has to know of a code point, in one number."""

from __future__ import annotations

import unicodedata
from functools import cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from . import rule

UInt64Array: TypeAlias = NDArray[np.uint64]

PAGE_SIZE = 256
N_PAGES = 0x110000 // PAGE_SIZE

SIZE_SHIFT, IRREGULAR_SHIFT, CLASS_SHIFT = np.uint64(32), np.uint64(39), np.uint64(40)
"""An entry is, from its lowest bit: the UTF-8 of the lower case, the number of its bytes, whether
the code point is irregular, and the class.

A regular code point is one that NFKC maps to one character wherever it stands. Its entry is that
character's, so that texts of regular code points need no other normalisation.
"""


@cache
def properties_of_code_points(turkic: bool) -> UInt64Array:
    """The table of entries, (0x110000,) uint64: ASCII, and 0 for what was never met.

    Whoever needs another page first writes it, each entry whole and always the same: all threads
    share the table.
    """
    properties = np.zeros(N_PAGES * PAGE_SIZE, np.uint64)
    learn_page(properties, 0, turkic)
    return properties


def learn_page(properties: UInt64Array, page: int, turkic: bool) -> None:
    """Write the entries of 256 code points."""
    for code_point in range(page * PAGE_SIZE, (page + 1) * PAGE_SIZE):
        char = chr(code_point)
        normalised = unicodedata.normalize("NFKC", char)
        regular = len(normalised) == 1 and rule.starts_piece(char)
        if regular:
            char = normalised
        utf8 = rule.lower(char, turkic).encode("utf-8", "surrogatepass")
        properties[code_point] = (
            rule.classify(char) << int(CLASS_SHIFT)
            | (not regular) << int(IRREGULAR_SHIFT)
            | len(utf8) << int(SIZE_SHIFT)
            | int.from_bytes(utf8, "little")
        )
