"""The same question of several items that do not depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


def concurrently(
    ask: Callable[[U], T], items: Sequence[U], concurrency: int, failed: Event | None = None
) -> list[T]:
    """The answers in the order of the items, at most ``concurrency`` asked at a time.

    Once one of them raises, those that have not begun are not asked any more, and ``failed`` is set
    for those that have. When these have ended, what the first in order raised is raised.
    """

    def asked(item: U) -> T:
        try:
            return ask(item)
        except BaseException:
            if failed is not None:
                failed.set()
            raise

    if len(items) < 2 or concurrency == 1:
        return [asked(item) for item in items]
    with ThreadPoolExecutor(min(concurrency, len(items))) as pool:
        answers = [pool.submit(asked, item) for item in items]
        try:
            wait(answers, return_when=FIRST_EXCEPTION)
        finally:
            for answer in answers:
                answer.cancel()
    for answer in answers:
        if not answer.cancelled():
            answer.result()
    return [answer.result() for answer in answers]
