"""A spann index in a collection: durable, merged, deleted from, damaged; searched by filters."""

from __future__ import annotations

import shutil
import threading
import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spann_collections import BASE, BASE_ROWS, DIM, SPANN, add, begun, recall

import cormorant as cm
from cormorant.errors import CorruptionError, InputError
from cormorant.indexers.spann import clustering, index, recording, tuning, writing
from cormorant.indexers.spann.budget import Budget, budget_for
from cormorant.indexers.spann.index import SpannIndex
from cormorant.retrieval import policy

LEAST = 0.935


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effort for other targets would take most of the time of so small a build."""
    monkeypatch.setattr(tuning, "TARGETS", ())


def test_the_life_of_a_collection(tmp_path: Path) -> None:
    live = np.zeros(len(BASE), np.bool_)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        add(collection, range(500))
        live[:500] = True
        assert recall(collection, live) == 1.0  # the tail, exactly
        collection.flush()
        assert recall(collection, live) >= LEAST
        add(collection, range(500, 800))
        live[500:800] = True
        collection.delete([f"d{i}" for i in range(0, 800, 9)])
        live[:800:9] = False
        assert recall(collection, live) >= LEAST
        collection.flush()
        collection.flush()  # a second checkpoint
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        assert recall(collection, live) >= LEAST
        collection.merge()
        assert collection.check().problems == ()
        assert recall(collection, live) >= LEAST
        add(collection, range(800, 900))
        live[800:] = True
        collection.flush()
        collection.merge()
        assert collection.check().problems == ()
        again = recall(collection, live)
        for part in (3, 7):
            mask = live & (np.arange(len(BASE)) % 10 == part)
            assert recall(collection, mask, filter={"part": part}) >= LEAST
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as collection:
        assert recall(collection, live) == again >= LEAST
        (told,) = collection.search_batch(vectors=BASE[:1], k=3, pipeline="spann", explain=True)
        assert len(told) == 3


def test_lists_of_a_long_add_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pieces have none, and are found all the same, also after it broke off."""
    made = []
    monkeypatch.setattr(policy, "SEGMENT_ROWS", 300)
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 300)
    write = writing.write

    def counted(vectors: np.ndarray, *rest: Any) -> Any:
        made.append(len(vectors))
        return write(vectors, *rest)

    monkeypatch.setattr(writing, "write", counted)
    every = np.ones(len(BASE), np.bool_)
    with cm.Collection.create(tmp_path / "whole", {"spann": SPANN}) as collection:
        add(collection, range(900))
        assert made == [900]
        collection.merge()
        assert made == [900]
        assert recall(collection, every) >= LEAST
    live = np.arange(len(BASE)) < 600

    def broken() -> Iterator[cm.Document]:
        yield from (cm.Document(id=f"d{row}", text="") for row in range(600))
        raise OSError("the source is gone")

    with cm.Collection.create(tmp_path / "part", {"spann": SPANN}) as collection:
        with pytest.raises(OSError, match="gone"):
            collection.add(broken(), vectors={"spann": BASE})
        assert made == [900]
        assert recall(collection, live) == 1.0  # exactly
        collection.flush()
        assert made == [900, 600]
        assert collection.check().problems == ()
        assert recall(collection, live) >= LEAST


def test_an_id_given_again_is_the_last_vector_given(tmp_path: Path) -> None:
    begun(tmp_path / "c.cm")
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        for _ in range(2):
            collection.add([cm.Document(id="d7", text="")], vectors={"spann": BASE[-1:]})
            assert len(collection) == BASE_ROWS
        for _ in range(2):
            (there, gone) = collection.search_batch(vectors=BASE[[-1, 7]], k=1, pipeline="spann")
            assert there.ids == ["d7"]
            assert gone.ids != ["d7"]
            collection.merge()
        (every,) = collection.search_batch(vectors=BASE[:1], k=BASE_ROWS + 50, pipeline="spann")
        assert len(every) == len(set(every.ids)) == BASE_ROWS


