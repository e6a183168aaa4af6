"""Where things are in a posting's record of codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MAX_BITS = 4
WORD = 64
QUERY_BITS = 7
"""How finely a number of a query is rounded: matters little beside the rounding of 4 bits."""
HEAD_BYTES = 16
"""Of one code: its place, step, square and spread."""


def padded(dim: int) -> int:
    """The next multiple of 64; residuals are padded with zeros before they are rotated."""
    return -(-dim // WORD) * WORD


def record_bytes(n: int, dim: int, bits: int) -> int:
    """Bytes of n codes; a multiple of 8."""
    return n * (HEAD_BYTES + bits * (dim // WORD) * 8)


def sections(record: NDArray[np.uint8], n: int) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    """A record of n codes: four numbers of each, (4, n), its places first; and codes (n, bytes)."""
    end = HEAD_BYTES * n
    return record[:end].view(np.int32).reshape(4, n), record[end:].reshape(n, -1)
