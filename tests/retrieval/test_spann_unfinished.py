"""A merge of lists that was killed goes on: what is told of it, what is kept, and what is not."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from crash import die_at
from spann_collections import BASE, SPANN, add, recall

import cormorant as cm
from cormorant.indexers.spann import maintaining, ordering, stages, tuning, writing
from cormorant.retrieval import policy
from cormorant.retrieval.background import Background
from cormorant.retrieval.disk import Disk
from cormorant.retrieval.segments import FileSink
from cormorant.retrieval.transaction import Transaction
from cormorant.retrieval.unfinished import UNFINISHED

DELETED = range(0, len(BASE), 9)
LIVE = np.arange(len(BASE)) % 9 != 0
N = int(LIVE.sum())
FIRST, REST = ["clustered", "centred", "assigned"], ["listed", "measured", "ordered", "merged"]
STEPS: dict[str, tuple[ModuleType | type, str, int, int]] = {
    "clustered": (writing, "centroids_of", 1, 0),
    "centroids written": (FileSink, "finish", 2, 0),
    "centroids noted": (Disk, "write", 1, 2),
    "first round": (maintaining, "assign", 1, 2),
    "partition written": (FileSink, "finish", 3, 2),
    "partition noted": (Disk, "write", 2, 3),
    "centroids removed": (Disk, "remove_tree", 4, 3),
    "encoded": (writing, "_radius", 1, 3),
    "measured": (tuning, "measure", 1, 3),
    "laid together": (ordering, "rearrange", 1, 3),
    "named": (Transaction, "put_segment", 2, 3),
}
"""What is under way when the child dies: the nth call of a function (ids are merged before), and
how many of the first stages are not made again."""


@pytest.fixture(autouse=True)
def kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "TARGETS", ())
    monkeypatch.setattr(stages, "KEPT_ROWS", 1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three segments with lists, and deleted rows: a merge makes lists from nothing."""
    path = tmp_path_factory.mktemp("base") / "c.cm"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "TARGETS", ())
        collection = cm.Collection.create(path, {"spann": SPANN})
        collection._writer.stop_background()
        for first in range(0, len(BASE), 300):
            add(collection, range(first, first + 300))
            collection.flush()
        collection.delete([f"d{row}" for row in DELETED])
        collection.close()
    return path


