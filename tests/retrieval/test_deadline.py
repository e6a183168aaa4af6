"""The time a search may take: no step begins after it, and what was left out is said."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import pytest
from toys import Toy, ToyIndex, ToyShortest, use

import cormorant as cm
from cormorant.errors import DeadlineError
from cormorant.retrieval import deadline


class Clock:
    """A clock that stands still until time is spent, however busy the machine is."""

    def __init__(self) -> None:
        self._now = 0.0
        self._lock = Lock()

    def perf_counter(self) -> float:
        return self._now

    def spend(self, seconds: float) -> None:
        with self._lock:
            self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(deadline, "time", own)
    return own


@pytest.fixture
def slow(home: Any, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A collection whose every search of an index takes 30 ms (of each of its shards)."""
    use(monkeypatch)
    with home.create(tmp_path / "slow.cm", {"one": Toy(), "two": Toy(weight=2.0)}) as collection:
        collection.add([cm.Document(id=text, text=text) for text in ("a", "aab", "bbbb", "zz")])
        quick = ToyIndex.search

        def search(self: ToyIndex, *arguments: Any) -> Any:
            clock.spend(0.03)
            return quick(self, *arguments)

        monkeypatch.setattr(ToyIndex, "search", search)
        yield collection


BOTH = cm.Pipeline(["one", "two"], fuse=cm.RRF(), rerank=[ToyShortest(depth=3)])


def test_a_search_within_its_time_is_whole(slow: cm.Collection) -> None:
    result = slow.search("a", pipeline=BOTH, timeout_ms=10_000, partial=True)
    assert not result.flags
    assert result.ids == slow.search("a", pipeline=BOTH).ids
    assert result.ids == slow.search("a", pipeline=BOTH, timeout_ms=10_000).ids


def test_past_its_time_a_search_stops_before_the_next_step(slow: cm.Collection) -> None:
    with pytest.raises(DeadlineError, match=r"within 10 ms.*before searching index 'two'"):
        slow.search("a", pipeline=BOTH, timeout_ms=10)


def test_what_a_partial_answer_lacks_is_said(slow: cm.Collection) -> None:
    result = slow.search("a", pipeline=BOTH, timeout_ms=10, partial=True, explain=True)
    assert result.ids == slow.search("a", pipeline="one").ids
    assert [flag.partition("before ")[2] for flag in result.flags] == [
        "searching index 'two', which was left out",
        "rerank.toy-shortest, which was left out",
    ]
    assert result[0].explanation is not None
    assert "two" not in result[0].explanation


def test_a_ranker_is_told_how_much_time_is_left(
    slow: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float | None] = []
    rank = ToyShortest.rank

    def spy(self: ToyShortest, candidates: Any, budget: Any) -> Any:
        budgets.append(budget.milliseconds)
        return rank(self, candidates, budget)

    monkeypatch.setattr(ToyShortest, "rank", spy)
    slow.search("a", pipeline=BOTH, timeout_ms=5_000)
    slow.search("a", pipeline=BOTH)
    assert budgets[0] is not None
    assert 0 < budgets[0] < 4_950
    assert budgets[1] is None


def test_a_large_batch_stops_between_its_parts(slow: cm.Collection) -> None:
    queries = ["a"] * 300
    with pytest.raises(DeadlineError, match="of the batch"):
        slow.search_batch(queries, pipeline="one", timeout_ms=40)
    results = slow.search_batch(queries, pipeline="one", timeout_ms=40, partial=True)
    assert results[0].ids == ["aab", "a"]
    assert not results[-1].ids
    assert "query" in results[-1].flags[0]
    whole = slow.search_batch(queries, pipeline="one", timeout_ms=10_000)
    assert {tuple(result.ids) for result in whole} == {("aab", "a")}


def test_a_deadline_stops_the_explaining(
    slow: cm.Collection, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch was explained to its end, long after its time was over."""
    score = ToyIndex.score
    calls: list[int] = []

    def slowly(self: ToyIndex, *arguments: Any) -> Any:
        calls.append(1)
        clock.spend(0.02)
        return score(self, *arguments)

    monkeypatch.setattr(ToyIndex, "score", slowly)
    queries = ["a"] * 64
    with pytest.raises(DeadlineError, match="before reading and explaining the hits of query"):
        slow.search_batch(queries, pipeline="one", explain=True, timeout_ms=150)
    assert len(calls) < 20
    results = slow.search_batch(queries, pipeline="one", explain=True, timeout_ms=150, partial=True)
    assert {tuple(result.ids) for result in results} == {("aab", "a")}
    assert not results[0].flags
    assert results[0][0].explanation is not None
    assert results[-1][0].explanation is None
    assert results[-1][0].document.text == "aab"
    (flag,) = results[-1].flags
    assert flag.startswith("150 ms were over before reading and explaining the hits of query")


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "10", True])
def test_a_time_that_cannot_be_meant(slow: cm.Collection, wrong: Any) -> None:
    with pytest.raises(cm.InputError, match="timeout_ms"):
        slow.search("a", pipeline="one", timeout_ms=wrong)
