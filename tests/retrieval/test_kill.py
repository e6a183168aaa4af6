"""kill -9 at random moments: nothing acknowledged is lost, and every reopen is clean."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash import kill_once, replay
from model import assert_same_documents, assert_searches_agree

import cormorant as cm


def _survive(directory: Path, kills: int, seed: int) -> None:
    path, log = directory / "c.cm", directory / "log"
    log.write_text("")
    with cm.Collection.create(path) as collection:
        # Compiles every loop before the forks, and starts with more than a tail.
        collection.add([cm.Document(id="seed", text="amber beacon cedar")])
        collection.merge()
        collection.search("amber")
    with cm.Collection.open(path) as collection:
        collection.delete(["seed"])
    model: dict[str, cm.Document] = {}
    random_ = random.Random(seed)
    step = 0
    for kill in range(kills):
        kill_once(path, log, seed + kill, step, random_.uniform(0.005, 0.4))
        before, after, last = replay(log, model)
        step = max(step, last)
        with cm.Collection.open(path) as collection:
            assert collection.check().problems == ()
            there = {item.id: item.as_json() for item in collection.scroll()}
            model = before if there == {k: v.as_json() for k, v in before.items()} else after
            assert_same_documents(collection, model)
            collection.wait_indexed()
            assert_searches_agree(collection, model)
    print(f"\n{kills} kills, {step} operations begun, {len(model)} documents at the end")
    assert step > kills, "the children did next to nothing"


def test_twelve_kills(tmp_path: Path) -> None:
    _survive(tmp_path, 12, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", [1000, 2000, 3000])
def test_a_hundred_kills(tmp_path: Path, seed: int) -> None:
    _survive(tmp_path, 100, seed)
