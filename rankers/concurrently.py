"""The same question of several items that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def concurrently(ask: Callable[[U], T], items: Sequence[U], concurrency: int) -> list[T]:
    """The answers in the order of the items, at most ``concurrency`` asked at a time.

    What one of them raises is raised, and those that have not begun are not asked any more.
    """
    if len(items) < 2 or concurrency == 1:
        return [ask(item) for item in items]
    with ThreadPoolExecutor(min(concurrency, len(items))) as pool:
        return list(pool.map(ask, items))
