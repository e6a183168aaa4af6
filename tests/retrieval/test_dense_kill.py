"""kill -9 inside encoding, committing and building: nothing lost, and nothing encoded again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from crash import kill_once, replay
from dense_model import dense_scores, text_vector, text_vectors
from model import assert_same_documents, assert_searches_agree, assert_top_k
from toys import ToyDense, ToyEncoder, use

import cormorant as cm
from cormorant.retrieval import policy

DENSE = ToyDense(dim=6, delay_ms=4)
SECOND = ToyDense(dim=5, seed=1, delay_ms=4)


def _not_encoded(path: Path) -> int:
    """How many rows wait for an encoder, as the catalog says."""
    count = 0
    with (
        cm.Collection.open(path, read_only=True) as collection,
        collection._reader.pinned(tail=False) as pinned,
    ):
        for name, view in pinned.snapshot.searchable.items():
            if view.encoder is None:
                continue
            (waiting,) = pinned.connection.execute(
                "SELECT count(*) FROM documents LEFT JOIN tombstones USING (row) "
                "WHERE row >= ? AND row < ? AND tombstones.commit_number IS NULL AND row NOT IN "
                "(SELECT row FROM encodings WHERE index_name = ?)",
                (view.indexed_until, view.deferred_until, name),
            ).fetchone()
            count += waiting
    return count


def _survive(directory: Path, kills: int, seed: int) -> None:
    path, log = directory / "c.cm", directory / "log"
    log.write_text("")
    with cm.Collection.create(path, {"bm25": cm.BM25(), "dense": DENSE}) as collection:
        collection.add([cm.Document(id="seed", text="amber beacon cedar")])
        collection.merge()
        collection.delete(["seed"])
    model: dict[str, cm.Document] = {}
    random_ = random.Random(seed)
    step = waited = kept = 0
    for kill in range(kills):
        kill_once(path, log, seed + kill, step, random_.uniform(0.02, 0.4), SECOND)
        before, after, last = replay(log, model)
        step = max(step, last)
        waiting = _not_encoded(path)
        waited += waiting
        ToyEncoder.documents.clear()
        with cm.Collection.open(path) as collection:
            there = {item.id: item.as_json() for item in collection.scroll()}
            model = before if there == {k: v.as_json() for k, v in before.items()} else after
            assert_same_documents(collection, model)
            assert collection.wait_indexed(60)
            assert len(ToyEncoder.documents) == waiting
            assert collection.check().problems == ()
            assert_searches_agree(collection, model)
            for name, settings in collection.indexes.items():
                if name != "bm25":
                    kept += 1
                    scores = dense_scores(
                        text_vectors(settings, model), text_vector(settings, "amber cedar")
                    )
                    result = collection.search("amber cedar", 30, pipeline=name)
                    assert_top_k(result, scores, 30)
    print(f"\n{kills} kills, {step} operations begun, {waited} rows were waiting for an encoder")
    assert step > kills, "the children did next to nothing"
    assert waited > 0
    assert kept > kills, "the second index was never there"


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """An add is one transaction still, and an index is encoded in several."""
    use(monkeypatch)
    monkeypatch.setattr(policy, "ENCODED_DOCUMENTS", 20)


@pytest.mark.usefixtures("small_batches")
def test_fifteen_kills(tmp_path: Path) -> None:
    _survive(tmp_path, 15, seed=1)


@pytest.mark.soak
@pytest.mark.usefixtures("small_batches")
def test_a_hundred_kills(tmp_path: Path) -> None:
    _survive(tmp_path, 100, seed=500)
