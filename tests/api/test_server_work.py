"""Work off the event loop: batches, a bounded queue, deadlines, callers who go away."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from cormorant.api.server.problems import Problem
from cormorant.api.server.work import Workers


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


class Slow:
    """Doubles numbers, when ``go`` lets it; remembers the batches it was given."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, values: Sequence[int]) -> list[int]:
        self.batches.append(list(values))
        self.go.wait(10)
        if -1 in values:
            raise ValueError("no -1")
        return [2 * value for value in values]


def test_what_waits_for_a_busy_thread_runs_together() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=100, batch=8), Slow()
        first = asyncio.create_task(workers.batched("key", slow, 0))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(workers.batched("key", slow, n)) for n in range(1, 11)]
        other = asyncio.create_task(workers.batched("other", slow, 100))
        await asyncio.sleep(0.02)
        slow.go.set()
        assert await first == 0
        assert await asyncio.gather(*rest) == [2 * n for n in range(1, 11)]
        assert await other == 200
        assert slow.batches == [[0], list(range(1, 9)), [100], [9, 10]]
        await workers.close(1)

    run(test)


def test_alone_nobody_waits_and_in_company_only_a_little() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=100, batch=64, wait_seconds=1.0), Slow()
        slow.go.set()
        for n in range(3):
            started = time.perf_counter()
            await workers.batched("key", slow, n)
            assert time.perf_counter() - started < 0.5
        slow.go.clear()
        tasks = [asyncio.create_task(workers.batched("key", slow, n)) for n in range(5)]
        await asyncio.sleep(0.02)
        slow.go.set()
        await asyncio.gather(*tasks)
        # The last batch was of four: the next caller waits for three more, but not for ever.
        tasks = [asyncio.create_task(workers.batched("key", slow, n)) for n in range(4)]
        started = time.perf_counter()
        await asyncio.gather(*tasks)
        assert time.perf_counter() - started < 0.75
        assert slow.batches[-1] == [0, 1, 2, 3]
        started = time.perf_counter()
        await workers.batched("key", slow, 9)
        assert 0.75 < time.perf_counter() - started < 5
        started = time.perf_counter()
        await workers.batched("key", slow, 9)
        assert time.perf_counter() - started < 0.5
        await workers.close(1)

    run(test)


def test_one_bad_value_spoils_nobody_elses_answer() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=100, batch=8), Slow()
        first = asyncio.create_task(workers.batched("key", slow, 0))
        await asyncio.sleep(0.02)
        rest = [asyncio.create_task(workers.batched("key", slow, n)) for n in (1, -1, 2)]
        await asyncio.sleep(0.02)
        slow.go.set()
        await first
        answers = await asyncio.gather(*rest, return_exceptions=True)
        assert [answers[0], answers[2]] == [2, 4]
        assert isinstance(answers[1], ValueError)
        await workers.close(1)

    run(test)


def test_a_full_queue_says_when_to_come_back() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=2), Slow()
        tasks = [asyncio.create_task(workers.run(lambda: slow([1]))) for _ in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(Problem) as refused:
            await workers.run(lambda: slow([2]))
        assert (refused.value.code, refused.value.status_code) == ("overloaded", 429)
        assert int(refused.value.headers["Retry-After"]) >= 1
        slow.go.set()
        await asyncio.gather(*tasks)
        assert await workers.run(lambda: 7) == 7
        assert (workers.waiting, workers.running) == (0, 0)
        await workers.close(1)

    run(test)


def test_work_that_nobody_waits_for_any_more_never_begins() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=9), Slow()
        done: list[str] = []
        busy = asyncio.create_task(workers.run(lambda: slow([1])))
        await asyncio.sleep(0.02)
        gone = asyncio.create_task(workers.run(lambda: done.append("gone")))
        late = asyncio.create_task(workers.run(lambda: done.append("late"), 0.05))
        kept = asyncio.create_task(workers.run(lambda: done.append("kept")))
        await asyncio.sleep(0.02)
        gone.cancel()
        with pytest.raises(Problem) as passed:
            await late
        assert (passed.value.code, passed.value.status_code) == ("deadline_exceeded", 504)
        slow.go.set()
        await asyncio.gather(busy, kept)
        assert done == ["kept"]
        assert (workers.waiting, workers.running) == (0, 0)
        await workers.close(1)

    run(test)


def test_a_deadline_that_passes_while_the_work_runs() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=9), Slow()
        with pytest.raises(Problem, match="504"):
            await workers.run(lambda: slow([1]), 0.05)
        slow.go.set()
        assert await workers.run(lambda: 1) == 1
        await workers.close(1)

    run(test)


def test_closing_finishes_what_is_there_and_takes_no_more() -> None:
    async def test() -> None:
        workers, slow = Workers("t", threads=1, queue=9), Slow()
        tasks = [asyncio.create_task(workers.run(lambda: slow([1]))) for _ in range(3)]
        await asyncio.sleep(0.02)
        closing = asyncio.create_task(workers.close(5))
        await asyncio.sleep(0.02)
        with pytest.raises(Problem) as refused:
            await workers.run(lambda: 1)
        assert refused.value.code == "not_ready"
        slow.go.set()
        assert await asyncio.gather(*tasks) == [[2], [2], [2]]
        await closing

    run(test)