@pytest.fixture(scope="module")
def whole(base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The files and the summary that a merge gives that nobody stops; it compiles, too."""
    path = tmp_path_factory.mktemp("whole") / "c.cm"
    shutil.copytree(base, path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tuning, "TARGETS", ())
        collection = opened(path)
        told = merged(collection)
        assert dict(told) == dict.fromkeys([*FIRST, *REST], N)
        assert not kept_in(path)
        with collection:
            recall(collection, LIVE)
            return stored(collection)


def opened(path: Path) -> cm.Collection:
    """Without the background, which would go on with the merge."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Background, "start", lambda self: None)
        return cm.Collection.open(path)


def merged(collection: cm.Collection) -> Counter[str]:
    """What is told of a merge."""
    told: Counter[str] = Counter()
    collection.merge(progress=lambda what, rows: told.update({what: rows}))
    return told


def stored(collection: cm.Collection) -> list[Any]:
    """Checksums of every array of the index, and its summaries."""
    view = collection._reader.snapshot().indexes["spann"]
    return [(item.files_json, item.summary) for item in view.stored]


def kept_in(path: Path) -> list[Path]:
    files = (path / "segments" / "spann" / UNFINISHED).rglob("*")
    return sorted(file for file in files if file.is_file())


def killed(
    path: Path,
    home: Any,
    name: str,
    call: int,
    work: Callable[[cm.Collection], object] = cm.Collection.merge,
) -> None:
    child = os.fork()
    if child == 0:
        try:
            collection = opened(path)
            die_at(home, name, call)
            work(collection)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{name} was never reached"


def test_a_merge_tells_rows_as_they_are_done(base: Path, whole: list[Any], tmp_path: Path) -> None:
    """Also of lists that are mended, of a build, and by what name whose."""
    told: list[tuple[str, int]] = []
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        collection._writer.stop_background()
        for first, last in ((0, 600), (600, 700)):
            documents = [cm.Document(id=f"d{row}", text="") for row in range(first, last)]
            collection.add(documents, vectors={"spann": BASE[first:last]})
            collection.flush(progress=lambda what, rows: told.append((what, rows)))
        built = [*FIRST, *REST[:-1], "indexed"]
        assert told == [(stage, 600) for stage in built] + [("indexed", 100)]
        del told[:]
        collection.merge(progress=lambda what, rows: told.append((what, rows)))
        (segment,) = collection._reader.snapshot().indexes["spann"].segments
        assert segment.summary["spann"]["changed"] == 100  # its lists were mended
        assert told[:2] == [("assigned", 600), ("assigned", 100)]
        assert told[2:] == [(stage, 700) for stage in REST]
        assert not kept_in(collection.path)


@pytest.mark.parametrize("step", list(STEPS))
def test_killed(base: Path, whole: list[Any], tmp_path: Path, step: str) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    *where, finished = STEPS[step]
    killed(path, *where)
    left = kept_in(path)
    assert bool(left) == (step != "clustered")
    with cm.Collection.open(path, read_only=True) as collection:
        assert kept_in(path) == left  # a reader removes nothing
        sizes = sum(file.stat().st_size for file in left)
        assert collection.describe()["indexes"]["spann"]["unfinished_bytes"] == sizes
        assert recall(collection, LIVE) >= 0.94
        assert collection.check().problems == ()
    collection = opened(path)
    collection.backup(tmp_path / "copy.cm")
    assert not kept_in(tmp_path / "copy.cm")
    made = [*FIRST[finished:], *REST, *(["resumed"] if finished else [])]
    assert dict(merged(collection)) == dict.fromkeys(made, N)
    assert stored(collection) == whole
    assert not (path / "segments" / "spann" / UNFINISHED).exists()
    assert collection.check().problems == ()
    assert collection.describe()["indexes"]["spann"]["unfinished_bytes"] == 0
    collection.close()


def _cut(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-7] ^= 4
    file.write_bytes(data)


@pytest.mark.parametrize("damage", [_cut, _flip, Path.unlink])
@pytest.mark.parametrize("name", ["note", "lists.npy"])
def test_what_is_damaged_is_made_again(
    base: Path, whole: list[Any], tmp_path: Path, damage: Callable[[Path], Any], name: str
) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    killed(path, writing, "_radius", 1)
    damage(next(file for file in kept_in(path) if file.name == name))
    with cm.Collection.open(path, read_only=True) as collection:
        assert collection.check().problems == ()
    collection = opened(path)
    assert bool(kept_in(path)) == (name != "note")
    assert dict(merged(collection)) == dict.fromkeys([*FIRST, *REST], N)
    assert stored(collection) == whole
    assert not kept_in(path)
    collection.close()


def test_another_merge_takes_nothing_up(base: Path, whole: list[Any], tmp_path: Path) -> None:
    """A row fewer; other settings are another index. What the first had kept is removed."""
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    killed(path, writing, "_radius", 1)
    old = kept_in(path)
    collection = opened(path)
    collection.delete(["d1"])
    assert kept_in(path) == old
    killed_again = tmp_path / "again.cm"
    shutil.copytree(path, killed_again)
    assert dict(merged(collection)) == dict.fromkeys([*FIRST, *REST], N - 1)
    assert stored(collection) != whole
    assert not kept_in(path)
    expected = stored(collection)
    collection.close()
    killed(killed_again, writing, "_radius", 1)
    assert {file.parts[-3] for file in kept_in(killed_again)}.isdisjoint(
        file.parts[-3] for file in old
    )
    collection = opened(killed_again)
    assert dict(merged(collection)) == dict.fromkeys(["resumed", *REST], N - 1)
    assert stored(collection) == expected
    collection.close()


def test_what_can_no_longer_be_wanted_is_removed(base: Path, tmp_path: Path) -> None:
    """A kill between the merge's transaction and the removal; an index that was dropped."""
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    killed(path, writing, "_radius", 1)
    place = path / "segments" / "spann" / UNFINISHED
    shutil.copytree(place, tmp_path / "kept")
    with opened(path) as collection:
        merged(collection)
    shutil.copytree(tmp_path / "kept", place)
    with cm.Collection.open(path, read_only=True) as collection:
        assert collection.check().problems == ()
        assert kept_in(path)
    with opened(path) as collection:
        assert not place.exists()
        shutil.copytree(tmp_path / "kept", place)
        collection.drop_index("spann")
        assert not place.exists()
    place.parent.mkdir()
    shutil.copytree(tmp_path / "kept", place)
    with opened(path) as collection:
        assert not place.parent.exists()


def test_a_merge_that_an_error_stops_goes_on(base: Path, whole: list[Any], tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)

    def stop(what: str, rows: int) -> None:
        if what == "listed":
            raise RuntimeError("enough")

    with opened(path) as collection:
        with pytest.raises(RuntimeError, match="enough"):
            collection.merge(progress=stop)
        assert len(list((path / "segments" / "spann").iterdir())) == 4  # sources, and what is kept
        assert dict(merged(collection)) == dict.fromkeys(["resumed", *REST], N)
        assert stored(collection) == whole


def test_the_background_goes_on_with_a_long_add(
    whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "SEGMENT_ROWS", 300)
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 300)
    path = tmp_path / "c.cm"
    cm.Collection.create(path, {"spann": SPANN}).close()
    killed(path, writing, "_radius", 1, lambda collection: add(collection, range(len(BASE))))
    assert kept_in(path)
    made: list[int] = []
    monkeypatch.setattr(writing, "fresh", lambda *given: made.append(1))
    with cm.Collection.open(path) as collection:
        deadline = time.monotonic() + 60
        while not collection.describe()["indexes"]["spann"]["lists"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert not made
    assert not kept_in(path)
    with cm.Collection.open(path, read_only=True) as collection:
        assert collection.check().problems == ()
        assert recall(collection, np.ones(len(BASE), np.bool_)) >= 0.94


def test_the_background_goes_on_with_a_merge_that_was_killed(
    base: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    killed(path, writing, "_radius", 1)
    made: list[int] = []
    monkeypatch.setattr(writing, "fresh", lambda *given: made.append(1))
    with cm.Collection.open(path) as collection:
        deadline = time.monotonic() + 60
        while len(stored(collection)) > 1:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert stored(collection) == whole
    assert not made
    assert not kept_in(path)


def test_a_small_merge_keeps_nothing(
    base: Path, whole: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(tuning, "TARGETS", ())
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    seen: list[Path] = []
    with opened(path) as collection:
        collection.merge(progress=lambda what, rows: seen.extend(kept_in(path)))
        assert not seen
        assert stored(collection) == whole
