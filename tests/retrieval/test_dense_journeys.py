"""A dense index's life: encoded once, in the background, replaced by another, copied, dropped."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dense_model import dense_scores, text_vector, text_vectors
from model import WORDS, assert_top_k
from toys import ToyDense, ToyEncoder, use

import cormorant as cm
from cormorant.errors import ReadOnlyError, UnknownNameError
from cormorant.retrieval import policy

OLD, NEW = ToyDense(dim=6), ToyDense(dim=5, seed=1, delay_ms=20)
HYBRID = cm.Pipeline(["bm25", "old"], fuse=cm.Convex())


@pytest.fixture(autouse=True)
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoding takes a while: ten documents at a time, each time 20 ms."""
    use(monkeypatch)
    monkeypatch.setattr(policy, "ENCODED_DOCUMENTS", 10)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[cm.Collection]:
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25(), "old": OLD}) as opened:
        opened.add(documents(0, 300))
        yield opened
        assert opened.check().problems == ()


def documents(start: int, end: int) -> list[cm.Document]:
    return [
        cm.Document(id=f"d{n}", text=f"{WORDS[n % 7]} {WORDS[n % 11]} number{n}")
        for n in range(start, end)
    ]


def assert_agrees(collection: cm.Collection, name: str, settings: ToyDense) -> None:
    """The index answers as the twin does."""
    model = {document.id: document for document in collection.scroll()}
    expected = dense_scores(text_vectors(settings, model), text_vector(settings, "amber delta"))
    assert_top_k(collection.search("amber delta", 20, pipeline=name), expected, 20)


class Searching(threading.Thread):
    """Searches until stopped; keeps the first error or empty answer."""

    def __init__(self, search: Callable[[], cm.Result]) -> None:
        super().__init__()
        self.search = search
        self.wrong: object = None
        self.searches = 0
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.is_set() and self.wrong is None:
            try:
                result = self.search()
                self.searches += 1
                if len(result) != 10:
                    self.wrong = f"{len(result)} hits"
            except Exception as error:
                self.wrong = error

    def __enter__(self) -> Searching:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()
        assert self.wrong is None
        assert self.searches > 5


def wait_until(condition: Callable[[], bool]) -> None:
    end = time.time() + 10
    while not condition():
        assert time.time() < end, "it did not happen"
        time.sleep(0.005)


def test_another_model_beside_the_old_one(collection: cm.Collection) -> None:
    """Searches go on throughout: by the old model, then by both, then by the new one."""
    name = "old"
    with Searching(lambda: collection.search("amber delta", pipeline=name)) as searching:
        collection.add_index("new", NEW, index="later")
        result = collection.search("amber", pipeline="new")
        assert any("behind" in flag for flag in result.flags)
        collection.add(documents(300, 310))
        assert collection.wait_indexed(30)
        assert searching.wrong is None
        assert_agrees(collection, "new", NEW)
        name = "new"
        time.sleep(0.05)
        collection.drop_index("old")
        time.sleep(0.05)
    assert_agrees(collection, "new", NEW)
    assert list(collection.indexes) == ["bm25", "new"]


def test_the_same_name_with_another_model(collection: cm.Collection) -> None:
    """Also where only the weights differ, which the settings do not tell."""
    assert_agrees(collection, "old", OLD)
    for settings, retrained in ((ToyDense(dim=7, seed=3), 0), (ToyDense(dim=7, seed=3), 1)):
        collection.drop_index("old")
        ToyEncoder.retrained = retrained
        collection.add_index("old", settings)
        assert_agrees(collection, "old", settings)
        collection.add(documents(290, 305))
        assert_agrees(collection, "old", settings)


