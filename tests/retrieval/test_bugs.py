"""Bugs that were found in the store, each by its story."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import time
from enum import Enum, IntEnum
from pathlib import Path

import pytest

import cormorant as cm
from cormorant.errors import ReadOnlyError
from cormorant.retrieval.background import Background
from cormorant.retrieval.catalog_file import CatalogFile
from cormorant.retrieval.segments import FileSink
from cormorant.retrieval.writer import Writer


def _documents(start: int, end: int, text: str = "amber") -> list[cm.Document]:
    return [cm.Document(id=f"d{number}", text=text) for number in range(start, end)]


@pytest.fixture
def collection(tmp_path: Path) -> cm.Collection:
    with cm.Collection.create(tmp_path / "c.cm") as opened:
        yield opened
        assert opened.check().problems == ()


class Language(str, Enum):  # noqa: UP042 (StrEnum has another str)
    """As people write them."""

    EN = "en"


class Level(IntEnum):
    """As people write them."""

    HIGH = 3


def test_an_enum_is_stored_as_the_value_it_is(collection: cm.Collection) -> None:
    """Its str() is 'Language.EN' while SQLite stores 'en': checksums did not match."""
    document = cm.Document(
        id=Language.EN,
        title=Language.EN,
        text=Language.EN,
        metadata={"lang": Language.EN, "level": Level.HIGH, "deep": {1: Language.EN, None: 2}},
        labels=[Language.EN],
    )
    assert type(document.id) is type(document.labels[0]) is str
    collection.add([document])
    assert collection.get("en") == document
    assert collection.get("en").metadata["deep"] == {"1": "en", "null": 2}
    assert [d.id for d in collection.scroll(filter={"lang": Language.EN, "level": 3})] == ["en"]
    collection.delete(["en"])
    collection.merge()


def test_a_failed_build_does_not_freeze_the_version_others_see(
    collection: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The traceback kept a half-read query alive on a connection that went back to the pool."""
    collection.add(_documents(0, 10))

    def full(self: FileSink, *arguments: object) -> None:
        raise cm.StorageError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(FileSink, "put", full)
        broken.setattr(FileSink, "create", full)
        with pytest.raises(cm.StorageError) as kept:
            collection.flush()
    for number in range(10, 16):
        collection.add(_documents(number, number + 1))
        assert len(collection) == number + 1
        assert len(collection.search("amber", 100)) == number + 1
    assert kept.value.__traceback__ is not None


