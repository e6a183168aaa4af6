"""One writer and several reader processes: every search sees exactly one committed version.

The writer moves the collection from one legal version to the next in single transactions; each
version says in every document which it is. A search that mixed two versions would return both.
"""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

import pytest
from reading import read, version

import cormorant as cm


def _run(tmp_path: Path, seconds: float, readers: int) -> tuple[list[object], int]:
    path = tmp_path / "c.cm"
    collection = cm.Collection.create(path)
    collection.add(version(0))
    collection.flush()
    collection.search("common")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    until = time.time() + seconds + 5  # the readers need a moment to start
    processes = [
        context.Process(target=read, args=(str(path), until, answers)) for _ in range(readers)
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
    collection.close()
    return outcomes, number


def test_two_readers_for_five_seconds(tmp_path: Path) -> None:
    outcomes, versions = _run(tmp_path, 3, 2)
    assert all(isinstance(outcome, int) and outcome > 20 for outcome in outcomes), outcomes
    assert versions > 20


@pytest.mark.soak
def test_four_readers_for_a_minute(tmp_path: Path) -> None:
    outcomes, versions = _run(tmp_path, 60, 4)
    print(f"\n{versions} versions written; searches of each reader: {outcomes}")
    assert all(isinstance(outcome, int) and outcome > 100 for outcome in outcomes), outcomes
    assert versions > 200