@pytest.mark.parametrize("dtype", ["float16", "float64", "int8"])
def test_other_numbers_than_float32(tmp_path: Path, dtype: str) -> None:
    vectors = BASE[:300].astype(dtype) if dtype != "int8" else (127 * BASE[:300]).astype(dtype)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        names = [cm.Document(id=str(i), text="") for i in range(300)]
        collection.add(names, vectors={"spann": vectors})
        collection.flush()
        found = collection.search_batch(vectors=vectors[:20], k=1, pipeline="spann")
        assert [hit.id for result in found for hit in result] == [str(i) for i in range(20)]
        assert all(result[0].score == pytest.approx(1.0, abs=1e-6) for result in found)


def test_damage_is_named_whatever_the_file(tmp_path: Path) -> None:
    """A flipped bit, a cut at any of several places, zeros at the end: of every file there is."""
    begun(tmp_path / "c.cm")
    files = sorted((tmp_path / "c.cm" / "segments" / "spann").rglob("*.npy"))
    assert {"vectors", "rows", "spann_centroids", "spann_postings"} <= {f.stem for f in files}
    for file in files:
        good = file.read_bytes()
        damaged = [good[:size] for size in (0, 64, len(good) // 2, len(good) - 1)]
        damaged.append(good[: len(good) // 2] + bytes(len(good) - len(good) // 2))
        for at in (9, 130, len(good) // 2, len(good) - 1):
            flipped = bytearray(good)
            flipped[min(at, len(good) - 1)] ^= 4
            damaged.append(bytes(flipped))
        for bad in damaged:
            if bad == good:  # zeros where there were zeros
                continue
            file.write_bytes(bad)
            with pytest.raises(CorruptionError, match=rf"{file.stem}\.npy"):
                cm.Collection.open(tmp_path / "c.cm", read_only=True)
        file.write_bytes(good)
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as collection:
        assert recall(collection, np.arange(len(BASE)) < BASE_ROWS) >= LEAST


def test_vectors_of_another_generation(tmp_path: Path) -> None:
    """A file that is whole, and of the right shape, but not the one that the lists were made of."""
    begun(tmp_path / "c.cm")
    (before,) = (tmp_path / "c.cm" / "segments" / "spann").rglob("vectors.npy")
    old = tmp_path / "old.npy"
    shutil.copy(before, old)
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        collection.add([cm.Document(id="d7", text="")], vectors={"spann": BASE[-1:]})
        collection.merge()
    (after,) = (tmp_path / "c.cm" / "segments" / "spann").rglob("vectors.npy")
    assert after.stat().st_size == old.stat().st_size
    shutil.copy(old, after)
    with pytest.raises(CorruptionError, match=r"vectors\.npy"):
        cm.Collection.open(tmp_path / "c.cm")


def test_bad_input(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        add(collection, range(20))
        for bad in (np.full((1, DIM), np.nan), np.zeros((1, DIM)), np.ones((1, DIM + 1))):
            with pytest.raises(InputError):
                collection.add([cm.Document(id="x", text="")], vectors={"spann": bad})
            with pytest.raises(InputError):
                collection.search_batch(vectors=bad, k=3, pipeline="spann")
        assert len(collection) == 20
        assert recall(collection, np.arange(len(BASE)) < 20) == 1.0


@pytest.mark.parametrize(
    ("dtype", "similarity", "kept"),
    [("int8", "l2", "int8"), ("float16", "dot", "float16"), ("int8", "cosine", "float32")],
)
def test_narrow_numbers_are_kept_as_they_are(
    tmp_path: Path, dtype: str, similarity: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is lost; and every answer is that of float32 on disk."""
    given = (30 * BASE[:500]).astype(dtype)
    other = given[:1].astype(np.float32) / 7  # a number that is not narrow
    # Memory for all lists either way: what is on disk counts where an effort is chosen.
    settings = replace(SPANN, similarity=similarity, bits=2, memory=10.0)
    answers = []
    for name in ("narrow", "wide"):
        with cm.Collection.create(tmp_path / name, {"spann": settings}) as collection:
            for first, last in ((0, 300), (300, 500)):
                documents = [cm.Document(id=f"d{row}", text="") for row in range(first, last)]
                collection.add(documents, vectors={"spann": given[first:last]})
                collection.flush()
            collection.delete([f"d{row}" for row in range(0, 500, 9)])
            collection.merge()
            assert collection.check().problems == ()
            assert collection.describe()["indexes"]["spann"]["numbers"] == [kept]
        with cm.Collection.open(tmp_path / name) as collection:
            found = collection.search_batch(vectors=given[:50], k=10, pipeline="spann")
            answers.append([(result.ids, result.scores) for result in found])
            collection.add([cm.Document(id="d1", text="")], vectors={"spann": other})
            collection.merge()
            assert collection.describe()["indexes"]["spann"]["numbers"] == ["float32"]
            (first,) = collection.search_batch(vectors=other, k=1, pipeline="spann")
            assert similarity == "dot" or first.ids == ["d1"]
        monkeypatch.setattr(recording, "narrowest", lambda _: np.float32)
        kept = "float32"
    assert answers[0] == answers[1]


def test_a_build_is_given_memory_and_makes_no_larger_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces, merges and the last merge: each by the rows that the memory allows for."""
    monkeypatch.setattr(index, "budget_for", lambda *given: Budget(400, 1))
    settings = replace(SPANN, list_rows=256, build_memory=1 << 30)
    live = np.ones(len(BASE), np.bool_)
    told: list[tuple[str, int]] = []
    with cm.Collection.create(tmp_path / "c.cm", {"spann": settings}) as collection:
        documents = [cm.Document(id=f"d{row}", text="") for row in range(len(BASE))]
        collection.add(documents, vectors={"spann": BASE})
        collection.flush(progress=lambda what, n: told.append((what, n)))
        assert ("indexed", 400) in told  # the lists are made here, or by the background
        assert max(n for _, n in told) <= 400
        assert recall(collection, live) >= LEAST
        collection.delete([f"d{row}" for row in range(0, len(BASE), 3)])
        live[::3] = False
        for _ in range(2):  # the second finds nothing to do
            collection.merge()
            described = collection.describe()["indexes"]["spann"]
            assert described["vectors"] == live.sum()
            assert described["segments"] == 2
        assert collection.check().problems == ()
        assert recall(collection, live) >= LEAST


def test_pieces_of_a_long_add_are_merged_in_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index, "budget_for", lambda *given: Budget(600, 1))
    monkeypatch.setattr(policy, "SEGMENT_ROWS", 280)
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 280)
    settings = replace(SPANN, list_rows=256, build_memory=1 << 30)
    told: list[tuple[str, int]] = []
    with cm.Collection.create(tmp_path / "c.cm", {"spann": settings}) as collection:
        documents = (cm.Document(id=f"d{row}", text="") for row in range(840))
        collection.add(
            documents,
            vectors={"spann": BASE[:840]},
            progress=lambda what, n: told.append((what, n)),
        )
        assert [n for what, n in told if what == "merged"] == [560, 280]
        assert collection.describe()["indexes"]["spann"]["segments"] == 2
        assert recall(collection, np.arange(len(BASE)) < 840) >= LEAST


def test_a_list_of_identical_vectors_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be split: a build took four times the memory of all of its vectors."""
    monkeypatch.setattr(index, "budget_for", lambda *given: Budget(20_000, 1))
    monkeypatch.setattr(clustering, "_HELD_BYTES", 1 << 20)
    n, dim = 12_000, 384
    vectors = np.tile(np.random.default_rng(4).standard_normal(dim).astype(np.float32), (n, 1))
    settings = replace(SPANN, list_rows=n, posting=64, build_memory=1 << 30)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": settings}) as collection:
        for first in range(0, n, n // 3):
            rows = range(first, first + n // 3)
            documents = [cm.Document(id=str(row), text="") for row in rows]
            collection.add(documents, vectors={"spann": vectors[list(rows)]})
            collection.flush()
        tracemalloc.start()
        try:
            collection.merge()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert most < 2.5 * vectors.nbytes
        assert collection.describe()["indexes"]["spann"]["lists"] == 1
        assert collection.check().problems == ()


def test_what_memory_a_build_is_given_allows_for() -> None:
    with pytest.raises(InputError, match="build_memory.*268435456"):
        cm.Spann(model=None, build_memory=1 << 20)
    assert cm.Spann(model=None).index().most_rows([], None) is None
    whole = budget_for(2 << 30, 384, 64, 8, 8192, 4)
    assert whole.threads == 4
    assert whole.rows > 2 * budget_for(1 << 30, 384, 64, 8, 8192, 4).rows > 0
    assert whole.rows > budget_for(2 << 30, 1024, 64, 8, 8192, 4).rows
    assert whole.rows > budget_for(2 << 30, 384, 8, 8, 8192, 4).rows
    assert 1 <= budget_for(1 << 28, 384, 64, 8, 8192, 64).threads < 64  # fewer, so that it fits
    assert budget_for(1 << 28, 60_000, 64, 8, 8192, 64) == (8192, 1)  # the least there is
    alone = budget_for(1 << 30, 384, 64, 8, 8192, 1)
    assert budget_for(1 << 30, 384, 64, 8, 8192, 16).rows >= alone.rows // 2  # not many small ones


def test_an_add_that_fails_leaves_its_lists_to_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "SEGMENT_ROWS", 280)
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 280)

    def documents() -> Iterator[cm.Document]:
        for row in range(560):
            yield cm.Document(id=f"d{row}", text="")
        raise RuntimeError("no more")

    settings = replace(SPANN, list_rows=256)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": settings}) as collection:
        with pytest.raises(RuntimeError, match="no more"):
            collection.add(documents(), vectors={"spann": BASE[:560]})
        deadline = time.monotonic() + 60
        while not collection.describe()["indexes"]["spann"]["lists"]:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert collection.describe()["indexes"]["spann"]["segments"] == 1


def test_what_the_background_is_at_is_kept_where_a_collection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging = threading.Event()
    merge = SpannIndex.merge

    def slow(*given: Any) -> Any:
        merging.set()
        time.sleep(0.5)  # the collection is closed meanwhile
        return merge(*given)

    settings = replace(SPANN, list_rows=256)
    collection = cm.Collection.create(tmp_path / "c.cm", {"spann": settings})
    monkeypatch.setattr(SpannIndex, "merge", slow)
    monkeypatch.setattr(policy, "MERGE_WIDTH", 2)
    for first in (0, 300):
        add(collection, range(first, first + 300))
        collection.flush()
    assert merging.wait(60)
    collection.close()
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as collection:
        assert collection.describe()["indexes"]["spann"]["segments"] == 1
        assert recall(collection, np.arange(len(BASE)) < 600) >= LEAST


def test_an_add_that_has_written_no_piece_delays_no_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policy, "SEGMENT_ROWS", 280)
    monkeypatch.setattr(policy, "BATCH_DOCUMENTS", 280)
    begun, over = threading.Event(), threading.Event()

    def one() -> Iterator[cm.Document]:
        begun.set()
        assert over.wait(60)
        yield cm.Document(id="late", text="")

    settings = replace(SPANN, list_rows=256)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": settings}) as collection:
        other = threading.Thread(
            target=lambda: collection.add(one(), vectors={"spann": BASE[600:601]})
        )
        other.start()
        try:
            assert begun.wait(60)
            add(collection, range(560))
            described = collection.describe()["indexes"]["spann"]
            assert described["lists"] > 0
            assert described["segments"] == 1
        finally:
            over.set()
            other.join()
        assert collection.describe()["documents"] == 561