def test_later_never_hides_what_was_found(
    collection: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark of what is left to the background moved over rows that were found in the tail."""
    step = Background._step
    go = threading.Event()
    monkeypatch.setattr(Background, "_step", lambda self: step(self) if go.is_set() else False)
    collection.add(_documents(0, 10), index="later")
    collection.add(_documents(10, 11, "beacon"))
    assert collection.search("beacon").ids == ["d10"]
    collection.add(_documents(20, 30), index="later")
    assert collection.search("beacon").ids == ["d10"]
    go.set()
    assert collection.wait_indexed(30)
    assert len(collection.search("amber", 100)) == 20


def test_adds_of_both_kinds_at_once_lose_nothing_from_sight(collection: cm.Collection) -> None:
    """An index was built further than the index of ids, and rows were found that had no id."""
    stop = threading.Event()
    failures: list[BaseException] = []

    def later() -> None:
        number = 0
        try:
            while not stop.is_set():
                number += 1
                collection.add([cm.Document(id=f"l{number}", text="beacon")], index="later")
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=later)
    thread.start()
    for number in range(60):
        collection.add([cm.Document(id=f"n{number}", text="amber")])
        assert f"n{number}" in collection.search("amber", 1000).ids
    stop.set()
    thread.join()
    assert failures == []
    assert collection.wait_indexed(30)


def test_closing_a_descriptor_of_the_catalog_takes_no_lock_away(
    collection: cm.Collection,
) -> None:
    """POSIX drops a process's locks when it closes any descriptor of the file.

    Another program that then opened and closed the catalog thought itself alone, and deleted the
    log under the writer: acknowledged documents were gone after a kill.
    """
    collection.add(_documents(0, 5))
    collection.flush()  # a checkpoint, and the checksum of the catalog's file
    with cm.Collection.open(collection.path, read_only=True):
        pass
    script = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1])\n"
        "c.execute('select count(*) from ids').fetchone()\n"
        "c.close()\n"
    )
    catalog = str(collection.path / "catalog.sqlite")
    subprocess.run([sys.executable, "-c", script, catalog], check=True)
    collection.add(_documents(5, 10))
    # A second look at the files, as after a kill: every commit must be in them.
    connection = sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)
    assert connection.execute("SELECT count(*) FROM ids").fetchone() == (10,)
    connection.close()


def test_one_descriptor_of_a_catalog_and_none_after_the_last(tmp_path: Path) -> None:
    before = dict(CatalogFile._open)
    with cm.Collection.create(tmp_path / "c.cm") as writer:
        with cm.Collection.open(tmp_path / "c.cm", read_only=True) as reader:
            reader.search("x")
            assert len(CatalogFile._open) == len(before) + 1
        writer.add(_documents(0, 1))
        assert len(CatalogFile._open) == len(before) + 1
    assert CatalogFile._open == before


def test_waiting_ends_when_the_collection_closes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Background, "_step", lambda self: False)
    collection = cm.Collection.create(tmp_path / "c.cm")
    collection.add(_documents(0, 5), index="later")
    outcome: list[BaseException] = []

    def wait() -> None:
        try:
            collection.wait_indexed()
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    collection.close()
    thread.join(10)
    assert isinstance(outcome[0], ReadOnlyError)


def test_a_failure_that_passed_is_not_raised_again(
    collection: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Background) -> bool:
        raise cm.StorageError("no space left")

    with monkeypatch.context() as broken:
        broken.setattr(Background, "_step", full)
        collection.add(_documents(0, 5), index="later")
        with pytest.raises(cm.StorageError, match="no space"):
            collection.wait_indexed(10)
        assert "no space" in collection.describe()["background_error"]
    assert collection.wait_indexed(10)
    assert collection.describe()["background_error"] is None


def test_a_kept_result_keeps_no_version_mapped(collection: cm.Collection) -> None:
    """A hundred kept results held nine hundred descriptors."""
    kept = []
    descriptors = 0
    for number in range(30):
        collection.add(_documents(number, number + 1))
        collection.flush()
        kept.append(collection.search("amber"))
        if number == 10:
            descriptors = len(os.listdir("/proc/self/fd"))
    collection.merge()
    collection.search("amber")
    assert len(os.listdir("/proc/self/fd")) < descriptors + 60
    assert kept[3][0].text == "amber"


def test_one_slow_reader_does_not_make_every_commit_a_checkpoint(
    collection: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cormorant.retrieval.catalog.CHECKPOINT_BYTES", 200_000)
    with collection._writer._catalog.held() as catalog:
        catalog._checkpoint_at = 200_000
    collection.add(_documents(0, 100))
    walk = collection.scroll()
    next(walk)
    checkpoints: list[int] = []
    checkpoint = catalog.checkpoint
    monkeypatch.setattr(catalog, "checkpoint", lambda: (checkpoints.append(1), checkpoint()))
    for number in range(40):
        collection.add([cm.Document(id=f"big{number}", text="amber " * 5_000)])
    assert 1 <= len(checkpoints) <= 12
    walk.close()


def test_close_releases_the_lock_whatever_happens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = cm.Collection.create(tmp_path / "c.cm")

    def interrupted(self: Writer) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(Writer, "stop_background", interrupted)
        with pytest.raises(KeyboardInterrupt):
            collection.close()
    with cm.Collection.open(tmp_path / "c.cm") as again:
        assert len(again) == 0


def test_strings_that_utf8_cannot_write_are_input_errors(collection: cm.Collection) -> None:
    bad = "\ud800"
    for call in (
        lambda: collection.get(bad),
        lambda: collection.delete([bad]),
        lambda: collection.search("x", as_labels=[bad]),
        lambda: collection.search("x", filter={"a": bad}),
        lambda: collection.search("x", filter={bad: 1}),
        lambda: collection.scroll(after=bad),
        lambda: collection.scroll(after=[3]),
        lambda: collection.add(None),
        lambda: collection.delete(None),
        lambda: collection.add_index("x", object()),
        lambda: collection.add_index("x", cm.BM25),
        lambda: cm.Document(id="x", text="y", metadata={"a": bad}),
    ):
        with pytest.raises(cm.InputError):
            call()


def test_numbers_beyond_everything_compare(collection: cm.Collection) -> None:
    collection.add([cm.Document(id="big", text="x", metadata={"n": 10**400, "m": -(10**400)})])
    found = collection.scroll(filter={"n": {"gt": 2**70}, "m": {"lt": -(2**70)}})
    assert [document.id for document in found] == ["big"]
    with pytest.raises(cm.InputError, match="64 deep"):
        nested: object = 1
        for _ in range(100):
            nested = [nested]
        cm.Document(id="deep", text="x", metadata={"n": nested})


def test_closing_while_another_thread_adds_says_closed(tmp_path: Path) -> None:
    collection = cm.Collection.create(tmp_path / "c.cm")
    outcome: list[BaseException] = []

    def add() -> None:
        number = 0
        try:
            while True:
                number += 1
                collection.add(_documents(number, number + 1))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    time.sleep(0.2)
    collection.close()
    thread.join(10)
    assert isinstance(outcome[0], ReadOnlyError), outcome
    with cm.Collection.open(tmp_path / "c.cm") as again:
        assert again.check().problems == ()


def test_a_missing_segments_directory_is_made_again(tmp_path: Path) -> None:
    """Copying tools drop empty directories."""
    cm.Collection.create(tmp_path / "c.cm").close()
    (tmp_path / "c.cm" / "segments").rmdir()
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        for name in ("7", "²", "notes"):
            (tmp_path / "c.cm" / "segments" / "bm25").mkdir(exist_ok=True)
            (tmp_path / "c.cm" / "segments" / "bm25" / name).write_text("not ours")
        collection.add(_documents(0, 5))
        collection.flush()
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        assert len(collection.search("amber")) == 5


def test_scroll_does_not_tell_of_hidden_documents(collection: cm.Collection) -> None:
    collection.add([cm.Document(id="secret", text="x", labels=["a"])])
    collection.add([cm.Document(id="mine", text="x", labels=["b"])])
    walk = collection.scroll(as_labels=["b"])
    assert [document.id for document in walk] == ["mine"]
    assert list(collection.scroll(as_labels=["b"], after=walk.cursor)) == []
    for cursor in ("c0", "cffff"):
        shown = collection.scroll(as_labels=["b"], after=cursor)
        assert "secret" not in [document.id for document in shown]


def test_a_child_after_fork_must_open_for_itself(collection: cm.Collection) -> None:
    collection.add(_documents(0, 3))
    child = os.fork()
    if child == 0:
        caught = 0
        for call in (lambda: collection.search("amber"), lambda: collection.delete(["d1"])):
            try:
                call()
            except ReadOnlyError:
                caught += 1
        os._exit(0 if caught == 2 else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert len(collection.search("amber")) == 3


def test_settings_that_cannot_be_opened_are_not_written_down(
    collection: cm.Collection, tmp_path: Path
) -> None:
    """An unknown language was committed, and nothing could open the collection again."""
    collection.add(_documents(0, 3))
    for language in ("xx", "zh", ""):
        with pytest.raises(cm.InputError, match="language"):
            collection.add_index("bad", cm.BM25(language=language))
        with pytest.raises(cm.InputError, match="language"):
            cm.Collection.create(tmp_path / "new.cm", {"bad": cm.BM25(language=language)})
    assert not (tmp_path / "new.cm").exists()
    assert len(collection.search("amber")) == 3
    with cm.Collection.open(collection.path, read_only=True) as reader:
        assert len(reader) == 3


def test_a_backup_goes_outside_the_collection(collection: cm.Collection) -> None:
    with pytest.raises(cm.InputError, match="inside the collection"):
        collection.backup(collection.path / "backup.cm")
