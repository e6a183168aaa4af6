"""Deaths, releases and failures that fall between two steps of the router or of a shard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shards import Faulty

import cormorant as cm
from cormorant.errors import DeadlineError, DiskFullError, ShardUnavailableError
from cormorant.retrieval import policy
from cormorant.retrieval.cluster.collection import ShardedCollection
from cormorant.retrieval.cluster.gathering import Gathering
from cormorant.retrieval.cluster.leases import LEASE_SECONDS, Pin, VersionGoneError
from cormorant.retrieval.cluster.placement import shard_of
from cormorant.retrieval.cluster.shard import Shard

DOCUMENTS = [cm.Document(id=f"d{n}", text=f"fish number {n}") for n in range(20)]
IDS = {document.id for document in DOCUMENTS}


def made(path: Path, replicas: int = 1) -> tuple[cm.Cluster, Faulty]:
    faults = Faulty()
    cluster = cm.Cluster.create(path, shards=2, replicas=replicas, executor=faults)
    cluster.create_collection("fish").add(DOCUMENTS)
    return cluster, faults


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_write_that_nobody_could_acknowledge_costs_nothing_that_was(
    tmp_path: Path, replicas: int
) -> None:
    """All replicas have one write more than was noted, and die: repair must not copy over them."""
    cluster, faults = made(tmp_path / "sea", replicas)
    with cluster:
        shard = shard_of("new", 2)
        for replica in range(replicas):
            faults.kill(shard, replica, after="add")
        with pytest.raises(ShardUnavailableError, match=f"shard {shard}"):
            cluster["fish"].add([cm.Document(id="new", text="fish")])
        cluster.repair()
        fish = cluster["fish"]
        assert set(fish.search("fish", 30).ids) == IDS | {"new"}
        fish.add([cm.Document(id="new", text="newer fish")])
        states = fish.describe()["shards"][shard]["replicas"]
        assert all(state["in_step"] and state["up"] for state in states)


def test_a_replica_that_dies_when_it_has_acknowledged_stays_in_step(tmp_path: Path) -> None:
    cluster, _ = made(tmp_path / "sea")
    with cluster:
        shard = shard_of("new", 2)
        replica = cluster["fish"].router.shards[shard].members[0]
        inner: Any = replica.worker

        class Dies:
            """Its death is noticed by a search before the write was noted."""

            def call(self, method: str, *args: Any) -> Future[Any]:
                future: Future[Any] = inner.call(method, *args)
                future.result()
                replica.alive = False
                return future

            def stop(self) -> None:
                inner.stop()

        replica.worker = Dies()
        assert cluster["fish"].add([cm.Document(id="new", text="fish")]) == 1
    with cm.Cluster.open(tmp_path / "sea") as cluster:
        assert set(cluster["fish"].search("fish", 30).ids) == IDS | {"new"}


def test_a_search_whose_version_died_with_its_replica_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, faults = made(tmp_path / "sea", replicas=2)
    fish = cluster["fish"]
    pin, late = Gathering.pin, [cm.Document(id=f"new {n}", text="fish") for n in range(10)]

    def pinned(self: Gathering, terms: Mapping[str, Any]) -> dict[int, Any]:
        facts = pin(self, terms)
        if late:
            for shard, leased in self._shards.items():
                faults.kill(shard, leased.order[0].number)
            added = late.copy()
            late.clear()
            fish.add(added)
        return facts

    monkeypatch.setattr(Gathering, "pin", pinned)
    with cluster:
        found = fish.search("fish", 50)
        assert len(found) == len(set(found.ids)) == 30
        assert (found.flags, found.shards) == ((), (0, 1))


def test_a_death_after_a_hedge_that_came_too_late_costs_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second replica has gone on to another write, and then the first dies."""
    cluster, faults = made(tmp_path / "sea", replicas=2)
    fish = cluster["fish"]
    pin, begun = Gathering.pin, []

    def pinned(self: Gathering, terms: Mapping[str, Any]) -> dict[int, Any]:
        facts = pin(self, terms)
        faults.fails.clear()
        if not begun:
            first, second = (replica.number for replica in self._shards[0].order)
            faults.seconds[0, first] = 0.3
            faults.kill(0, first, after="search")
            faults.fails[0, second, "search"] = VersionGoneError("it is at another write")
        begun.append(facts)
        return facts

    monkeypatch.setattr(Gathering, "pin", pinned)
    with cluster:
        found = fish.search("fish", 50, partial=True)
        assert (set(found.ids), found.flags, found.shards) == (IDS, (), (0, 1))
        assert len(begun) == 2


