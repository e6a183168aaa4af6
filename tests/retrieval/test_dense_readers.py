"""A writer and reader processes: one version through the dense index, and nothing encoded."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from reading import read_dense, version
from toys import ToyDense, use

import cormorant as cm


def _run(path: Path, seconds: float, readers: int) -> tuple[list[object], int]:
    with cm.Collection.create(path, {"dense": ToyDense(delay_ms=2)}) as collection:
        collection.add(version(0))
        context = multiprocessing.get_context("spawn")
        answers = context.Queue()
        until = time.time() + seconds + 4  # the readers need a moment to start
        processes = [
            context.Process(target=read_dense, args=(str(path), until, answers))
            for _ in range(readers)
        ]
        for process in processes:
            process.start()
        number = 0
        while time.time() < until:
            number += 1
            collection.add(version(number))
            if number % 3 == 0:
                collection.flush()
            if number % 20 == 0:
                collection.merge()
            time.sleep(0.005)
        outcomes = [answers.get(timeout=60) for _ in processes]
        for process in processes:
            process.join()
        assert collection.check().problems == ()
    return outcomes, number


def test_two_readers_for_five_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    outcomes, versions = _run(tmp_path / "c.cm", 2, 2)
    assert all(isinstance(outcome, int) and outcome > 20 for outcome in outcomes), outcomes
    assert versions > 20


@pytest.mark.soak
def test_four_readers_for_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    outcomes, versions = _run(tmp_path / "c.cm", 60, 4)
    print(f"\n{versions} versions written; searches of each reader: {outcomes}")
    assert all(isinstance(outcome, int) and outcome > 100 for outcome in outcomes), outcomes
