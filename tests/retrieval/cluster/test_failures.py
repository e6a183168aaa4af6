"""Replicas that die, fall behind and come back; shards that are lost, late, or of another time."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from shards import Faulty

import cormorant as cm
from cormorant.errors import (
    DeadlineError,
    DiskFullError,
    FormatVersionError,
    LockedError,
    NotACollectionError,
    ReadOnlyError,
    ShardUnavailableError,
)
from cormorant.retrieval.cluster.executor import Executor
from cormorant.retrieval.cluster.placement import shard_of

DOCUMENTS = [cm.Document(id=f"d{n}", text=f"fish number {n}") for n in range(30)]


class Sea:
    """A cluster of three shards whose workers can be made to fail."""

    def __init__(self, path: Path, replicas: int, make: Callable[[], Executor]) -> None:
        self.path = path
        self.make = make
        self.faults = Faulty(make())
        self.cluster = cm.Cluster.create(path, shards=3, replicas=replicas, executor=self.faults)
        self.fish = self.cluster.create_collection("fish")
        self.fish.add(DOCUMENTS)

    def reopen(self) -> None:
        self.cluster.close()
        self.faults = Faulty(self.make())
        self.cluster = cm.Cluster.open(self.path, executor=self.faults)
        self.fish = self.cluster["fish"]

    def replica(self, shard: int, replica: int) -> Path:
        return self.path / "collections" / "fish" / f"shard-{shard:05d}" / f"replica-{replica}"

    def states(self, shard: int = 0) -> list[tuple[bool, bool]]:
        described = self.fish.describe()["shards"][shard]["replicas"]
        return [(replica["in_step"], replica["up"]) for replica in described]


@pytest.fixture
def sea(tmp_path: Path, executor: Callable[[], Executor]) -> Any:
    made: list[Sea] = []

    def make(replicas: int = 1) -> Sea:
        made.append(Sea(tmp_path / "sea", replicas, executor))
        return made[0]

    yield make
    for each in made:
        each.cluster.close()


def ids_of(shard: int) -> set[str]:
    return {document.id for document in DOCUMENTS if shard_of(document.id, 3) == shard}


def test_a_lost_shard_is_an_error_that_names_it_or_a_flagged_part(sea: Any) -> None:
    sea = sea()
    whole = sea.fish.search("fish", 30)
    assert (whole.shards, whole.flags) == ((0, 1, 2), ())
    sea.faults.kill(1)
    with pytest.raises(ShardUnavailableError, match="shard 1 does not answer"):
        sea.fish.search("fish")
    part = sea.fish.search("fish", 30, partial=True)
    assert set(part.ids) == {document.id for document in DOCUMENTS} - ids_of(1)
    assert part.shards == (0, 2)
    assert any("shard 1" in flag and "left out" in flag for flag in part.flags)
    # What is left scores as if it were all there is.
    with cm.Collection.create(sea.path.parent / "rest.cm") as rest:
        rest.add([document for document in DOCUMENTS if document.id not in ids_of(1)])
        assert dict(zip(part.ids, part.scores, strict=True)) == dict(
            zip(*(lambda r: (r.ids, r.scores))(rest.search("fish", 30)), strict=True)
        )
    lost = [document for document in DOCUMENTS if document.id in ids_of(1)]
    with pytest.raises(ShardUnavailableError, match="shard 1"):
        sea.fish.add(lost)
    sea.cluster.repair()
    assert len(sea.fish.search("fish", 30)) == 30


def test_a_cluster_with_a_shard_that_is_down_is_described(sea: Any) -> None:
    sea = sea()
    sea.faults.kill(1)
    with pytest.raises(ShardUnavailableError, match="shard 1"):
        sea.fish.describe()
    described = sea.cluster.describe()["collections"]["fish"]
    assert described["missing_shards"] == [1]
    assert described["documents"] == len(DOCUMENTS) - len(ids_of(1))
    _, down, last = described["shards"]
    assert "shard 1 does not answer" in down["problem"]
    assert [replica["up"] for replica in down["replicas"]] == [False]
    assert last["documents"] == len(ids_of(2))
    sea.cluster.repair()
    described = sea.cluster.describe()["collections"]["fish"]
    assert (described["missing_shards"], described["documents"]) == ([], len(DOCUMENTS))


def test_a_repair_that_comes_too_early_removes_nothing(sea: Any) -> None:
    sea = sea()
    for shard in (0, 1):
        sea.faults.kill(shard)
    sea.faults.refused.add((0, 0))
    with pytest.raises(ShardUnavailableError, match="no machine for shard 0"):
        sea.cluster.repair()
    assert set(sea.fish.search("fish", 30, partial=True).ids) == ids_of(1) | ids_of(2)
    sea.faults.refused.clear()
    sea.cluster.repair()
    assert len(sea.fish.search("fish", 30)) == 30


def test_a_shard_that_is_late_is_left_out_or_ends_the_search(sea: Any) -> None:
    sea = sea()
    sea.fish.search("fish")
    sea.faults.seconds[2, 0] = 3.0
    with pytest.raises(DeadlineError, match="shard 2 was too late"):
        sea.fish.search("fish", timeout_ms=300)
    part = sea.fish.search("fish", 30, timeout_ms=2000, partial=True)
    assert part.shards == (0, 1)
    assert set(part.ids) == ids_of(0) | ids_of(1)
    assert sea.fish.describe()["shards"][2]["metrics"]["failures"] >= 2
    sea.faults.seconds.clear()


def test_a_dead_replica_costs_nothing_but_itself(sea: Any) -> None:
    sea = sea(replicas=2)
    expected = sea.fish.search("fish", 30).ids
    for shard in range(3):
        sea.faults.kill(shard, shard % 2)
    for _ in range(3):
        found = sea.fish.search("fish", 30)
        assert (found.ids, found.flags, found.shards) == (expected, (), (0, 1, 2))
    assert [document.id for document in sea.fish.scroll()]
    sea.fish.add([cm.Document(id="new", text="fish after the death")])
    shard = shard_of("new", 3)
    assert sea.states(shard).count((True, True)) == 1, "a dead one has missed a write"
    sea.cluster.repair()
    assert sea.states(shard) == [(True, True)] * 2
    for replica in range(2):
        sea.faults.kill(shard, 1 - replica)
        assert sea.fish.get("new").text == "fish after the death"
        sea.cluster.repair()


def test_a_death_that_nobody_noticed_yet_ends_no_care(sea: Any) -> None:
    sea = sea(replicas=2)
    for care in (sea.fish.wait_indexed, sea.fish.check):
        sea.faults.kill(1, 0)
        assert care()
        sea.cluster.repair()
    for replica in range(2):
        sea.faults.kill(1, replica)
    with pytest.raises(ShardUnavailableError, match="shard 1"):
        sea.fish.wait_indexed()


def test_an_index_that_was_dropped_while_a_shard_was_down_is_gone_after_repair(sea: Any) -> None:
    sea = sea()
    sea.fish.delete([document.id for document in DOCUMENTS])
    sea.fish.add_index("dense", cm.Dense(model=None))
    sea.faults.kill(1)
    with pytest.raises(ShardUnavailableError, match="shard 1"):
        sea.fish.drop_index("dense")
    sea.cluster.repair()
    sea.fish.add(DOCUMENTS)
    assert len(sea.fish.search("fish", 30)) == 30


def test_what_stops_the_repair_of_one_shard_stops_no_other(sea: Any) -> None:
    sea = sea(replicas=2)
    for shard in (0, 2):
        sea.faults.kill(shard, 1)
    sea.fish.add([cm.Document(id=item.id, text="changed fish") for item in DOCUMENTS])
    sea.faults.fails[0, 0, "backup"] = DiskFullError("no space left")
    with pytest.raises(DiskFullError):
        sea.cluster.repair()
    assert sea.states(2) == [(True, True)] * 2
    sea.faults.fails.clear()
    sea.cluster.repair()
    assert sea.states(0) == [(True, True)] * 2


def test_a_search_under_way_goes_on_with_the_other_replica(sea: Any) -> None:
    sea = sea(replicas=2)
    expected = sea.fish.search("fish", 30)
    for shard in range(3):
        for replica in range(2):
            sea.faults.kill(shard, replica, after="pin")
        sea.faults.workers[shard, 1].dies_after = None
    found = sea.fish.search("fish", 30)
    assert (found.ids, found.scores) == (expected.ids, expected.scores)


def test_a_slow_replica_is_hedged(sea: Any) -> None:
    sea = sea(replicas=2)
    sea.faults.seconds[0, 0] = sea.faults.seconds[0, 1] = 0.0
    for _ in range(4):
        sea.fish.search("fish")
    sea.faults.seconds[0, 0] = 2.0
    found = [sea.fish.search("fish", 30, timeout_ms=1500) for _ in range(2)]
    assert all(len(result) == 30 for result in found)
    assert sea.fish.describe()["shards"][0]["metrics"]["hedges"] >= 1
    sea.faults.seconds.clear()


@pytest.mark.parametrize("after", [None, "add"])
def test_a_replica_that_fails_a_write_is_out_of_step_before_the_write_is_acknowledged(
    sea: Any, after: str | None
) -> None:
    sea = sea(replicas=2)
    new = cm.Document(id="new", text="fish")
    shard = shard_of("new", 3)
    sea.faults.kill(shard, 0, after=after)
    sea.fish.add([new])
    sea.cluster.close()
    text = (sea.path / "cluster.json").read_text()
    assert "[false, true]" in text
    sea.faults = Faulty(sea.make())
    sea.faults.refused.add((shard, 0))
    sea.cluster = cm.Cluster.open(sea.path, executor=sea.faults)
    sea.fish = sea.cluster["fish"]
    assert sea.states(shard) == [(False, False), (True, True)]
    assert sea.fish.get("new") == new
    sea.faults.refused.clear()
    sea.cluster.repair()
    assert sea.states(shard) == [(True, True), (True, True)]
    sea.faults.kill(shard, 1)
    assert sea.fish.get("new") == new


def test_a_full_disk_of_one_replica_is_that_of_none(sea: Any) -> None:
    sea = sea(replicas=2)
    shard = shard_of("new", 3)
    full = DiskFullError("no space left")
    sea.faults.fails[shard, 0, "add"] = full
    sea.fish.add([cm.Document(id="new", text="fish")])
    assert sea.states(shard) == [(False, True), (True, True)]
    sea.faults.fails[shard, 1, "add"] = full
    with pytest.raises(DiskFullError):
        sea.fish.add([cm.Document(id="new", text="other")])
    assert sea.fish.get("new").text == "fish"
    sea.faults.fails.clear()
    sea.cluster.repair()
    sea.fish.add([cm.Document(id="new", text="third")])
    assert sea.states(shard) == [(True, True)] * 2


def test_without_a_replica_in_step_nothing_is_acknowledged(sea: Any) -> None:
    sea = sea(replicas=2)
    shard = shard_of("new", 3)
    for replica in range(2):
        sea.faults.kill(shard, replica)
    with pytest.raises(ShardUnavailableError, match=f"shard {shard}"):
        sea.fish.add([cm.Document(id="new", text="fish")])
    sea.reopen()
    assert "new" not in sea.fish
    assert sea.states(shard) == [(True, True)] * 2


def test_old_data_is_recognised_by_its_write_number(sea: Any) -> None:
    sea = sea(replicas=2)
    old = {}
    sea.cluster.close()
    for replica in range(2):
        old[replica] = sea.path.parent / f"old-{replica}"
        shutil.copytree(sea.replica(0, replica), old[replica])
    sea.reopen()
    name = min(ids_of(0))
    sea.fish.add([cm.Document(id=name, text="newer fish")])
    sea.cluster.close()

    def bring_back(replica: int) -> None:
        shutil.rmtree(sea.replica(0, replica))
        shutil.copytree(old[replica], sea.replica(0, replica))

    bring_back(0)
    sea.reopen()
    assert sea.states() == [(True, True)] * 2, "the old one was replaced by a copy"
    sea.faults.kill(0, 1)
    assert sea.fish.get(name).text == "newer fish"
    sea.cluster.close()
    for replica in range(2):
        bring_back(replica)
    with pytest.raises(cm.CorruptionError, match="holds old data: write 1, where write 2"):
        cm.Cluster.open(sea.path)


def test_a_shard_of_another_version_is_refused(sea: Any) -> None:
    sea = sea()
    sea.cluster.close()
    connection = sqlite3.connect(sea.replica(2, 0) / "catalog.sqlite")
    with connection:
        connection.execute("UPDATE state SET format_version = 99")
    connection.close()
    with pytest.raises(FormatVersionError, match="shard-00002.*format 99"):
        cm.Cluster.open(sea.path)
    text = (sea.path / "cluster.json").read_text()
    (sea.path / "cluster.json").write_text(text.replace("fish", "fisk"))
    with pytest.raises(cm.CorruptionError, match=r"cluster\.json.*checksum"):
        cm.Cluster.open(sea.path)


def test_a_missing_shard_is_named_and_a_missing_replica_copied(sea: Any) -> None:
    sea = sea(replicas=2)
    sea.cluster.close()
    shutil.rmtree(sea.replica(1, 0))
    sea.reopen()
    assert sea.states(1) == [(True, True)] * 2
    sea.cluster.close()
    shutil.rmtree(sea.replica(1, 0).parent)
    with pytest.raises(cm.CorruptionError, match="shard-00001.*missing"):
        cm.Cluster.open(sea.path)


def test_one_cluster_at_a_time(sea: Any) -> None:
    sea = sea()
    with pytest.raises(LockedError, match="is open in process"):
        cm.Cluster.open(sea.path)
    with cm.Collection.open(sea.replica(0, 0), read_only=True) as plain:
        assert set(plain.search("fish", 30).ids) == ids_of(0)
    sea.cluster.close()
    sea.cluster.close()
    with pytest.raises(ReadOnlyError):
        sea.cluster.create_collection("other")
    with pytest.raises(ReadOnlyError):
        sea.fish.search("fish")
    with pytest.raises(NotACollectionError, match="is not a cluster"):
        cm.Cluster.open(sea.path.parent)
    sea.reopen()


def test_another_writer_of_a_shard_is_noticed(sea: Any) -> None:
    """A router that was cut off and goes on must not write over what came after."""
    sea = sea()
    router = sea.fish.router
    router.shards[0].write = router.shards[0]._attempted = 0
    with pytest.raises(cm.CollectionError, match="another cluster wrote to it"):
        sea.fish.add([cm.Document(id=min(ids_of(0)), text="late")])


def test_versions_are_held_for_a_search_and_let_go(sea: Any) -> None:
    sea = sea()
    walk = sea.fish.scroll()
    first = next(walk)
    sea.fish.delete([document.id for document in DOCUMENTS])
    assert {first.id, *(document.id for document in walk)} == {d.id for d in DOCUMENTS}
    assert list(sea.fish.scroll()) == []
    assert len(sea.fish) == 0
