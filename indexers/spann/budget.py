"""How large a segment a build has memory for.

What it takes is counted beside the pages of its files, which the system may drop: a piece as it is
added, samples and what Python keeps; of each thread the blocks that it works on; of each row its
lists, its places, and its share of the centroids, of which there are a few copies. The numbers are
above what was seen (docs/results/spann.md).
"""

from __future__ import annotations

from typing import NamedTuple

_ALONE = 112 << 20
_THREAD = 40 << 20
_BLOCK_ROWS = 4096
_ROW = 64
_LIST = 2000


class Budget(NamedTuple):
    """How many rows one build may write, with how many threads."""

    rows: int
    threads: int


def budget_for(
    given: int, width: int, posting: int, replicas: int, least: int, threads: int
) -> Budget:
    """What ``given`` bytes are enough for, with rows of ``width`` numbers.

    With as many of the threads as leave room for half as many rows as one thread would; ``least``
    rows with one thread where it is too little for them, too.
    """
    row = _ROW + 8 * replicas + (16 * width + _LIST) / posting
    thread = _THREAD + 8 * _BLOCK_ROWS * width
    most = given - _ALONE - thread
    for count in range(threads, 0, -1):
        left = given - _ALONE - count * thread
        if left >= max(most / 2, least * row):
            return Budget(int(left / row), count)
    return Budget(least, 1)
