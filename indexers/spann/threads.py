"""How many threads this index may use, and who does its work in them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_working: list[Any] = []
"""The same limit for each that works now."""


_limit = threading.local()


def threads() -> int:
    """As many as numba may: ``NUMBA_NUM_THREADS``, or the processors that this process may use.

    Or fewer, in a block that is :func:`limited`.
    """
    import numba

    count: int = numba.get_num_threads()
    return min(count, getattr(_limit, "threads", count))


@contextmanager
def limited(count: int) -> Iterator[None]:
    """What this thread does in the block is done in so many threads at most."""
    _limit.threads = count
    try:
        yield
    finally:
        del _limit.threads


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """Threads for a build, in each of which a product of matrices stays.

    Where BLAS divides it among threads of its own these wait for each other, spinning: on a busy
    machine assigning took ten times as long.
    """
    from threadpoolctl import threadpool_limits

    with _lock:
        _working.append(_working[0] if _working else threadpool_limits(1, "blas"))
    try:
        with ThreadPoolExecutor(threads()) as pool:
            yield pool
    finally:
        with _lock:
            limits = _working.pop()
            if not _working:
                limits.restore_original_limits()
