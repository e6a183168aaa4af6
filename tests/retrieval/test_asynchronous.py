"""Searches that are awaited: side by side, off the event loop, cancelled, late, and in error."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from language_models import Scripted, by_number, ordered

import cormorant as cm
from cormorant.api.client.async_collection import AsyncRemoteCollection
from cormorant.errors import DeadlineError, ReadOnlyError
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import openai
from cormorant.rankers.language_models.openai import URL
from cormorant.rankers.pairs import rank_pairs
from cormorant.rankers.table import LANGUAGE_MODELS
from cormorant.stages import Budget, Candidates

LATENCY = 0.2
BEST_FIRST = [str(number) for number in range(8, -1, -1)]


class Slow(Endpoint):
    """Orders passages by the numbers they end with, ``latency`` seconds after it is asked."""

    def __init__(self, latency: float = LATENCY) -> None:
        super().__init__(lambda prompt: ordered(prompt, by_number), None)
        self.latency = latency
        self.under_way = self.most = 0

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        time.sleep(self.latency)
        with self.lock:
            self.under_way -= 1
        return super().reply(body)


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    with ExitStack() as stack:

        def serve(endpoint: Endpoint) -> Endpoint:
            stack.enter_context(serving(endpoint))
            monkeypatch.setenv(URL, endpoint.url)
            return endpoint

        yield serve
    openai._client().close()
    openai._client.cache_clear()


@pytest.fixture
def papers(tmp_path: Path) -> Iterator[cm.Collection]:
    with cm.Collection.create(tmp_path / "papers.cm") as made:
        made.add(cm.Document(id=str(n), text=f"a passage worth {n}") for n in range(9))
        yield made


def listwise(**given: Any) -> cm.Pipeline:
    stage = cm.Listwise(cm.OpenAIModel("m", retries=0), prior_weight=0.0, **given)
    return cm.Pipeline(["bm25"], rerank=[stage])


async def ticks(until: asyncio.Event) -> float:
    """The longest time between two turns of a task that only wants to go on."""
    longest, last = 0.0, time.monotonic()
    while not until.is_set():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    return longest


def test_searches_wait_for_an_endpoint_side_by_side_and_the_loop_goes_on(
    served: Any, papers: cm.Collection
) -> None:
    endpoint = served(Slow())
    papers.search("passage", pipeline=listwise())  # what is loaded once is not timed

    async def main() -> tuple[list[cm.Result], float, float]:
        async with cm.AsyncCollection(papers) as searching:
            over = asyncio.Event()
            ticking = asyncio.create_task(ticks(over))
            begun = time.monotonic()
            results = await asyncio.gather(
                *(searching.search(f"passage {n}", 9, pipeline=listwise()) for n in range(8))
            )
            took = time.monotonic() - begun
            over.set()
            return results, took, await ticking

    results, took, longest = asyncio.run(main())
    assert [result.ids for result in results] == [BEST_FIRST] * 8
    assert results[0][0].text == "a passage worth 8"
    assert endpoint.most > 4
    assert took < 8 * LATENCY / 2
    assert longest < LATENCY


def test_one_slow_search_does_not_hold_up_another(served: Any, papers: cm.Collection) -> None:
    served(Slow(1.0))

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=2) as searching:
            slow = asyncio.create_task(searching.search("passage", pipeline=listwise()))
            await asyncio.sleep(0.05)
            begun = time.monotonic()
            for _ in range(5):
                assert len(await searching.search("passage", pipeline="bm25")) == 9
            assert time.monotonic() - begun < 0.7
            assert not slow.done()
            assert (await slow).ids == BEST_FIRST

    asyncio.run(main())


def test_a_batch_asks_the_endpoint_for_its_queries_at_once_within_the_limit(
    served: Any, papers: cm.Collection
) -> None:
    endpoint = served(Slow())
    queries = [f"passage {n}" for n in range(8)]

    async def main() -> list[cm.Result]:
        async with cm.AsyncCollection(papers) as searching:
            return await searching.search_batch(
                queries, 9, pipeline=listwise(concurrency=3, shuffles=2)
            )

    begun = time.monotonic()
    assert [result.ids for result in asyncio.run(main())] == [BEST_FIRST] * 8
    assert time.monotonic() - begun < 16 * LATENCY * 0.7
    assert len(endpoint.requests) == 16
    assert endpoint.most == 3


def test_a_cancelled_search_makes_room_and_asks_no_more(served: Any, papers: cm.Collection) -> None:
    """Eight windows one after the other: the call that it is in is the last."""
    endpoint = served(Slow(0.6))
    windows = listwise(method="windows", window=2, stride=1)

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=1) as searching:
            under_way = asyncio.create_task(searching.search("passage", pipeline=windows))
            waiting = asyncio.create_task(searching.search("passage 1", pipeline=windows))
            while not endpoint.under_way:
                await asyncio.sleep(0.01)
            under_way.cancel()
            waiting.cancel()
            begun = time.monotonic()
            assert len(await searching.search("passage", pipeline="bm25")) == 9
            assert time.monotonic() - begun < 0.4
            for task in (under_way, waiting):
                with pytest.raises(asyncio.CancelledError):
                    await task
        # Closed: the threads are through.
        assert len(endpoint.requests) == 1

    asyncio.run(main())


def test_a_timeout_of_the_loop_cancels(served: Any, papers: cm.Collection) -> None:
    endpoint = served(Slow())

    async def main() -> None:
        async with cm.AsyncCollection(papers) as searching:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(LATENCY / 2):
                    windows = listwise(method="windows", window=2, stride=1)
                    await searching.search("passage", pipeline=windows)

    asyncio.run(main())
    assert len(endpoint.requests) == 1


class Pairs:
    """Ranks by a scorer that is slow, and counts the pairs."""

    kind = "pairs"
    depth = 9

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.scored = 0

    def score_pairs(self, pairs: Any) -> np.ndarray:
        self.begun.set()
        time.sleep(0.1)
        self.scored += len(pairs)
        return np.array([by_number(text) for _, text in pairs], np.float32)

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> cm.Ranking:
        return rank_pairs(self, candidates, budget)


def test_pairs_are_not_scored_for_one_who_cancelled(
    papers: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cormorant.rankers.pairs.PAIRS_BETWEEN_LOOKS", 2)
    scorer = Pairs()

    async def main() -> None:
        async with cm.AsyncCollection(papers) as searching:
            pipeline = cm.Pipeline(["bm25"], rerank=[scorer])
            task = asyncio.create_task(searching.search("passage", pipeline=pipeline))
            await asyncio.to_thread(scorer.begun.wait)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert scorer.scored == 2


def test_a_deadline_is_handed_down_and_counts_from_the_call(
    served: Any, papers: cm.Collection
) -> None:
    served(Slow(2.0))

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=1) as searching:
            begun = time.monotonic()
            slow = asyncio.create_task(
                searching.search(
                    "passage", pipeline=listwise(on_error="keep"), timeout_ms=400, partial=True
                )
            )
            await asyncio.sleep(0)
            with pytest.raises(DeadlineError, match="other searches were before it"):
                await searching.search("passage", timeout_ms=50)
            kept = await slow
            assert time.monotonic() - begun < 1.5
            assert len(kept) == 9
            assert any("kept their order" in flag for flag in kept.flags)

    asyncio.run(main())


def test_errors_arrive(served: Any, papers: cm.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        searching = cm.AsyncCollection(papers)
        for wrong in ({"query": 3}, {"query": "x", "k": 0}, {"query": "x", "pipeline": "nothing"}):
            with pytest.raises(cm.InputError):
                await searching.search(**wrong)
        with pytest.raises(cm.InputError, match="vectors"):
            await searching.search_batch(["x"], vectors=np.zeros((2, 3), np.float32))
        monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
        with pytest.raises(cm.ServiceError, match="no answer from the endpoint"):
            await searching.search("passage", pipeline=listwise())
        await searching.close()
        await searching.close()
        with pytest.raises(ReadOnlyError, match="closed"):
            await searching.search("passage")
        assert len(papers.search("passage")) == 9  # which stays open

    asyncio.run(main())
    for wrong in (0, True, 2.0, 2000):
        with pytest.raises(cm.InputError, match="concurrency"):
            cm.AsyncCollection(papers, concurrency=wrong)  # type: ignore[arg-type]


def test_the_calls_are_those_of_a_collection() -> None:
    for name in ("search", "search_batch"):
        ours = inspect.signature(getattr(cm.AsyncCollection, name))
        assert list(ours.parameters.values()) == list(
            inspect.signature(getattr(cm.Collection, name)).parameters.values()
        )
        remote = inspect.signature(getattr(AsyncRemoteCollection, name)).parameters
        assert [remote[key] for key in ours.parameters] == list(ours.parameters.values())


def test_reformulations_of_a_batch_are_asked_for_side_by_side(
    papers: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LANGUAGE_MODELS, "scripted", "language_models:Scripted")
    model = Scripted(lambda prompt: "worth", seconds_per_call=0.05)
    longer = cm.GenQREnsemble(model, instructions=2, concurrency=8)
    begun = time.monotonic()
    results = papers.search_batch(
        ["passage"] * 8, pipeline=cm.Pipeline(["bm25"], reformulate=longer)
    )
    assert time.monotonic() - begun < 16 * 0.05 * 0.7
    assert len(model.prompts) == 16
    assert [len(result) for result in results] == [9] * 8


def test_a_collection_in_shards_is_awaited_too(tmp_path: Path) -> None:
    with cm.Cluster.create(tmp_path / "sea", shards=2) as cluster:
        papers = cluster.create_collection("papers")
        papers.add(cm.Document(id=str(n), text=f"a passage worth {n}") for n in range(9))

        async def main() -> tuple[cm.Result, list[cm.Result]]:
            async with cm.AsyncCollection(papers) as searching:
                one = await searching.search("worth 3", 2)
                return one, await searching.search_batch(["worth 3", "worth 4"], 1)

        one, several = asyncio.run(main())
    assert one.ids[0] == "3"
    assert [result.ids for result in several] == [["3"], ["4"]]
    assert several[1][0].text == "a passage worth 4"  # read with the search: the cluster is closed
