"""A shard that stalls holds nobody up for ever: reads, writes, and whoever waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shards import Faulty

import cormorant as cm
from cormorant.errors import DeadlineError, DiskFullError, LockedError, ShardUnavailableError
from cormorant.retrieval.cluster.executor import Executor
from cormorant.retrieval.cluster.placement import shard_of
from cormorant.retrieval.cluster.shard import Shard

DOCUMENTS = [cm.Document(id=f"d{n}", text=f"fish number {n}") for n in range(30)]
LIMIT = 1.0
STALL = 4.0


class Sea:
    """Three shards, of which some stall."""

    def __init__(self, path: Path, replicas: int, make: Callable[[], Executor]) -> None:
        self.faults = Faulty(make())
        self.cluster = cm.Cluster.create(
            path,
            shards=3,
            replicas=replicas,
            executor=self.faults,
            read_seconds=LIMIT,
            write_seconds=LIMIT,
        )
        self.fish = self.cluster.create_collection("fish")
        self.fish.add(DOCUMENTS)

    def stall(self, *replicas: int) -> None:
        """Replicas of shard 1."""
        for replica in replicas:
            self.faults.seconds[1, replica] = STALL


@pytest.fixture
def sea(tmp_path: Path) -> Iterator[Any]:
    from cormorant.retrieval.cluster.executor import InProcess

    made: list[Sea] = []

    def make(replicas: int = 1) -> Sea:
        made.append(Sea(tmp_path / "sea", replicas, InProcess))
        return made[0]

    yield make
    for each in made:
        each.faults.seconds.clear()
        each.cluster.close()


def _in_shard_1() -> str:
    return next(document.id for document in DOCUMENTS if shard_of(document.id, 3) == 1)


def test_reads_that_stall_end(sea: Any) -> None:
    sea = sea()
    sea.stall(0)
    for read in (lambda: sea.fish.get(_in_shard_1()), lambda: len(sea.fish), sea.fish.describe):
        with pytest.raises(DeadlineError, match="shard 1"):
            read()
    sea.faults.seconds.clear()
    assert len(sea.fish) == len(DOCUMENTS)


def test_another_replica_answers_for_one_that_stalls(sea: Any) -> None:
    sea = sea(replicas=2)
    sea.stall(0)
    for _ in range(2):
        assert sea.fish.get(_in_shard_1()) is not None
        assert len(sea.fish) == len(DOCUMENTS)


@pytest.mark.parametrize("repaired", [False, True])
def test_a_write_that_stalls_says_what_is_known_of_it(sea: Any, repaired: bool) -> None:
    sea = sea()
    new = [cm.Document(id=document.id, text="changed") for document in DOCUMENTS]
    sea.stall(0)
    with pytest.raises(DeadlineError, match=r"shard 1 was not done.*not known; shard 0, 2 has"):
        sea.fish.add(new)
    sea.faults.seconds.clear()
    elsewhere = next(item.id for item in DOCUMENTS if shard_of(item.id, 3) == 0)
    assert sea.fish.get(elsewhere).text == "changed"
    # Nobody writes behind a write that may be done yet; searches see what there is.
    with pytest.raises(DeadlineError, match="shard 1 is not done with an earlier write"):
        sea.fish.delete([_in_shard_1()])
    assert sea.fish.search("number", 50).ids
    if repaired:
        sea.cluster.repair()
    else:
        time.sleep(STALL)
    sea.fish.add(new)
    assert {document.text for document in sea.fish.scroll()} == {"changed"}
    assert len(sea.fish) == len(DOCUMENTS)


def test_a_replica_that_is_late_is_out_of_step(sea: Any) -> None:
    sea = sea(replicas=2)
    sea.stall(1)
    sea.fish.delete([_in_shard_1()])
    states = sea.fish.router.shards[1].members
    assert [replica.in_step for replica in states] == [True, False]
    assert sea.fish.get(_in_shard_1()) is None
    sea.faults.seconds.clear()
    sea.cluster.repair()
    assert [replica.in_step for replica in states] == [True, True]
    assert len(sea.fish) == len(DOCUMENTS) - 1


def test_who_was_late_alone_holds_no_later_write_up(sea: Any) -> None:
    """Both replicas are late; one has the write then, and the other is out of step."""
    sea = sea(replicas=2)
    sea.faults.seconds[1, 0], sea.faults.seconds[1, 1] = 2 * LIMIT, 6 * LIMIT
    name = _in_shard_1()
    with pytest.raises(DeadlineError, match="not known"):
        sea.fish.add([cm.Document(id=name, text="changed")])
    sea.faults.seconds.clear()
    time.sleep(2 * LIMIT)
    sea.fish.add([cm.Document(id=f"{name}-new-{n}", text="new") for n in range(9)])
    states = sea.fish.router.shards[1].members
    assert [replica.in_step for replica in states] == [True, False]
    sea.cluster.repair()
    for replica in range(2):
        sea.faults.kill(1, 1 - replica)
        assert sea.fish.get(name).text == "changed"
        assert len(sea.fish) == len(DOCUMENTS) + 9
        sea.cluster.repair()


@pytest.mark.parametrize("fails", [False, True])
def test_a_write_that_may_come_yet_binds_the_vectors_to_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    add, go_on = Shard.add, threading.Event()

    def held_up(self: Shard, *args: Any) -> int:
        go_on.wait()
        if fails:
            raise DiskFullError("no space left")
        return add(self, *args)

    cluster = cm.Cluster.create(tmp_path / "sea", shards=3, write_seconds=LIMIT)
    with cluster:
        fish = cluster.create_collection("fish", {"dense": cm.Dense(model=None)})

        def give(shard: int, dim: int) -> None:
            own = [item for item in DOCUMENTS if shard_of(item.id, 3) == shard][:1]
            fish.add(own, vectors={"dense": np.ones((1, dim), np.float32)})

        with monkeypatch.context() as patch:
            patch.setattr(Shard, "add", held_up)
            with pytest.raises(DeadlineError):
                give(1, 8)
        with pytest.raises(cm.InputError, match="dim 8"):
            give(0, 6)
        go_on.set()
        cluster.repair()
        dim = 6 if fails else 8
        give(0, dim)
        found = fish.search_batch(vectors=np.ones((1, dim), np.float32))[0]
        assert len(found) == (1 if fails else 2)


def test_a_death_that_a_long_merge_tells_of_late_is_not_that_of_the_next(
    sea: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sea = sea()
    merge, go_on = Shard.merge, threading.Event()

    def held_up(self: Shard) -> None:
        if "shard-00000" in str(self.collection.path):
            go_on.wait()
        merge(self)

    def merging() -> None:
        with pytest.raises(ShardUnavailableError, match="shard 1"):
            sea.fish.merge()

    monkeypatch.setattr(Shard, "merge", held_up)
    sea.faults.kill(1, after="merge")
    dies = sea.faults.workers[1, 0]
    thread = threading.Thread(target=merging)
    thread.start()
    try:
        while not (dies.dead and sea.faults.workers[1, 0] is not dies):
            with suppress(LockedError, ShardUnavailableError):  # it is dying, perhaps in the repair
                sea.cluster.repair()
            time.sleep(0.01)
    finally:
        go_on.set()
        thread.join()
    assert sea.fish.get(_in_shard_1()) is not None


def test_care_holds_no_write_up(sea: Any) -> None:
    sea = sea()
    sea.faults.seconds[1, 0] = STALL
    merging = threading.Thread(target=sea.fish.merge)
    merging.start()
    while not any(method == "merge" for *_, method in sea.faults.calls):
        time.sleep(0.01)
    sea.faults.seconds.clear()
    begun = time.monotonic()
    sea.fish.add([cm.Document(id=_in_shard_1(), text="changed")])
    assert sea.fish.get(_in_shard_1()).text == "changed"
    assert time.monotonic() - begun < STALL
    merging.join()
    assert len(sea.fish) == len(DOCUMENTS)


def test_a_write_waits_its_turn_and_no_longer(sea: Any) -> None:
    sea = sea()
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with sea.fish.router.writing:
            taken.set()
            done.wait()

    other = threading.Thread(target=hold)
    other.start()
    taken.wait()
    with pytest.raises(DeadlineError, match="nothing was changed by this call"):
        sea.fish.add(DOCUMENTS)
    done.set()
    other.join()
    sea.fish.add(DOCUMENTS)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), True, "3", None])
def test_limits_are_seconds(tmp_path: Path, seconds: Any) -> None:
    for field in ("read_seconds", "write_seconds"):
        with pytest.raises(cm.InputError, match=field):
            cm.Cluster.create(tmp_path / "c", shards=1, **{field: seconds})
    assert not (tmp_path / "c").exists()
