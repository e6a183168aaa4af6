"""Work off the event loop: bounded threads, a bounded queue, deadlines, and batches.

All that blocks (a search, a model, a disk) is an item of some lane. A lane is a queue of items that
one call can answer together: concurrent searches of one collection by one pipeline share a lane,
any other work has a lane of its own. When a thread is free it takes the lane that has waited
longest, and of it as many items as are there. One lane has at most half of the threads: what comes
meanwhile goes together, which costs less than going side by side, and other lanes go on.

So an item waits only while no thread is free for it, and then in company. Only a lane whose last
batch had several items waits longer, a few milliseconds and no more: after a batch its callers come
back one after another, and the first of them would otherwise go alone.

Everything here but ``_execute`` runs on the event loop's thread, so there are no locks.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .problems import Problem

Outcome: TypeAlias = "tuple[bool, Any]"
"""(True, the answer) or (False, the error)."""

_SIZES_KEPT = 1024


@dataclass(slots=True, eq=False)
class _Item:
    value: Any
    future: asyncio.Future[Any]
    expires: float
    waits: bool = True
    """It stands in its lane and is counted as waiting."""


@dataclass(slots=True, eq=False)
class _Lane:
    key: Hashable | None
    call: Callable[[Sequence[Any]], Sequence[Any]]
    items: deque[_Item] = field(default_factory=deque)
    expected: int = 1
    """How many items its last batch had."""
    running: int = 0
    queued: bool = False
    timer: asyncio.TimerHandle | None = None


class Workers:
    """Threads that answer items. ``observe`` is told the size of every batch.

    ``queue`` items may wait; one more that cannot begin at once raises the problem ``overloaded``
    with an estimate of when to come back.
    """

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        queue: int,
        batch: int = 1,
        wait_seconds: float = 0.0,
        observe: Callable[[int], None] | None = None,
    ) -> None:
        self.waiting = 0
        self.running = 0
        self._threads = threads
        self._threads_a_lane = max(1, threads // 2)
        self._queue = queue
        self._batch = batch
        self._wait = wait_seconds
        self._observe = observe
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"cormorant-{name}")
        self._lanes: dict[Hashable, _Lane] = {}
        self._sizes: OrderedDict[Hashable, int] = OrderedDict()
        self._ready: deque[_Lane] = deque()
        self._seconds_an_item = 0.05
        self._closed = False

    async def run(self, call: Callable[[], Any], timeout_seconds: float | None = None) -> Any:
        """Run one call in a thread; returns what it returns, raises what it raises.

        When the time runs out, or the task is cancelled, a call that has not begun never does.
        """
        return await self._put(_Lane(None, lambda _: [call()]), None, timeout_seconds)

    async def batched(
        self,
        key: Hashable,
        call: Callable[[Sequence[Any]], Sequence[Any]],
        value: Any,
        timeout_seconds: float | None = None,
    ) -> Any:
        """Have ``value`` answered by ``call``, together with others that wait under this key.

        ``call`` takes values and returns an answer for each. When it raises for several, each of
        them is tried alone, so that one bad value spoils nobody else's answer.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(key, call, expected=self._sizes.get(key, 1))
        return await self._put(lane, value, timeout_seconds)

    async def _put(self, lane: _Lane, value: Any, timeout_seconds: float | None) -> Any:
        if self._closed:
            self._forget_idle(lane)
            raise Problem(
                "not_ready", "the server is shutting down; try again", retry_after_seconds=1
            )
        if self.waiting >= self._queue and not self._has_thread(lane):
            self._forget_idle(lane)
            raise Problem(
                "overloaded",
                f"{self.waiting} requests wait already; try again later",
                retry_after_seconds=self._retry_after(),
            )
        expires = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        item = _Item(value, asyncio.get_running_loop().create_future(), expires)
        lane.items.append(item)
        self.waiting += 1
        self._schedule(lane)
        try:
            async with asyncio.timeout(timeout_seconds):
                return await item.future
        except TimeoutError:
            raise out_of_time(timeout_seconds) from None
        finally:
            if item.waits:
                lane.items.remove(item)
                self._waits_no_more(item)
            elif not item.future.done():
                item.future.cancel()  # it is being answered to nobody

    def _schedule(self, lane: _Lane) -> None:
        if lane.queued:
            return
        if len(lane.items) < lane.expected and self._wait:
            if lane.timer is None:
                loop = asyncio.get_running_loop()
                lane.timer = loop.call_later(self._wait, self._enqueue, lane)
            return
        self._enqueue(lane)

    def _enqueue(self, lane: _Lane) -> None:
        if lane.timer is not None:
            lane.timer.cancel()
            lane.timer = None
        self._enqueue_again(lane)
        self._pump()

    def _pump(self) -> None:
        while self.running < self._threads and self._ready:
            lane = self._ready.popleft()
            lane.queued = False
            if not self._has_thread(lane):
                continue  # it is put back when one of its batches is done
            items = self._take(lane)
            if items:
                self._start(lane, items)
            if lane.items:
                self._enqueue_again(lane)
            self._forget_idle(lane)

    def _has_thread(self, lane: _Lane) -> bool:
        return self.running < self._threads and lane.running < self._threads_a_lane

    def _enqueue_again(self, lane: _Lane) -> None:
        if not lane.queued:
            lane.queued = True
            self._ready.append(lane)

    def _forget_idle(self, lane: _Lane) -> None:
        if lane.key is not None and not lane.items and not lane.running:
            self._lanes.pop(lane.key, None)

    def _waits_no_more(self, item: _Item) -> None:
        item.waits = False
        self.waiting -= 1

    def _take(self, lane: _Lane) -> list[_Item]:
        """The next items of a lane that somebody still waits for."""
        items: list[_Item] = []
        now = time.monotonic()
        while lane.items and len(items) < self._batch:
            item = lane.items.popleft()
            self._waits_no_more(item)
            if not item.future.done() and item.expires > now:
                items.append(item)
        if lane.key is not None and items:
            lane.expected = len(items)
            self._sizes[lane.key] = len(items)
            self._sizes.move_to_end(lane.key)
            while len(self._sizes) > _SIZES_KEPT:
                self._sizes.popitem(last=False)
        return items

    def _start(self, lane: _Lane, items: list[_Item]) -> None:
        self.running += 1
        lane.running += 1
        if self._observe is not None:
            self._observe(len(items))
        loop = asyncio.get_running_loop()
        started = time.monotonic()
        values = [item.value for item in items]

        def work() -> None:
            outcomes = _execute(lane.call, values)
            loop.call_soon_threadsafe(self._finish, lane, items, outcomes, started)

        self._pool.submit(work)

    def _finish(
        self, lane: _Lane, items: list[_Item], outcomes: Sequence[Outcome], started: float
    ) -> None:
        self.running -= 1
        lane.running -= 1
        seconds = (time.monotonic() - started) / len(items)
        self._seconds_an_item += 0.1 * (seconds - self._seconds_an_item)
        for item, (done, answer) in zip(items, outcomes, strict=True):
            if item.future.done():
                continue
            if done:
                item.future.set_result(answer)
            else:
                item.future.set_exception(answer)
        if lane.items:
            self._schedule(lane)
        self._forget_idle(lane)
        self._pump()

    def _retry_after(self) -> int:
        seconds = self.waiting * self._seconds_an_item / self._threads
        return max(1, min(60, math.ceil(seconds)))

    async def close(self, timeout_seconds: float) -> None:
        """Take no more, finish what is there (as long as the time allows), end the threads."""
        self._closed = True
        try:
            async with asyncio.timeout(timeout_seconds):
                while self.running or self.waiting:
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pass
        self._pool.shutdown(wait=self.running == 0, cancel_futures=True)


def _execute(
    call: Callable[[Sequence[Any]], Sequence[Any]], values: Sequence[Any]
) -> Sequence[Outcome]:
    try:
        answers = call(values)
        if len(answers) != len(values):
            raise RuntimeError(f"{len(answers)} answers to {len(values)} questions")
        return [(True, answer) for answer in answers]
    except Exception as error:  # it is raised again where the answer is awaited
        if len(values) == 1:
            return [(False, error)]
    return [outcome for value in values for outcome in _execute(call, [value])]


def out_of_time(timeout_seconds: float | None) -> Problem:
    """The problem of a deadline that passed."""
    allowed = "" if timeout_seconds is None else f" within {timeout_seconds * 1000:.0f} ms"
    return Problem(
        "deadline_exceeded",
        f"no answer{allowed}; allow more with timeout_ms, or ask for less (a smaller depth or k)",
    )
