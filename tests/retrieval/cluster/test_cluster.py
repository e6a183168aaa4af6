"""Clusters through their public surface: collections, growth, backup, and what is where."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cormorant as cm
from cormorant.errors import (
    CollectionExistsError,
    LockedError,
    NotACollectionError,
    UnknownNameError,
)
from cormorant.retrieval.building import Builder
from cormorant.retrieval.cluster.executor import THREADS, Executor
from cormorant.retrieval.cluster.placement import shard_of

DOCUMENTS = [
    cm.Document(id=f"d{n}", text=f"fish {'pond ' * (n % 4)} number {n}", metadata={"n": n})
    for n in range(120)
]


@given(st.text(min_size=1), st.integers(1, 200))
def test_with_one_shard_more_a_document_stays_or_moves_to_it(id: str, n: int) -> None:
    before, after = shard_of(id, n), shard_of(id, n + 1)
    assert 0 <= before < n
    assert after in (before, n)


def test_documents_are_spread_evenly() -> None:
    counts = Counter(shard_of(f"document {n}", 8) for n in range(8000))
    assert len(counts) == 8
    assert max(counts.values()) < 1200


def test_collections_come_and_go(tmp_path: Path, executor: Callable[[], Executor]) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=2, executor=executor()) as cluster:
        assert list(cluster) == []
        birds = cluster.create_collection("birds")
        fish = cluster.create_collection("fish", {"flat": cm.BM25(b=0.0)})
        with pytest.raises(CollectionExistsError):
            cluster.create_collection("birds")
        with pytest.raises(cm.InputError, match="index name"):
            cluster.create_collection("../birds")
        for wrong in ([cm.BM25()], {"x": "bm25"}, {"X": cm.BM25()}):
            with pytest.raises(cm.InputError) as alone:
                cm.Collection.create(tmp_path / "one.cm", wrong)
            with pytest.raises(cm.InputError) as sharded:
                cluster.create_collection("reptiles", wrong)
            assert str(sharded.value) == str(alone.value)
        with pytest.raises(cm.InputError, match="Chunking or None"):
            cluster.create_collection("reptiles", chunk=64)
        birds.add([cm.Document(id="1", text="cormorant")])
        fish.add([cm.Document(id="1", text="eel")])
        assert list(cluster) == ["birds", "fish"]
    with cm.Cluster.open(tmp_path / "c", executor=executor()) as cluster:
        assert cluster["fish"].indexes == {"flat": cm.BM25(b=0.0)}
        assert cluster["fish"].search("eel").ids == ["1"]
        cluster.drop_collection("fish")
        assert "fish" not in cluster
        assert not (tmp_path / "c" / "collections" / "fish").exists()
        with pytest.raises(UnknownNameError, match="there are: birds"):
            cluster["fish"]
        cluster["birds"].close()
        assert cluster["birds"].search("cormorant").ids == ["1"]
    with pytest.raises(CollectionExistsError):
        cm.Cluster.create(tmp_path / "c", shards=2)
    for bad in ({"shards": 0}, {"shards": True}, {"shards": 2, "replicas": 0}):
        with pytest.raises(cm.InputError, match="whole number"):
            cm.Cluster.create(tmp_path / "d", **bad)


def test_shards_are_added_and_nothing_is_lost_or_doubled(
    tmp_path: Path, executor: Callable[[], Executor]
) -> None:
    vectors = np.random.default_rng(1).normal(size=(120, 8)).astype(np.float32)
    indexes = {"bm25": cm.BM25(), "dense": cm.Dense(model=None)}
    with cm.Cluster.create(tmp_path / "c", shards=2, executor=executor()) as cluster:
        fish = cluster.create_collection("fish", indexes)
        fish.add(DOCUMENTS, vectors={"dense": vectors})
        asked = [
            fish.search_batch(vectors=vectors[:5], k=120, pipeline="dense")[n].scores
            for n in range(5)
        ]
        texts = fish.search("fish pond", 120, pipeline="bm25")
        for added in (1, 4):
            cluster.add_shards(added)
            assert sorted(d.id for d in fish.scroll()) == sorted(d.id for d in DOCUMENTS)
            found = fish.search_batch(vectors=vectors[:5], k=120, pipeline="dense")
            assert [result.scores for result in found] == asked
            again = fish.search("fish pond", 120, pipeline="bm25")
            assert (again.ids, again.scores) == (texts.ids, texts.scores)
            assert fish.check().problems == ()
        described = fish.describe()
        assert len(described["shards"]) == 7
        for shard in described["shards"]:
            own = [d for d in DOCUMENTS if shard_of(d.id, 7) == shard["shard"]]
            assert shard["documents"] == len(own)


CHILD = """
import os, signal, sys
import cormorant as cm
from cormorant.retrieval.cluster import cluster as module, growing

