"""How many threads this index may use."""

from __future__ import annotations


def threads() -> int:
    """As many as numba may: ``NUMBA_NUM_THREADS``, or the processors that this process may use."""
    import numba

    count: int = numba.get_num_threads()
    return count