def test_a_growth_that_cannot_end_shows_nothing_twice(tmp_path: Path) -> None:
    cluster, faults = made(tmp_path / "sea")
    with cluster:
        for shard in range(2):
            faults.fails[shard, 0, "delete"] = DiskFullError("no space left")
        with pytest.raises(DiskFullError):
            cluster.add_shards(2)
        with pytest.raises(DiskFullError):  # opened again, it would end the growth
            cluster["fish"].search("fish", 50)
        faults.fails.clear()
        assert sorted(cluster["fish"].search("fish", 50).ids) == sorted(IDS)
        assert cluster["fish"].describe()["growing_to"] is None


def test_a_growth_that_was_cut_off_does_not_hide_one_that_follows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, faults = made(tmp_path / "sea")
    with cluster:
        faults.fails[0, 0, "to_move"] = DiskFullError("no space left")
        with pytest.raises(DiskFullError):
            cluster.add_shards(1)
        faults.fails.clear()
        cluster.add_shards(1)
        fish: ShardedCollection = cluster["fish"]
        assert (fish.router.layout.n_shards, fish.router.layout.growth) == (4, None)
        assert sorted(fish.search("fish", 50).ids) == sorted(IDS)


def test_a_write_that_some_shards_have_binds_the_vectors_to_come(tmp_path: Path) -> None:
    faults = Faulty()
    with cm.Cluster.create(tmp_path / "sea", shards=2, executor=faults) as cluster:
        fish = cluster.create_collection("fish", {"dense": cm.Dense(model=None)})

        def add(dim: int) -> None:
            fish.add(DOCUMENTS, vectors={"dense": np.ones((len(DOCUMENTS), dim), np.float32)})

        for shard in range(2):
            faults.fails[shard, 0, "add"] = DiskFullError("no space left")
        with pytest.raises(DiskFullError):
            add(6)
        del faults.fails[0, 0, "add"]
        with pytest.raises(DiskFullError):  # no shard has any of 6 dimensions
            add(8)
        faults.fails.clear()
        with pytest.raises(cm.InputError, match="dim 8"):
            add(6)
        add(8)
        queries = np.ones((1, 8), np.float32)
        assert set(fish.search_batch(vectors=queries, k=50)[0].ids) == IDS


def test_a_search_waits_for_a_switch_no_longer_than_it_may(tmp_path: Path) -> None:
    cluster, _ = made(tmp_path / "sea")
    with cluster:
        fish = cluster["fish"]
        with fish.router.gate.alone(), pytest.raises(DeadlineError, match="switched over"):
            fish.search("fish", timeout_ms=20, partial=True)
        assert len(fish.search("fish", 50, timeout_ms=10_000)) == len(IDS)


# -- one shard ------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def shard(tmp_path: Path, clock: Clock) -> Iterator[Shard]:
    cm.Collection.create(tmp_path / "shard").close()
    shard = Shard(tmp_path / "shard", clock=clock)
    shard.add(1, DOCUMENTS[:5], {}, "now")
    yield shard
    shard.close()


def test_a_version_pinned_by_a_late_request_is_not_taken_for_the_one_that_was_seen(
    shard: Shard,
) -> None:
    shard.add(2, DOCUMENTS[5:10], {}, "now")
    assert shard.pin("token", Pin(), {}).write == 2  # hedged, and too late: the search saw write 1
    with pytest.raises(VersionGoneError, match="write 1 is gone"):
        shard.rows("token", Pin(write=1))
    with pytest.raises(VersionGoneError, match="write 1 is gone"):
        shard.rows("token", Pin(write=1))


def test_a_request_that_comes_after_its_search_holds_nothing(shard: Shard) -> None:
    shard.release("token")
    with pytest.raises(VersionGoneError, match="over"):
        shard.pin("token", Pin(), {})
    assert not shard._leases._leases


def test_a_shard_that_is_only_written_to_lets_go_of_old_versions(
    shard: Shard, clock: Clock
) -> None:
    shard.pin("token", Pin(), {})
    clock.now += LEASE_SECONDS + 1
    shard.delete(2, ["d0"])
    assert not shard._leases._leases


def test_a_numbered_write_is_one_transaction(shard: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who knows its number has all of it, whatever the bounds of a batch are."""
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 2)
    before = shard.status(), shard._reader.snapshot().commit
    shard.add(2, DOCUMENTS[5:], {}, "now")
    assert shard.status().n_documents == 20
    assert (before[0].write, shard.status().write) == (1, 2)
    assert shard._reader.snapshot().commit == before[1] + 1