def test_what_was_encoded_is_not_encoded_again(tmp_path: Path) -> None:
    """Closed in the middle of a long encoding, which stops within a batch; then it goes on."""
    slow = ToyDense(dim=5, seed=1, delay_ms=300)
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add(documents(0, 100))
        collection.add_index("slow", slow, index="later")
        wait_until(lambda: len(ToyEncoder.documents) >= 20)
        start = time.perf_counter()
    assert time.perf_counter() - start < 1.5
    assert len(ToyEncoder.documents) < 60
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as reader:
        assert any("behind" in flag for flag in reader.search("amber", pipeline="slow").flags)
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        assert collection.wait_indexed(30)
        assert_agrees(collection, "slow", slow)
        assert collection.check().problems == ()
    # The batch under way when it was closed may have been encoded for nothing; no other twice.
    assert set(ToyEncoder.documents) == {item.text for item in documents(0, 100)}
    assert len(ToyEncoder.documents) <= 100 + policy.ENCODED_DOCUMENTS


def test_an_index_dropped_while_it_is_encoded(collection: cm.Collection) -> None:
    """drop_index waited for the whole of it; now for a batch at most."""
    ToyEncoder.documents.clear()
    collection.add_index("slow", ToyDense(dim=5, seed=1, delay_ms=300), index="later")
    wait_until(lambda: len(ToyEncoder.documents) >= 10)
    start = time.perf_counter()
    collection.drop_index("slow")
    assert time.perf_counter() - start < 1.5
    assert collection.wait_indexed(5)
    time.sleep(0.75)
    assert len(ToyEncoder.documents) < 100
    assert collection.describe()["background_error"] is None
    with pytest.raises(UnknownNameError):
        collection.search("amber", pipeline="slow")


