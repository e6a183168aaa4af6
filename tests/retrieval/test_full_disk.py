"""A full disk is an error, and the last committed version goes on answering."""

from __future__ import annotations

import errno
import os
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from faults import FillingDisk
from model import assert_same_documents, assert_searches_agree, random_document

import cormorant as cm
from cormorant.errors import DiskFullError, StorageError
from cormorant.retrieval.collection import Collection
from cormorant.retrieval.disk import Disk, storage_errors

OPERATIONS: dict[str, Callable[[cm.Collection], object]] = {
    "add": lambda c: c.add(_documents(20, seed=2)),
    "delete": lambda c: c.delete([f"d{number}" for number in range(5)]),
    "flush": lambda c: (c.add(_documents(20, seed=2)), c.flush()),
    "merge": lambda c: (c.delete(["d1"]), c.merge()),
    "add_index": lambda c: c.add_index("other", cm.BM25(b=0.1)),
    "close": lambda c: (c.add(_documents(20, seed=2)), c.close()),
}


def _documents(count: int, seed: int) -> list[cm.Document]:
    random_ = random.Random(seed)
    return [random_document(random_, f"d{number}") for number in range(count)]


def test_blocks_exist_where_the_system_has_no_call_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on macOS: zeros are written, and a full disk is the same error."""
    monkeypatch.delattr(os, "posix_fallocate", raising=False)
    for size in (0, 1, (1 << 20) + 5):
        path = tmp_path / str(size)
        Disk().allocate(path, size)
        assert path.read_bytes() == bytes(size)
        assert 512 * path.stat().st_blocks >= size  # not sparse
    write = os.write

    def full(descriptor: int, data: bytes) -> int:
        if len(data) < 1 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(DiskFullError), storage_errors(tmp_path):
        Disk().allocate(tmp_path / "full", (1 << 20) + 5)


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_no_space_at_every_call(tmp_path: Path, name: str) -> None:
    """For n = 1, 2, ...: the nth call finds the disk full; before or after answers, whole."""
    before = {document.id: document for document in _documents(30, seed=1)}
    reached = 0
    for fail_at in range(1, 200):
        path = tmp_path / f"{fail_at}.cm"
        disk = FillingDisk()
        collection = Collection._create(path, None, None, False, disk)
        collection.add(before.values())
        collection.flush()
        collection._writer.stop_background()  # it would make calls of its own
        disk.calls, disk.fail_at = 0, fail_at
        try:
            OPERATIONS[name](collection)
        except StorageError as error:
            assert "space" in str(error) or disk.failed
        if not disk.failed:
            disk.free()
            collection.close()
            break
        reached = fail_at
        if name != "close":
            assert_whole(collection, before, name)
        disk.free()
        collection.close()
        with cm.Collection.open(path) as again:
            assert again.check().problems == ()
            assert_whole(again, before, name)
            again.add([cm.Document(id="later", text="amber")])
            assert "later" in again
    assert reached >= 2, "the seam was hardly used"


def assert_whole(collection: cm.Collection, before: dict[str, cm.Document], name: str) -> None:
    """What is there is one committed version: each transaction whole, or not at all."""
    there = {document.id: document for document in collection.scroll()}
    added = before | {document.id: document for document in _documents(20, seed=2)}
    deleted = {
        key: value
        for key, value in before.items()
        if key not in ({f"d{n}" for n in range(5)} if name == "delete" else {"d1"})
    }
    versions = [before, added if name in ("add", "flush", "close") else deleted]
    assert any(
        {key: value.as_json() for key, value in there.items()}
        == {key: value.as_json() for key, value in version.items()}
        for version in versions
    )
    assert_searches_agree(collection, there)


def test_no_space_while_creating_leaves_nothing(tmp_path: Path) -> None:
    for fail_at in range(1, 100):
        disk = FillingDisk(fail_at)
        path = tmp_path / f"{fail_at}.cm"
        try:
            collection = Collection._create(path, None, None, False, disk)
        except StorageError:
            disk.free()
            if not path.exists():
                assert list(tmp_path.glob(f".{fail_at}.cm*")) == []
                continue
            collection = cm.Collection.open(path)
        collection.close()
        if not disk.failed:
            return
    pytest.fail("the disk never sufficed")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of eight megabytes."""
    mount = tmp_path / "small"
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs needs root")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def test_a_small_file_system_fills_up(small_disk: Path) -> None:
    random_ = random.Random(0)
    collection = cm.Collection.create(small_disk / "c.cm")
    model: dict[str, cm.Document] = {}
    with pytest.raises(DiskFullError, match="no space left"):
        for batch in range(10_000):
            documents = [
                cm.Document(id=f"{batch}-{number}", text=f"amber {random_.random()} " * 40)
                for number in range(20)
            ]
            collection.add(documents)
            model |= {document.id: document for document in documents}
            if batch % 10 == 9:
                collection.flush()
    there = {document.id: document for document in collection.scroll()}
    assert model.keys() <= there.keys(), "an acknowledged document is gone"
    assert len(there) - len(model) in (0, 20), "half a transaction is there"
    assert len(collection.search("amber", 5)) == 5
    try:
        collection.close()
    except StorageError as error:
        assert "space" in str(error)
    with cm.Collection.open(small_disk / "c.cm", read_only=True) as again:
        assert_same_documents(again, there)
        assert len(again.search("amber", 5)) == 5
