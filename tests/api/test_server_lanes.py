"""No lane takes every thread, a lane's queue is bounded, and who leaves frees a place."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from language_models import ordered
from serving import in_process, make_birds

from cormorant.api.server.problems import Problem
from cormorant.api.server.work import Workers
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import openai
from cormorant.rankers.language_models.openai import URL


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 20))


class Held:
    """Doubles numbers once ``go`` is set; remembers the batches it was given."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.batches: list[list[int]] = []

    def __call__(self, values: Sequence[int]) -> list[int]:
        self.batches.append(list(values))
        self.go.wait(10)
        return [2 * value for value in values]


def test_a_lane_leaves_threads_to_the_others() -> None:
    async def test() -> None:
        workers, held, other = Workers("t", threads=2, queue=100, batch=8), Held(), Held()
        tasks = [asyncio.create_task(workers.batched("slow", held, n)) for n in range(5)]
        await asyncio.sleep(0.02)
        assert workers.running == 1  # the first; the others wait for it, and go together
        other.go.set()
        assert await workers.batched("quick", other, 7) == 14
        assert await workers.run(lambda: 3) == 3
        held.go.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4, 6, 8]
        assert held.batches == [[0], [1, 2, 3, 4]]
        assert (workers.waiting, workers.running) == (0, 0)
        await workers.close(1)

    run(test)


def test_with_more_threads_a_lane_has_half_of_them() -> None:
    async def test() -> None:
        workers, held = Workers("t", threads=4, queue=100, batch=1), Held()
        tasks = [asyncio.create_task(workers.batched("key", held, n)) for n in range(6)]
        await asyncio.sleep(0.05)
        assert (workers.running, workers.waiting) == (2, 4)
        held.go.set()
        assert await asyncio.gather(*tasks) == [2 * n for n in range(6)]
        assert (workers.running, workers.waiting) == (0, 0)
        await workers.close(1)

    run(test)


def test_a_lane_whose_queue_is_full_refuses_while_a_thread_is_free_for_others() -> None:
    async def test() -> None:
        workers, held, other = Workers("t", threads=2, queue=2, batch=8), Held(), Held()
        tasks = [asyncio.create_task(workers.batched("slow", held, n)) for n in range(3)]
        await asyncio.sleep(0.02)
        with pytest.raises(Problem) as refused:
            await workers.batched("slow", held, 3)
        assert refused.value.code == "overloaded"
        other.go.set()
        assert await workers.batched("quick", other, 1) == 2
        held.go.set()
        assert await asyncio.gather(*tasks) == [0, 2, 4]
        await workers.close(1)

    run(test)


def test_who_leaves_frees_a_place_at_once() -> None:
    async def test() -> None:
        workers, held = Workers("t", threads=1, queue=2, batch=8), Held()
        first = asyncio.create_task(workers.batched("key", held, 0))
        await asyncio.sleep(0.02)
        leaving = [asyncio.create_task(workers.batched("key", held, n)) for n in (1, 2)]
        await asyncio.sleep(0.02)
        for task in leaving:
            task.cancel()
        await asyncio.gather(*leaving, return_exceptions=True)
        assert workers.waiting == 0
        staying = [asyncio.create_task(workers.batched("key", held, n)) for n in (3, 4)]
        await asyncio.sleep(0.02)
        held.go.set()
        assert await asyncio.gather(first, *staying) == [0, 6, 8]
        assert held.batches == [[0], [3, 4]]
        await workers.close(1)

    run(test)


def test_a_refused_search_leaves_no_lane_behind() -> None:
    async def test() -> None:
        workers, held = Workers("t", threads=1, queue=1), Held()
        tasks = [asyncio.create_task(workers.batched("key", held, n)) for n in range(2)]
        await asyncio.sleep(0.05)
        for number in range(50):
            with pytest.raises(Problem, match="wait already"):
                await workers.batched(number, held, number)
        assert set(workers._lanes) == {"key"}
        held.go.set()
        assert await asyncio.gather(*tasks) == [0, 2]
        await workers.close(1)

    run(test)


def test_searches_that_wait_for_a_language_model_hold_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those behind the first wait for it, and are then asked for side by side, in one batch."""
    first, go, two = threading.Event(), threading.Event(), threading.Barrier(2)

    def answer(prompt: str) -> str:
        if not first.is_set():
            first.set()
            go.wait(60)
        else:
            two.wait(60)  # for another: one that is asked alone fails
        return ordered(prompt, len)

    stage = {"kind": "listwise", "language_model": {"kind": "openai", "model": "m"}}
    slow = {"query": "bird fish", "pipeline": {"retrieve": ["bm25"], "rerank": [stage]}}
    path = "/v1/collections/birds/search"
    with (
        serving(Endpoint(answer, None)) as endpoint,
        in_process(
            collections=(make_birds(tmp_path / "birds.cm"),), language_models=("openai:m",)
        ) as client,
        ThreadPoolExecutor(5) as callers,
    ):
        monkeypatch.setenv(URL, endpoint.url)
        waiting = [callers.submit(client.post, path, json=slow) for _ in range(5)]
        assert first.wait(60)
        for _ in range(3):
            quick = client.post(path, json={"query": "bird", "pipeline": "bm25"})
            assert quick.status_code == 200
        assert not any(one.done() for one in waiting)
        end = time.monotonic() + 60
        while "cormorant_waiting 4.0" not in (metrics := client.get("/metrics").text):
            assert time.monotonic() < end, metrics
            time.sleep(0.01)
        go.set()
        assert [one.result().status_code for one in waiting] == [200] * 5
    openai._client().close()
    openai._client.cache_clear()