def test_everything_else_goes_on_during_a_long_encoding(
    collection: cm.Collection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check, backup, add (with a segment to write), another index: none waits for an encoder."""
    monkeypatch.setattr(policy, "TAIL_ROWS", 20)
    ToyEncoder.documents.clear()
    slow = ToyDense(dim=5, seed=1, delay_ms=150)
    collection.add_index("slow", slow, index="later")
    wait_until(lambda: len(ToyEncoder.documents) >= 10)
    start = time.perf_counter()
    collection.add(documents(300, 305))
    collection.delete(["d1"])
    assert collection.check().problems == ()
    collection.backup(tmp_path / "copy.cm")
    collection.add_index("other", cm.BM25(b=0.1))
    assert time.perf_counter() - start < 2.5
    assert collection.describe()["indexes"]["slow"]["rows_behind"] > 0
    n_encoded = len(ToyEncoder.documents)
    ToyEncoder.documents.clear()
    with cm.Collection.restore(tmp_path / "copy.cm", tmp_path / "restored.cm") as restored:
        collection.drop_index("slow")
        time.sleep(0.2)
        ToyEncoder.documents.clear()
        assert restored.wait_indexed(30)
        assert 300 - n_encoded - 30 < len(ToyEncoder.documents) < 300
        assert_agrees(restored, "slow", slow)
        assert restored.check().problems == ()


def test_a_slow_encoder_does_not_hold_up_a_quick_index(tmp_path: Path) -> None:
    """Its name comes first; its turn does not."""
    indexes = {"a": ToyDense(delay_ms=300), "b": cm.BM25()}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(documents(0, 200), index="later")
        wait_until(lambda: len(collection.search("amber", pipeline="b")) == 10)
        assert collection.describe()["indexes"]["a"]["rows_behind"] == 200
        collection.drop_index("a")


def test_adds_from_two_threads_while_an_index_is_added(collection: cm.Collection) -> None:
    errors: list[Exception] = []

    def add(start: int) -> None:
        try:
            for at in range(start, start + 60, 15):
                when = "later" if at % 2 else "now"
                collection.add(documents(at, at + 15), index=when)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=add, args=(start,)) for start in (300, 360)]
    with Searching(lambda: collection.search("amber delta", pipeline=HYBRID)):
        for thread in threads:
            thread.start()
        collection.add_index("new", NEW)
        for thread in threads:
            thread.join()
    assert errors == []
    assert collection.wait_indexed(30)
    assert len(collection) == 420
    for name, settings in (("old", OLD), ("new", NEW)):
        assert_agrees(collection, name, settings)
    collection.merge()
    assert_agrees(collection, "new", NEW)


def test_closed_while_another_thread_adds_an_index(tmp_path: Path) -> None:
    """add_index returned as if all had been built."""
    collection = cm.Collection.create(tmp_path / "c.cm")
    collection.add(documents(0, 100))
    errors: list[Exception] = []

    def add_index() -> None:
        try:
            collection.add_index("slow", ToyDense(delay_ms=300))
        except Exception as error:
            errors.append(error)

    thread = threading.Thread(target=add_index)
    thread.start()
    wait_until(lambda: len(ToyEncoder.documents) >= 10)
    collection.close()
    thread.join()
    assert [type(error) for error in errors] == [ReadOnlyError]


def test_closing_writes_the_vectors_of_a_tail_that_is_worth_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing looked to the encoder like a reason to stop, though nothing was left to encode."""
    monkeypatch.setattr(policy, "CLOSE_ROWS", 50)
    with cm.Collection.create(tmp_path / "c.cm", {"old": OLD}) as collection:
        collection.add(documents(0, 60))
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as reader:
        assert reader.describe()["indexes"]["old"]["tail_rows"] == 0
        assert_agrees(reader, "old", OLD)


def test_nothing_and_an_empty_text(tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    indexes = {"dense": ToyDense(dim=6, ann=cm.HNSW(m=4), ann_rows=256)}
    with cm.Collection.create(path, indexes) as collection:
        assert len(collection.search("amber")) == 0
        collection.merge()
        assert collection.add([]) == 0
        assert collection.add([], index="later") == 0
        assert len(collection.search_batch(["a", "b"])[1]) == 0
        collection.add([cm.Document(id="empty", text="")])
        assert collection.search("amber").ids == ["empty"]
        assert collection.search("").ids == ["empty"]
        collection.flush()
        collection.delete(["empty"])
        assert len(collection.search("amber")) == 0
        collection.merge()
        assert len(collection.search("amber")) == 0
        assert collection.check().problems == ()
    with cm.Collection.create(path, indexes, exist_ok=True) as collection:
        assert len(collection) == 0
        collection.add([cm.Document(id="again", text="amber")])
        assert collection.search("amber").ids == ["again"]
    with pytest.raises(cm.InputError, match="exists with other settings"):
        cm.Collection.create(path, {"dense": ToyDense(dim=6)}, exist_ok=True)


def test_passages_are_encoded_one_by_one(tmp_path: Path) -> None:
    text = " ".join(f"{word} {word} {word} is here." for word in WORDS)
    with cm.Collection.create(
        tmp_path / "c.cm", {"dense": ToyDense(dim=16)}, chunk=cm.Chunking(8, 2)
    ) as collection:
        collection.add([cm.Document(id="long", text=text), cm.Document(id="short", text="x")])
        for _ in range(2):
            hit = collection.search("saffron saffron saffron is here.")[0]
            assert hit.id == "long"
            assert hit.score > 0.9
            collection.flush()
        n_encoded = len(ToyEncoder.documents)
        assert n_encoded > 5
        collection.add([cm.Document(id="long", text=text, metadata={"year": 1})])
        assert len(ToyEncoder.documents) == n_encoded
        assert len(collection.search("saffron", filter={"year": 1})) == 1
        assert collection.check().problems == ()


def test_a_tail_builds_no_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every reader would have built it, at its first search after an add."""
    monkeypatch.setattr(policy, "ENCODED_DOCUMENTS", 1000)
    graph = ToyDense(ann=cm.HNSW(m=4), ann_rows=256)
    with cm.Collection.create(tmp_path / "c.cm", {"graph": graph}) as collection:
        collection.add(documents(0, 400))
        assert_agrees(collection, "graph", graph)
        (view,) = collection._reader._snapshot.searchable.values()
        assert "ann" not in view.tail[0].segment.summary
        collection.flush()
        assert_agrees(collection, "graph", graph)
        (view,) = collection._reader._snapshot.searchable.values()
        assert view.stored[0].segment.summary["ann"]["kind"] == "hnsw"
