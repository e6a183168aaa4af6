"""kill -9 inside every step of a spann index: what was acknowledged is there, nothing in part."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from crash import die_at
from spann_collections import BASE, BASE_ROWS, add, begun, recall

import cormorant as cm
from cormorant.indexers.dense import writing as dense_writing
from cormorant.indexers.spann import maintaining, merging, ordering, tuning, writing
from cormorant.retrieval.transaction import Transaction

DELETED = range(0, BASE_ROWS, 9)
STEPS: dict[str, tuple[ModuleType | type, str, int]] = {
    "append": (Transaction, "add_documents", 1),
    "delete": (Transaction, "delete", 1),
    "vectors written": (dense_writing, "build", 1),
    "merge begun": (merging, "begun", 1),
    "vectors merged": (dense_writing, "merge", 1),
    "split": (maintaining, "_halves", 1),
    "second split": (maintaining, "_halves", 2),
    "reassigned": (maintaining, "_look", 3),
    "balanced": (writing, "_members", 1),
    "encoded": (writing, "_radius", 1),
    "lists written": (tuning, "measure", 1),
    "vectors laid together": (ordering, "rearrange", 1),
}
"""What is under way when the child dies: the function of that call."""


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "TARGETS", ())


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("base") / "c.cm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "TARGETS", ())
        begun(path)
    with cm.Collection.open(path, read_only=True) as collection:
        recall(collection, np.arange(len(BASE)) < BASE_ROWS)  # compiles before the forks
    return path


def _work(path: Path, log: Path, step: str) -> None:
    """Add, delete, and merge, noting what was acknowledged, until killed."""
    die_at(*STEPS[step])
    collection = cm.Collection.open(path)
    collection._writer.stop_background()
    add(collection, range(BASE_ROWS, len(BASE)))
    log.write_text("added")
    collection.delete([f"d{row}" for row in DELETED])
    log.write_text("added deleted")
    collection.merge()


@pytest.mark.parametrize("step", list(STEPS))
def test_killed(base: Path, tmp_path: Path, step: str) -> None:
    path, log = tmp_path / "c.cm", tmp_path / "log"
    shutil.copytree(base, path)
    log.write_text("")
    child = os.fork()
    if child == 0:
        try:
            _work(path, log, step)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{step} was never reached"
    live = np.arange(len(BASE)) < BASE_ROWS
    if "added" in log.read_text():
        live[BASE_ROWS:] = True
    if "deleted" in log.read_text():
        live[list(DELETED)] = False
    answers = []
    for _ in range(2):  # opening again changes nothing
        with cm.Collection.open(path, read_only=True) as collection:
            assert len(collection) == live.sum()
            answers.append(recall(collection, live))
    assert answers[0] == answers[1] >= 0.94
    with cm.Collection.open(path) as collection:
        assert collection.check().problems == ()
        collection.merge()
        assert collection.check().problems == ()
        assert recall(collection, live) >= 0.94


def test_stale_files_of_a_killed_build_are_nobodys(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    (named,) = (path / "segments" / "spann").iterdir()
    stale = path / "segments" / "spann" / "77"
    shutil.copytree(named, stale)
    (stale / "spann_postings.npy").write_bytes(b"half")
    live = np.arange(len(BASE)) < BASE_ROWS
    with cm.Collection.open(path, read_only=True) as collection:
        assert recall(collection, live) >= 0.94
    assert stale.exists()  # a reader removes nothing
    with cm.Collection.open(path) as collection:
        assert collection.check().problems == ()
    assert not stale.exists()


def _write_until_killed(path: Path, count: int, at_once: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            collection = cm.Collection.open(path)
            collection._writer.stop_background()
            random = np.random.default_rng(1)
            for first in range(0, count, at_once):
                given = random.standard_normal((at_once, BASE.shape[1])).astype(np.float32)
                names = [cm.Document(id=f"n{first + i}", text="") for i in range(at_once)]
                collection.add(names, vectors={"spann": given}, index="later")
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)


@pytest.mark.parametrize(
    ("count", "at_once"),
    [(300, 1), pytest.param(70_000, 10_000, marks=pytest.mark.soak)],
)
def test_a_long_log_is_whole(base: Path, tmp_path: Path, count: int, at_once: int) -> None:
    """Over 256 writes, and over 65,536 rows, that no segment holds when the child dies."""
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    _write_until_killed(path, count, at_once)
    for _ in range(2):
        with cm.Collection.open(path) as collection:
            assert len(collection) == BASE_ROWS + count
            assert f"n{count - 1}" in collection
            assert collection.wait_indexed(300)
            assert collection.describe()["indexes"]["spann"]["rows_behind"] == 0
    random = np.random.default_rng(1)
    given = random.standard_normal((at_once, BASE.shape[1])).astype(np.float32)
    with cm.Collection.open(path, read_only=True) as collection:
        results = collection.search_batch(vectors=given[:5], k=1, pipeline="spann")
        assert [result.ids for result in results] == [[f"n{i}"] for i in range(len(results))]
