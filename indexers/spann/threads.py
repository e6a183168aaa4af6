"""How many threads this index may use, and who does its work in them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, TypeAlias, TypeVar

import numpy as np

from ...contracts import Int64Array

Done: TypeAlias = Callable[[int], None]
"""Called with how many more rows are done."""
A = TypeVar("A")
T = TypeVar("T")

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


def followed(work: Callable[[A, Done], T], items: Iterable[A], done: Done) -> list[T]:
    """What ``work`` makes of each item, in :func:`workers`.

    It says in its thread how many rows are done; ``done`` is told of them in this one.
    """
    counts: SimpleQueue[int | Future[T]] = SimpleQueue()
    with workers() as pool:
        running = [pool.submit(work, item, counts.put) for item in items]
        try:
            for one in running:
                one.add_done_callback(counts.put)
            for _ in running:
                while not isinstance(count := counts.get(), Future):
                    done(count)
                count.result()  # what stopped one stops all
        finally:
            for one in running:
                one.cancel()
        return [one.result() for one in running]


def in_runs(sizes: Int64Array, rows: int) -> list[Int64Array]:
    """The numbers of neighbours of so many rows each, in runs of about ``rows`` rows."""
    borders = np.flatnonzero(np.diff(np.cumsum(sizes) // rows)) + 1
    return np.split(np.arange(len(sizes)), borders)


def untold(rows: int) -> None:
    """Nobody is told."""
