"""The collection through its public surface."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

import cormorant as cm
from cormorant.errors import (
    CollectionExistsError,
    FormatVersionError,
    LockedError,
    NotACollectionError,
    ReadOnlyError,
    UnknownNameError,
)

BIRDS = [
    cm.Document(id="c", title="Cormorant", text="A black bird that dives for fish."),
    cm.Document(id="h", title="Heron", text="A grey bird that stands and waits for fish."),
    cm.Document(id="o", title="Owl", text="A bird of the night.", metadata={"active": "night"}),
]


def in_order(home: Any, ids: list[str]) -> list[str]:
    """A walk goes shard by shard, and in each in the order of adding."""
    return sorted(ids) if home.in_shards else ids


@pytest.fixture
def birds(home: Any, tmp_path: Path) -> cm.Collection:
    with home.create(tmp_path / "birds.cm") as collection:
        collection.add(BIRDS)
        yield collection


@pytest.fixture
def embedded_birds(embedded: Any, tmp_path: Path) -> cm.Collection:
    with embedded.create(tmp_path / "birds.cm") as collection:
        collection.add(BIRDS)
        yield collection


def test_a_search_returns_documents_with_everything_about_them(birds: cm.Collection) -> None:
    result = birds.search("diving for fish", k=2)
    assert result.ids == ["c", "h"]
    hit = result[0]
    assert (hit.rank, hit.id, hit.title) == (1, "c", "Cormorant")
    assert hit.score == result.scores[0] > result.scores[1] > 0
    assert hit.document == BIRDS[0]
    assert hit.passage == BIRDS[0].text
    assert result.total_ms > 0
    assert result.version == birds.describe()["version"]
    assert result.as_json()["hits"][0]["id"] == "c"
    assert "c=" in repr(result)


def test_batches_give_what_single_searches_give(birds: cm.Collection) -> None:
    queries = ["fish", "night bird", "", "nothing of the kind"]
    together = birds.search_batch(queries, k=3)
    for query, result in zip(queries, together, strict=True):
        alone = birds.search(query, k=3)
        assert (result.ids, result.scores) == (alone.ids, alone.scores)
    assert birds.search_batch([]) == []


def test_upsert_replaces_and_delete_deletes(birds: cm.Collection) -> None:
    birds.add([cm.Document(id="c", text="Now a stone.")])
    assert len(birds) == 3
    assert birds.get("c").text == "Now a stone."
    assert birds.search("fish").ids == ["h"]
    assert birds.delete(["c", "never there"]) == 1
    assert birds.get("c") is None
    assert "c" not in birds
    assert "h" in birds
    assert len(birds) == 2


def test_metadata_and_unicode_come_back_as_given(home: Any, tmp_path: Path) -> None:
    document = cm.Document(
        id="日本 🐦",
        title="\u0000 zero",
        text="𝔉𝔦𝔰𝔥 naïve \r\n",
        metadata={"n": 2**70, "f": 1e300, "t": True, "none": None, "deep": {"a": [1, "x"]}},
        labels=["a", "b"],
    )
    with home.create(tmp_path / "c.cm") as collection:
        collection.add([document])
        assert collection.get(document.id).as_json() == document.as_json()
        collection.merge()
        collection.search("fish")
    with home.open(tmp_path / "c.cm") as collection:
        assert next(iter(collection.scroll())).as_json() == document.as_json()
        assert collection.check().ok


def test_labels_hide_documents_and_their_statistics(home: Any, tmp_path: Path) -> None:
    with home.create(tmp_path / "c.cm") as collection:
        open_ = [
            cm.Document(id=f"o{n}", text="fish " * (n + 1) + "pond", labels=["open"])
            for n in range(5)
        ]
        secret = [
            cm.Document(id=f"s{n}", text="fish fish river", labels=["secret"]) for n in range(50)
        ]
        collection.add(open_)
        alone = collection.search("fish pond", as_labels=["open"], explain=True)
        collection.add(secret)
        for _ in ("in the tail", "in a segment"):
            result = collection.search("fish pond", as_labels=["open"], explain=True)
            assert (result.ids, result.scores) == (alone.ids, alone.scores)
            assert [h.explanation for h in result] == [h.explanation for h in alone]
            assert len(collection.search("fish", 100)) == 55
            assert len(collection.search("fish", as_labels=[])) == 0
            assert collection.get("s1", as_labels=["open"]) is None
            assert collection.get("s1", as_labels=["secret"]).id == "s1"
            collection.merge()


def test_a_long_document_is_found_by_its_best_passage(home: Any, tmp_path: Path) -> None:
    filler = " ".join(f"Sentence number {n} is about nothing much at all." for n in range(100))
    text = f"{filler} The cormorant dived for an eel. {filler}"
    chunk = cm.Chunking(tokens=32, overlap=8)
    with home.create(tmp_path / "c.cm", chunk=chunk) as collection:
        collection.add(
            [cm.Document(id="long", text=text), cm.Document(id="short", text="An eel swims.")]
        )
        for _ in ("tail", "segment"):
            result = collection.search("cormorant eel", 10)
            assert sorted(result.ids) == ["long", "short"]
            hit = next(hit for hit in result if hit.id == "long")
            assert "cormorant dived for an eel" in hit.passage
            assert hit.text == text
            assert len(hit.passage) < 400
            # One document fills the list with passages; the other is found all the same.
            assert len(collection.search("sentence number swims", 2)) == 2
            collection.merge()
        collection.delete(["long"])
        assert collection.search("cormorant", 5).ids == []
        collection.merge()
        assert collection.check().problems == ()
    with home.open(tmp_path / "c.cm") as collection:
        collection.add([cm.Document(id="again", text=text)])
        assert "cormorant" in collection.search("cormorant")[0].passage


def test_an_index_comes_and_goes_on_a_living_collection(birds: cm.Collection) -> None:
    birds.add_index("flat", cm.BM25(b=0.0))
    assert set(birds.indexes) == {"bm25", "flat"}
    assert birds.search("fish", pipeline="flat").scores != birds.search("fish").scores
    with pytest.raises(cm.InputError, match="already"):
        birds.add_index("flat", cm.BM25())
    birds.drop_index("bm25")
    assert birds.search("fish").ids == birds.search("fish", pipeline="flat").ids
    assert not list(birds.path.rglob("segments/bm25"))
    with pytest.raises(UnknownNameError, match="there are: flat"):
        birds.drop_index("bm25")
    assert birds.check().problems == ()


def test_later_is_durable_at_once_and_flagged_until_indexed(birds: cm.Collection) -> None:
    many = [cm.Document(id=f"l{n}", text="late fish") for n in range(50)]
    birds.add(many, index="later")
    assert len(birds) == 53
    flagged = birds.search("fish", 100)
    assert flagged.flags or len(flagged) == 52
    assert {"c", "h"} <= set(flagged.ids), "what was found before must not vanish"
    assert birds.wait_indexed(30)
    result = birds.search("fish", 100)
    assert not result.flags
    assert len(result) == 52


def test_scroll_walks_one_version_in_the_order_of_adding(home: Any, birds: cm.Collection) -> None:
    walk = birds.scroll()
    first = next(walk)
    birds.delete(["o"])
    assert in_order(home, [first.id, *(document.id for document in walk)]) == ["c", "h", "o"]
    with pytest.raises(cm.InputError, match="cursor of a walk"):
        birds.scroll(after="c")


def test_a_walk_goes_on_where_its_last_document_was_deleted_or_moved(
    embedded_birds: cm.Collection,
) -> None:
    walk = embedded_birds.scroll()
    assert walk.cursor is None
    assert [next(walk).id, next(walk).id] == ["c", "h"]
    walk.close()
    again = embedded_birds.get("h")
    assert again is not None
    embedded_birds.add([again])  # now the last
    assert [document.id for document in embedded_birds.scroll(after=walk.cursor)] == ["o", "h"]
    embedded_birds.delete(["h"])
    rest = embedded_birds.scroll(after=walk.cursor)
    assert [document.id for document in rest] == ["o"]
    assert list(embedded_birds.scroll(after=rest.cursor)) == []


def test_backup_and_restore(embedded_birds: cm.Collection, tmp_path: Path) -> None:
    embedded_birds.flush()
    embedded_birds.add([cm.Document(id="t", text="only in the tail")])
    embedded_birds.backup(tmp_path / "copy.cm")
    embedded_birds.delete(["t"])
    with cm.Collection.restore(tmp_path / "copy.cm", tmp_path / "restored.cm") as restored:
        assert restored.check().problems == ()
        assert restored.search("tail").ids == ["t"]
        assert len(restored) == 4
    with pytest.raises(CollectionExistsError):
        embedded_birds.backup(tmp_path / "copy.cm")
    victim = next((tmp_path / "copy.cm" / "segments").rglob("*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1])
    with pytest.raises(cm.CorruptionError, match=victim.name):
        cm.Collection.restore(tmp_path / "copy.cm", tmp_path / "other.cm")
    assert not (tmp_path / "other.cm").exists()


def test_results_outlive_the_collection_when_loaded(home: Any, tmp_path: Path) -> None:
    with home.create(tmp_path / "c.cm") as collection:
        collection.add(BIRDS)
        single = collection.search("fish")
        loaded, lazy = collection.search_batch(["fish", "fish"])
        loaded.load()
    assert single[0].title == loaded[0].title == "Cormorant"
    assert lazy.ids == single.ids
    with pytest.raises(ReadOnlyError, match="closed"):
        _ = lazy[0].title


def test_open_and_create_say_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotACollectionError, match="is not a collection"):
        cm.Collection.open(tmp_path / "absent")
    (tmp_path / "file").write_text("x")
    with pytest.raises(NotACollectionError):
        cm.Collection.open(tmp_path / "file")
    with pytest.raises(CollectionExistsError):
        cm.Collection.create(tmp_path / "file")
    with pytest.raises(cm.InputError, match=r"'\.\.' is no name"):
        cm.Collection.create(tmp_path / "..")
    for bad in ({"indexes": ["bm25"]}, {"chunk": 5}, {"indexes": {"x": "bm25"}}):
        with pytest.raises(cm.InputError):
            cm.Collection.create(tmp_path / "c.cm", **bad)
    for bad in ({"k1": "1"}, {"b": None}, {"variant": "x"}, {"k1": -1}):
        with pytest.raises(cm.InputError):
            cm.BM25(**bad)
    for name in ("..", "../x", "A", "", "ids", "a/b", "x" * 65):
        with pytest.raises(cm.InputError, match="index name"):
            cm.Collection.create(tmp_path / "c.cm", {name: cm.BM25()})
    assert not (tmp_path / "c.cm").exists()
    assert list(tmp_path.glob(".*")) == []


def test_exist_ok_opens_the_same_and_refuses_another(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add(BIRDS)
    with cm.Collection.create(tmp_path / "c.cm", exist_ok=True) as collection:
        assert len(collection) == 3
    with pytest.raises(cm.InputError, match="other settings"):
        cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25(k1=2.0)}, exist_ok=True)
    with pytest.raises(CollectionExistsError):
        cm.Collection.create(tmp_path / "c.cm")


def test_one_writer_and_any_number_of_readers(embedded_birds: cm.Collection) -> None:
    with pytest.raises(LockedError, match=f"process {os.getpid()}"):
        cm.Collection.open(embedded_birds.path)
    with cm.Collection.open(embedded_birds.path, read_only=True) as reader:
        assert reader.search("fish").ids == ["c", "h"]
        embedded_birds.add([cm.Document(id="f", text="fish fish")])
        assert "f" in reader.search("fish").ids
        for write in (
            lambda: reader.add(BIRDS),
            lambda: reader.delete(["c"]),
            reader.flush,
            reader.merge,
            lambda: reader.drop_index("bm25"),
        ):
            with pytest.raises(ReadOnlyError):
                write()


@pytest.mark.parametrize(("found", "advice"), [(99, "a newer"), (1, "again")])
def test_another_format_is_refused_with_both_versions(
    embedded_birds: cm.Collection, found: int, advice: str
) -> None:
    import sqlite3

    embedded_birds.close()
    with sqlite3.connect(embedded_birds.path / "catalog.sqlite") as connection:
        connection.execute("UPDATE state SET format_version = ?", (found,))
    connection.close()
    for read_only in (True, False):
        with pytest.raises(FormatVersionError, match=rf"format {found}.*format 5;.*{advice}"):
            cm.Collection.open(embedded_birds.path, read_only=read_only)


@pytest.mark.parametrize("k", [0, -1, 10**9, True, "10", 1.5])
def test_k_is_bounded(birds: cm.Collection, k: object) -> None:
    with pytest.raises(cm.InputError, match="from 1 to 100000"):
        birds.search("fish", k)


def test_bad_arguments_are_named(birds: cm.Collection) -> None:
    with pytest.raises(cm.InputError, match="query"):
        birds.search(None)
    with pytest.raises(cm.InputError, match="queries"):
        birds.search_batch("one string")
    with pytest.raises(cm.InputError, match="queries"):
        birds.search_batch(["fish", 3])
    with pytest.raises(cm.InputError, match="as_labels"):
        birds.search("fish", as_labels="secret")
    with pytest.raises(cm.InputError, match="list of ids"):
        birds.delete("c")
    with pytest.raises(cm.InputError, match="put it into a list"):
        birds.add(BIRDS[0])
    with pytest.raises(cm.InputError, match=r"cormorant\.Document"):
        birds.add([{"id": "x"}])
    with pytest.raises(cm.InputError, match="'now' or 'later'"):
        birds.add(BIRDS, index="soon")
    with pytest.raises(cm.InputError, match="'c' is given twice"):
        birds.add([cm.Document(id="new", text=""), BIRDS[0], BIRDS[0]])
    assert "new" not in birds


def test_an_id_given_twice_is_noticed_across_transactions(
    birds: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cormorant.retrieval.policy.BATCH_DOCUMENTS", 3)
    twice = [cm.Document(id=f"n{n % 10}", text="x") for n in range(11)]
    with pytest.raises(cm.InputError, match="'n0' is given twice"):
        birds.add(twice)
    assert birds.check().problems == ()


def test_many_threads_search_while_one_writes(birds: cm.Collection) -> None:
    failures: list[BaseException] = []
    stop = threading.Event()

    def read() -> None:
        try:
            while not stop.is_set():
                assert birds.search("bird").ids[0] in {"c", "h", "o"}
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(30):
        birds.add([cm.Document(id=f"x{number % 5}", text="something else")])
        if number % 10 == 0:
            birds.flush()
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []


def test_closing_twice_is_fine_and_later_calls_say_so(birds: cm.Collection) -> None:
    birds.close()
    birds.close()
    with pytest.raises(ReadOnlyError, match="closed"):
        birds.search("fish")
    with pytest.raises(ReadOnlyError, match="closed"):
        birds.add(BIRDS)


def test_a_big_add_is_cut_into_bounded_pieces(
    home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cormorant.retrieval.policy.BATCH_DOCUMENTS", 7)
    monkeypatch.setattr("cormorant.retrieval.policy.SEGMENT_ROWS", 20)
    monkeypatch.setattr("cormorant.retrieval.policy.TAIL_ROWS", 5)
    with home.create(tmp_path / "c.cm", chunk=cm.Chunking(8, 0)) as collection:
        texts = ["one two three. " * (n % 5 + 1) for n in range(100)]
        added: list[tuple[str, int]] = []
        collection.add(
            [cm.Document(id=f"{n}", text=text) for n, text in enumerate(texts)],
            progress=lambda what, count: added.append((what, count)),
        )
        assert sum(count for what, count in added if what == "added") == 100
        assert collection.describe()["indexes"]["bm25"]["tail_rows"] <= (
            15 if home.in_shards else 5
        )
        assert len(collection.search("two", 200)) == 100
        assert collection.check().problems == ()


def test_a_merge_that_equals_one_of_its_segments(home: Any, tmp_path: Path) -> None:
    """Bug: content names a segment that is reused, so it kept the number of one merged away.

    Of two segments all rows of the first are deleted: merged, they equal the second byte for byte.
    """
    with home.create(tmp_path / "c.cm") as collection:
        for number in range(3):
            collection.add([cm.Document(id="only", text=f"the same length {number}")])
            collection.flush()
        collection.merge()
        assert collection.check().problems == ()
        collection.add([cm.Document(id="another", text="river")])
        collection.merge()
        assert collection.check().problems == ()
        assert {hit.id for hit in collection.search("length river")} == {"only", "another"}
    with home.open(tmp_path / "c.cm") as collection:
        assert collection.check().problems == ()
