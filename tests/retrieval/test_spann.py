"""A spann index in a collection: durable, merged, deleted from, damaged; searched by filters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.errors import CorruptionError, InputError
from cormorant.indexers.spann import tuning

DIM = 20
SPANN = cm.Spann(model=None, list_rows=256, posting=16, memory=1.0)


@pytest.fixture(autouse=True)
def few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measuring the effort takes most of the time of so small a build."""
    monkeypatch.setattr(tuning, "SAMPLES", 60)


def vectors_of(n: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(4)
    centres = random.standard_normal((12, DIM))
    random = np.random.default_rng(seed)
    vectors = centres[random.integers(0, 12, n)] + 0.7 * random.standard_normal((n, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


BASE, QUERIES = vectors_of(1200, 1), vectors_of(40, 2)


def added(collection: cm.Collection, first: int, last: int) -> None:
    documents = [
        cm.Document(id=f"d{i}", text="", metadata={"part": i % 10}) for i in range(first, last)
    ]
    collection.add(documents, vectors={"spann": BASE[first:last]})


def recall(collection: cm.Collection, there: np.ndarray, **options: object) -> float:
    """Share of the ten best; every score is that of the vectors."""
    exact = np.where(there, QUERIES.astype(float) @ BASE.T.astype(float), -np.inf)
    results = collection.search_batch(vectors=QUERIES, k=10, pipeline="spann", **options)
    found = []
    for own, result in zip(exact, results, strict=True):
        rows = [int(hit.id[1:]) for hit in result]
        assert len(set(rows)) == len(rows) == min(10, there.sum())
        assert there[rows].all()
        assert np.allclose([hit.score for hit in result], own[rows], atol=2e-6)
        found.append(np.isin(np.argsort(-own)[: len(rows)], rows).mean())
    return float(np.mean(found))


def test_the_life_of_a_collection(tmp_path: Path) -> None:
    there = np.zeros(1200, np.bool_)
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        added(collection, 0, 500)
        there[:500] = True
        assert recall(collection, there) == 1.0  # the tail, exactly
        collection.flush()
        assert recall(collection, there) >= 0.9
        added(collection, 500, 900)
        there[500:900] = True
        collection.delete([f"d{i}" for i in range(0, 900, 9)])
        there[:900:9] = False
        before = recall(collection, there)
        assert before >= 0.9
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        assert recall(collection, there) >= 0.9
        collection.merge()
        assert collection.check().problems == ()
        merged = recall(collection, there)
        assert merged >= 0.9
        added(collection, 900, 1200)
        there[900:] = True
        collection.flush()
        collection.merge()
        assert collection.check().problems == ()
        again = recall(collection, there)
        for part in (3, 7):
            mask = there & (np.arange(1200) % 10 == part)
            assert recall(collection, mask, filter={"part": part}) >= 0.9
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as collection:
        assert recall(collection, there) == again >= 0.9
        explained = collection.search_batch(
            vectors=QUERIES[:1], k=3, pipeline="spann", explain=True
        )
        assert len(explained[0]) == 3


def test_a_damaged_list_is_named(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        added(collection, 0, 600)
        collection.flush()
    (file,) = (tmp_path / "c.cm").rglob("spann_postings.npy")
    good = file.read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 4
    for bad in (bytes(flipped), good[:-100], good[:200] + bytes(len(good) - 200)):
        file.write_bytes(bad)
        with pytest.raises(CorruptionError, match=r"spann_postings\.npy"):
            cm.Collection.open(tmp_path / "c.cm", read_only=True)
    file.write_bytes(good)
    with cm.Collection.open(tmp_path / "c.cm", read_only=True) as collection:
        assert recall(collection, np.arange(1200) < 600) >= 0.9


def test_bad_input(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"spann": SPANN}) as collection:
        added(collection, 0, 20)
        for bad in (np.full((1, DIM), np.nan), np.zeros((1, DIM)), np.ones((1, DIM + 1))):
            with pytest.raises(InputError):
                collection.add([cm.Document(id="x", text="")], vectors={"spann": bad})
            with pytest.raises(InputError):
                collection.search_batch(vectors=bad, k=3, pipeline="spann")
        assert len(collection) == 20
        assert recall(collection, np.arange(1200) < 20) == 1.0
