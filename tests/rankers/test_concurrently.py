"""Asked side by side: the limit, what fails, and the threads that it takes."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from language_models import Scripted, by_number, ordered

import cormorant as cm
from cormorant.documents import Chunk
from cormorant.rankers.concurrently import concurrently
from cormorant.stages import Budget, Candidates

LONG = 60.0


def candidates(number: int, n: int) -> Candidates:
    chunks = [Chunk(row, row, str(row), "", f"passage of {number}: {row}") for row in range(n)]
    scores = np.zeros(n, np.float32)
    return Candidates(f"query {number}", np.arange(n), scores, chunks, lambda index: scores)


def test_answers_come_in_the_order_of_the_items() -> None:
    for concurrency in (1, 3, 50):
        assert concurrently(lambda n: n * n, range(20), concurrency) == [n * n for n in range(20)]
    assert concurrently(str, [], 4) == []


def test_after_a_failure_no_other_is_begun() -> None:
    together, failed = threading.Barrier(4), threading.Event()
    asked: list[int] = []

    def ask(item: int) -> int:
        asked.append(item)
        if item < 4:
            together.wait(LONG)
        if item == 0:
            raise ValueError("no key")
        assert failed.wait(LONG)
        time.sleep(0.1)
        return item

    with pytest.raises(ValueError, match="no key"):
        concurrently(ask, range(1000), 4, failed)
    assert len(asked) < 40  # the first four, and what came before the others were called off


def test_of_several_that_fail_the_first_in_order_is_raised() -> None:
    second = threading.Event()

    def ask(item: int) -> int:
        if item == 1:
            second.set()
        assert second.wait(LONG)
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        concurrently(ask, [0, 1], 2)


def test_a_batch_that_fails_does_not_go_on_paying() -> None:
    failed = threading.Event()

    def answer(prompt: str) -> str:
        if "query 0" in prompt:
            failed.set()
            raise RuntimeError("bad")
        assert failed.wait(LONG)
        time.sleep(0.1)
        return ordered(prompt, by_number)

    model = Scripted(answer)
    stage = cm.Listwise(model, method="windows", window=4, stride=2)
    with pytest.raises(RuntimeError, match="bad"):
        stage.rank([candidates(number, 40) for number in range(20)], Budget())
    assert len(model.prompts) < 40  # of 20 x 19


def test_an_order_that_fails_ends_the_other_orders_of_its_query() -> None:
    first, failed = threading.Lock(), threading.Event()

    def answer(prompt: str) -> str:
        if first.acquire(blocking=False):
            failed.set()
            raise RuntimeError("bad")
        assert failed.wait(LONG)
        time.sleep(0.1)
        return ordered(prompt, by_number)

    model = Scripted(answer)
    stage = cm.Listwise(model, method="windows", window=4, stride=2, shuffles=4, on_error="keep")
    ranked = stage.rank([candidates(0, 40)], Budget())
    assert ranked.rows.tolist() == [list(range(40))]
    assert ranked.flags == ("listwise: 1 queries kept their order: RuntimeError: bad",)
    assert len(model.prompts) < 20  # of 4 x 19


def test_a_budget_within_another_is_cancelled_by_either() -> None:
    for which in (0, 1):
        events = threading.Event(), threading.Event()
        both = Budget(cancelled=events[0]).within(Budget(calls=3, cancelled=events[1]))
        assert both.cancelled is not None
        assert not both.is_over(0.0)
        assert not both.cancelled.wait(0.01)
        threading.Timer(0.05, events[which].set).start()
        assert both.cancelled.wait(LONG)
        assert both.shrunk(calls=1).is_over(0.0)
    event = threading.Event()
    assert Budget(cancelled=event).within(Budget()).cancelled is event
    assert Budget(cancelled=event).within(Budget(cancelled=event)).cancelled is event


@pytest.mark.parametrize("queries", [1, 8, 32])
def test_threads_are_as_many_as_calls_at_a_time_not_as_many_as_questions(queries: int) -> None:
    peak, lock = 0, threading.Lock()

    def answer(prompt: str) -> str:
        nonlocal peak
        with lock:
            peak = max(peak, threading.active_count())
        time.sleep(0.01)
        return ordered(prompt, by_number)

    before = threading.active_count()
    stage = cm.Listwise(
        Scripted(answer), method="tournament", window=10, stride=5, shuffles=5, concurrency=32
    )
    stage.rank([candidates(number, 50) for number in range(queries)], Budget())
    assert peak - before <= 2 * 32
