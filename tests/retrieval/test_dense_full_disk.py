"""A full disk, with a dense index: an error, and the last committed version goes on answering."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from dense_model import dense_scores, text_vector, text_vectors
from faults import FillingDisk
from model import assert_top_k, random_document
from toys import ToyDense, use

import cormorant as cm
from cormorant.errors import StorageError
from cormorant.retrieval.collection import Collection

DENSE = ToyDense(dim=6, ann=cm.IVF(lists=4, probes=4), ann_rows=256)
OPERATIONS: dict[str, Callable[[cm.Collection], object]] = {
    "add": lambda c: c.add(_documents(280, seed=2)),
    "later": lambda c: (c.add(_documents(20, seed=2), index="later"), c.flush()),
    "flush": lambda c: (c.add(_documents(280, seed=2)), c.flush()),
    "merge": lambda c: (c.delete(["d1"]), c.merge()),
    "add_index": lambda c: c.add_index("other", ToyDense(dim=4, seed=1)),
    "drop_index": lambda c: c.drop_index("dense"),
}
EVERY = {"later": 4, "flush": 7, "merge": 7, "add_index": 2}
"""Of the operations that make many calls, every so many-th is enough here."""


def _documents(count: int, seed: int) -> list[cm.Document]:
    random_ = random.Random(seed)
    return [random_document(random_, f"d{number}") for number in range(count)]


@pytest.mark.parametrize("name", list(OPERATIONS))
def test_no_space_at_every_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    use(monkeypatch)
    before = {document.id: document for document in _documents(290, seed=1)}
    reached = 0
    for fail_at in range(1, 200, EVERY.get(name, 1)):
        path = tmp_path / f"{fail_at}.cm"
        disk = FillingDisk()
        collection = Collection._create(path, {"dense": DENSE}, None, False, disk)
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
        _assert_whole(collection, before)
        disk.free()
        collection.close()
        with cm.Collection.open(path) as again:
            assert again.wait_indexed(30)
            assert again.check().problems == ()
            _assert_whole(again, before)
            again.add([cm.Document(id="later", text="amber")])
            assert "later" in again
    assert reached >= 2, "the seam was hardly used"


def _assert_whole(collection: cm.Collection, before: dict[str, cm.Document]) -> None:
    """One committed version, and every index that is not behind answers from it."""
    there = {document.id: document for document in collection.scroll()}
    assert len(there) >= len(before) - 1
    description = collection.describe()["indexes"]
    for name, settings in collection.indexes.items():
        if description[name]["rows_behind"] == 0:
            expected = dense_scores(text_vectors(settings, there), text_vector(settings, "amber"))
            assert_top_k(collection.search("amber", 10, pipeline=name), expected, 10)