path, point = sys.argv[1:]
growing.PAGE = 7
write = module.write_layout
switched = False

def killing(directory, layout, disk):
    global switched
    growth = layout.collections["fish"].growth
    moved = growth is not None and growth.moved_until[0] >= 20
    if point == "copied" and moved or point == "dropped" and switched and growth is None:
        os.kill(os.getpid(), signal.SIGKILL)
    write(directory, layout, disk)
    switched = growth is not None and growth.switched
    named = growth is not None
    if {"wanted": layout.n_shards == 5, "named": named, "noted": moved, "switched": switched}.get(
        point
    ):
        os.kill(os.getpid(), signal.SIGKILL)

module.write_layout = killing
with cm.Cluster.open(path) as cluster:
    cluster.add_shards(3)
"""
"""Adds shards until it kills itself: before or after a layout is written."""


@pytest.mark.parametrize("point", ["wanted", "named", "copied", "noted", "switched", "dropped"])
def test_a_kill_while_shards_are_added(tmp_path: Path, point: str) -> None:
    path = tmp_path / "c"
    with cm.Cluster.create(path, shards=2, replicas=2) as cluster:
        cluster.create_collection("fish").add(DOCUMENTS)
    child = subprocess.run([sys.executable, "-c", CHILD, str(path), point], check=False)
    assert child.returncode == -signal.SIGKILL
    with cm.Cluster.open(path) as cluster:
        fish = cluster["fish"]
        names = sorted(document.id for document in DOCUMENTS)
        assert sorted(d.id for d in fish.scroll()) == names
        assert len(fish.search("fish", 500)) == len(names)
        # What is written while the growth waits is in both places.
        fish.add([cm.Document(id="d1", text="changed fish")])
        fish.delete(["d2", "d3"])
        fish.add([cm.Document(id="late", text="fish")])
        cluster.add_shards()
        assert sorted(d.id for d in fish.scroll()) == sorted({*names, "late"} - {"d2", "d3"})
        assert fish.get("d1").text == "changed fish"
        assert len(fish.search("fish", 500)) == len(names) - 1
        assert fish.check().problems == ()
        assert (fish.router.layout.n_shards, fish.router.layout.growth) == (5, None)


def test_a_backup_is_one_moment_of_the_whole_cluster(
    tmp_path: Path, executor: Callable[[], Executor]
) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=3, replicas=2, executor=executor()) as cluster:
        fish = cluster.create_collection("fish")
        cluster.create_collection("birds").add([cm.Document(id="1", text="heron")])
        fish.add(DOCUMENTS)
        cluster.backup(tmp_path / "copy")
        fish.delete(["d1"])
        with pytest.raises(CollectionExistsError):
            cluster.backup(tmp_path / "copy")
        with pytest.raises(cm.InputError, match="inside the cluster"):
            cluster.backup(tmp_path / "c" / "copy")
        fish.backup(tmp_path / "only")
    with cm.Cluster.restore(tmp_path / "copy", tmp_path / "again", executor=executor()) as restored:
        assert len(restored["fish"]) == len(DOCUMENTS)
        assert restored["birds"].search("heron").ids == ["1"]
        assert restored["fish"].check().problems == ()
        states = [shard["replicas"] for shard in restored["fish"].describe()["shards"]]
        assert all(replica["in_step"] for own in states for replica in own)
    with cm.Cluster.open(tmp_path / "only", executor=executor()) as only:
        assert list(only) == ["fish"]
        assert len(only["fish"]) == len(DOCUMENTS) - 1


def test_restoring_changes_nothing_in_the_backup(tmp_path: Path) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=2, replicas=2) as cluster:
        cluster.create_collection("fish").add(DOCUMENTS)
        cluster.backup(tmp_path / "copy")
        with pytest.raises(LockedError, match="is open"):
            cm.Cluster.restore(tmp_path / "c", tmp_path / "again")

    def contents() -> dict[str, bytes | None]:
        return {
            str(path): path.read_bytes() if path.is_file() else None
            for path in sorted((tmp_path / "copy").rglob("*"))
        }

    before = contents()
    for name in ("again", "and-again"):
        with cm.Cluster.restore(tmp_path / "copy", tmp_path / name) as restored:
            assert len(restored["fish"]) == len(DOCUMENTS)
        after = contents()
        assert {path: after[path] for path in before} == before
        # SQLite's readers share an index of the log, which is empty.
        assert {path.rpartition("-")[2] for path in after.keys() - before.keys()} <= {"shm", "wal"}
    with pytest.raises(CollectionExistsError):
        cm.Cluster.restore(tmp_path / "copy", tmp_path / "again")
    shutil.rmtree(tmp_path / "copy" / "collections" / "fish" / "shard-00001")
    with pytest.raises(NotACollectionError, match="shard-00001"):
        cm.Cluster.restore(tmp_path / "copy", tmp_path / "third")
    assert not (tmp_path / "third").exists()


def test_waiting_for_the_index_takes_up_no_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Event()
    build = Builder.build_piece

    def held_up(*args: Any) -> bool:
        go_on.wait()
        return build(*args)

    monkeypatch.setattr(Builder, "build_piece", held_up)
    with cm.Cluster.create(tmp_path / "c", shards=2) as cluster:
        fish = cluster.create_collection("fish")
        fish.add(DOCUMENTS, index="later")
        with ThreadPoolExecutor(2 * THREADS) as callers:
            waiting = [callers.submit(fish.wait_indexed) for _ in range(2 * THREADS)]
            assert not fish.wait_indexed(0.2)
            assert fish.get("d1") == DOCUMENTS[1]
            go_on.set()
            assert all(each.result() for each in waiting)
        assert fish.search("fish", 200).flags == ()
        with pytest.raises(cm.InputError, match="has no model"):
            fish.add_index("dense", cm.Dense(model=None), index="later")
            fish.wait_indexed()


def test_an_index_that_cannot_be_added_is_in_no_shard(tmp_path: Path) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=3) as cluster:
        fish = cluster.create_collection("fish")
        fish.add([cm.Document(id="1", text="eel")])  # two shards have no document to object to
        with pytest.raises(cm.InputError, match="has no model"):
            fish.add_index("dense", cm.Dense(model=None))
        assert set(fish.indexes) == {"bm25"}
        for shard in fish.router.shards:
            assert set(shard.ask("status").indexes) == {"bm25"}


def test_vectors_that_cannot_be_used_reach_no_shard(tmp_path: Path) -> None:
    indexes = {"dense": cm.Dense(model=None)}
    documents = DOCUMENTS[:4]
    with cm.Cluster.create(tmp_path / "c", shards=3) as cluster:
        fish = cluster.create_collection("fish", indexes)
        vectors = np.ones((4, 8), np.float32)
        vectors[3, 0] = np.nan
        with pytest.raises(cm.InputError, match="vector 3"):
            fish.add(documents, vectors={"dense": vectors})
        assert len(fish) == 0
        fish.add(documents[:1], vectors={"dense": np.ones((1, 8), np.float32)})
        with pytest.raises(cm.InputError, match="dim 8"):
            fish.add(documents, vectors={"dense": np.ones((4, 6), np.float32)})
        assert len(fish) == 1


def test_the_layout_is_plain_json_with_a_checksum(tmp_path: Path) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=2) as cluster:
        cluster.create_collection("fish").add(DOCUMENTS[:5])
    checksum, body = (tmp_path / "c" / "cluster.json").read_text().splitlines()
    assert len(checksum) == 16
    shards = json.loads(body)["collections"]["fish"]["shards"]
    assert [shard["write"] for shard in shards] == [1, 1]


def test_vectors_for_documents_that_are_split_reach_no_shard(tmp_path: Path) -> None:
    chunk = cm.Chunking(tokens=8, overlap=0)
    documents = [*DOCUMENTS[:3], cm.Document(id="long", text="one two three four. " * 20)]
    with cm.Cluster.create(tmp_path / "c", shards=3) as cluster:
        fish = cluster.create_collection("fish", {"dense": cm.Dense(model=None)}, chunk=chunk)
        with pytest.raises(cm.InputError, match="splits long documents"):
            fish.add(documents, vectors={"dense": np.ones((4, 8), np.float32)})
        assert len(fish) == 0
