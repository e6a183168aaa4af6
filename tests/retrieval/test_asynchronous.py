"""Searches that are awaited: side by side, off the event loop, cancelled, late, and in error."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Iterator, Sequence
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

BEST_FIRST = [str(number) for number in range(8, -1, -1)]
LONG = 60.0
"""Seconds that nothing here takes: where a test would wait for ever, it fails instead."""


class Held(Endpoint):
    """Orders passages by the numbers they end with, once ``go`` is set."""

    def __init__(self) -> None:
        super().__init__(lambda prompt: ordered(prompt, by_number), None)
        self.go = threading.Event()
        self.under_way = self.most = 0

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        with self.lock:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
        self.go.wait(LONG)
        with self.lock:
            self.under_way -= 1
        return super().reply(body)

    async def has_under_way(self, calls: int) -> None:
        """Wait on the event loop until so many calls wait for ``go``."""
        async with asyncio.timeout(LONG):
            while self.under_way < calls:
                await asyncio.sleep(0.01)


@pytest.fixture
def papers(tmp_path: Path) -> Iterator[cm.Collection]:
    with cm.Collection.create(tmp_path / "papers.cm") as made:
        made.add(cm.Document(id=str(n), text=f"a passage worth {n}") for n in range(9))
        yield made


@pytest.fixture
def endpoint(papers: cm.Collection, monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    """Holds its answers; it was asked once, so that all is loaded, and has forgotten it."""
    with serving(Held()) as held:
        assert isinstance(held, Held)
        monkeypatch.setenv(URL, held.url)
        held.go.set()
        papers.search("passage", pipeline=listwise())
        held.go.clear()
        held.requests.clear()
        held.most = 0
        yield held
        held.go.set()
    openai._client().close()
    openai._client.cache_clear()


def listwise(**given: Any) -> cm.Pipeline:
    stage = cm.Listwise(cm.OpenAIModel("m", retries=0), prior_weight=0.0, **given)
    return cm.Pipeline(["bm25"], rerank=[stage])


def test_searches_wait_for_an_endpoint_side_by_side_and_the_loop_goes_on(
    endpoint: Held, papers: cm.Collection
) -> None:
    async def main() -> list[cm.Result]:
        async with cm.AsyncCollection(papers) as searching:
            tasks = [
                asyncio.create_task(searching.search(f"passage {n}", 9, pipeline=listwise()))
                for n in range(8)
            ]
            await endpoint.has_under_way(8)  # on the loop, which goes on
            assert not any(task.done() for task in tasks)
            endpoint.go.set()
            return await asyncio.gather(*tasks)

    results = asyncio.run(main())
    assert [result.ids for result in results] == [BEST_FIRST] * 8
    assert results[0][0].text == "a passage worth 8"


def test_one_slow_search_does_not_hold_up_another(endpoint: Held, papers: cm.Collection) -> None:
    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=2) as searching:
            slow = asyncio.create_task(searching.search("passage", pipeline=listwise()))
            await endpoint.has_under_way(1)
            for _ in range(5):
                assert len(await searching.search("passage", pipeline="bm25")) == 9
            assert not slow.done()
            endpoint.go.set()
            assert (await slow).ids == BEST_FIRST

    asyncio.run(main())


def test_a_batch_asks_the_endpoint_for_its_queries_at_once_within_the_limit(
    endpoint: Held, papers: cm.Collection
) -> None:
    queries = [f"passage {n}" for n in range(8)]

    async def main() -> list[cm.Result]:
        async with cm.AsyncCollection(papers) as searching:
            batch = searching.search_batch(queries, 9, pipeline=listwise(concurrency=3, shuffles=2))
            task = asyncio.create_task(batch)
            await endpoint.has_under_way(3)
            await asyncio.sleep(0.3)  # a fourth would be here by now
            endpoint.go.set()
            return await task

    assert [result.ids for result in asyncio.run(main())] == [BEST_FIRST] * 8
    assert len(endpoint.requests) == 16
    assert endpoint.most == 3


def test_a_cancelled_search_makes_room_and_asks_no_more(
    endpoint: Held, papers: cm.Collection
) -> None:
    """Eight windows one after the other: the call that it is in is the last."""
    windows = listwise(method="windows", window=2, stride=1)

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=1) as searching:
            under_way = asyncio.create_task(searching.search("passage", pipeline=windows))
            waiting = asyncio.create_task(searching.search("passage 1", pipeline=windows))
            await endpoint.has_under_way(1)
            under_way.cancel()
            waiting.cancel()
            assert len(await searching.search("passage", pipeline="bm25")) == 9
            assert endpoint.under_way == 1  # it still waits for the endpoint, to nobody
            for task in (under_way, waiting):
                with pytest.raises(asyncio.CancelledError):
                    await task
            endpoint.go.set()
        # Closed: the threads are through.
        assert len(endpoint.requests) == 1

    asyncio.run(main())


def test_a_timeout_of_the_loop_cancels(endpoint: Held, papers: cm.Collection) -> None:
    windows = listwise(method="windows", window=2, stride=1)

    async def main() -> None:
        async def runs_out(limit: asyncio.Timeout) -> None:
            await endpoint.has_under_way(1)
            limit.reschedule(asyncio.get_running_loop().time())

        async with cm.AsyncCollection(papers) as searching:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit:
                    over = asyncio.create_task(runs_out(limit))
                    await searching.search("passage", pipeline=windows)
            await over
            endpoint.go.set()

    asyncio.run(main())
    assert len(endpoint.requests) == 1


class Pairs:
    """Ranks by a scorer that waits for ``go``, and counts the pairs."""

    kind = "pairs"
    depth = 9

    def __init__(self) -> None:
        self.begun, self.go = threading.Event(), threading.Event()
        self.scored = 0

    def score_pairs(self, pairs: Any) -> np.ndarray:
        self.begun.set()
        self.go.wait(LONG)
        self.scored += len(pairs)
        return np.array([by_number(text) for _, text in pairs], np.float32)

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> cm.Ranking:
        return rank_pairs(self, candidates, budget)


def test_pairs_are_not_scored_for_one_who_cancelled(
    papers: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cormorant.rankers.pairs.PAIRS_AT_ONCE", 2)
    scorer = Pairs()

    async def main() -> None:
        async with cm.AsyncCollection(papers) as searching:
            pipeline = cm.Pipeline(["bm25"], rerank=[scorer])
            task = asyncio.create_task(searching.search("passage", pipeline=pipeline))
            await asyncio.to_thread(scorer.begun.wait, LONG)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            scorer.go.set()

    asyncio.run(main())
    assert scorer.scored == 2


def test_a_deadline_is_handed_down_and_counts_from_the_call(
    endpoint: Held, papers: cm.Collection
) -> None:
    """The endpoint answers neither: only the deadline, as the stage is told it, ends the first."""

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=1) as searching:
            pipeline = listwise(on_error="keep")
            slow = asyncio.create_task(
                searching.search("passage", pipeline=pipeline, timeout_ms=3000, partial=True)
            )
            await endpoint.has_under_way(1)
            with pytest.raises(DeadlineError, match="other searches were before it"):
                await searching.search("passage", timeout_ms=50)
            kept = await slow
            assert len(kept) == 9
            assert any("kept their order" in flag for flag in kept.flags)

    asyncio.run(main())


class Waits:
    """A stage that looks at nothing before ``go`` is set."""

    kind = "waits"
    depth = 9

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Semaphore(0)

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> cm.Ranking:
        self.begun.release()
        self.go.wait(LONG)
        raise cm.CormorantError("nobody reads this")


def test_a_deadline_is_kept_where_cancelled_searches_have_all_threads(
    papers: cm.Collection,
) -> None:
    stage = Waits()

    async def main() -> None:
        async with cm.AsyncCollection(papers, concurrency=1) as searching:
            for _ in range(2):
                pipeline = cm.Pipeline(["bm25"], rerank=[stage])
                task = asyncio.create_task(searching.search("passage", pipeline=pipeline))
                assert await asyncio.to_thread(stage.begun.acquire, timeout=LONG)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            for partial in (False, True):
                with pytest.raises(DeadlineError, match="other searches were before it"):
                    await searching.search("passage", timeout_ms=50, partial=partial)
            waiting = asyncio.create_task(searching.search("passage"))
            await asyncio.sleep(0.05)
            assert not waiting.done()
            stage.go.set()
            assert len(await waiting) == 9

    asyncio.run(main())


def test_errors_arrive(papers: cm.Collection, monkeypatch: pytest.MonkeyPatch) -> None:
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
    eight = threading.Barrier(8)  # whoever waits in vain for seven others raises

    def answer(prompt: str) -> str:
        eight.wait(LONG)
        return "worth"

    model = Scripted(answer)
    longer = cm.GenQREnsemble(model, instructions=2, concurrency=8)
    results = papers.search_batch(
        ["passage"] * 8, pipeline=cm.Pipeline(["bm25"], reformulate=longer)
    )
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
