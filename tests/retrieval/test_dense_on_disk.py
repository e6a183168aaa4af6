"""A dense index whose vectors are on disk is a spann index under another name, and says as much."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from damage import flip_a_bit
from spann_collections import BASE, QUERIES, SPANN

import cormorant as cm
from cormorant.errors import CorruptionError
from cormorant.indexers.spann import tuning
from cormorant.indexers.table import index_settings
from cormorant.tagged import to_json

DENSE = cm.Dense(model=None, ann=replace(SPANN, model=cm.Spann().model))


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effort for other targets would take most of the time of so small a build."""
    monkeypatch.setattr(tuning, "TARGETS", ())


def add(collection: cm.Collection, rows: range) -> None:
    documents = [cm.Document(id=f"d{row}", text="", metadata={"part": row % 10}) for row in rows]
    own = BASE[list(rows)]
    collection.add(documents, vectors={"spann": own, "dense": own})


def assert_the_same(collection: cm.Collection, **options: object) -> None:
    """Ids, scores, flags and explanations of both."""
    found = {
        name: collection.search_batch(vectors=QUERIES, k=10, pipeline=name, **options)
        for name in ("spann", "dense")
    }
    for own, other in zip(found["dense"], found["spann"], strict=True):
        assert (own.ids, own.scores, own.flags) == (other.ids, other.scores, other.flags)
    told = [
        collection.search_batch(vectors=QUERIES[:1], k=3, pipeline=name, explain=True, **options)
        for name in ("spann", "dense")
    ]
    for hits in zip(*(results[0] for results in told), strict=True):
        spann, dense = (
            hit.explanation[name] for hit, name in zip(hits, ("spann", "dense"), strict=True)
        )
        for work in [*spann.get("segments", ()), *dense.get("segments", ())]:
            work.pop("milliseconds", None)  # hits share it
        assert dense == spann


def test_every_answer_is_a_spann_indexs(tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    with cm.Collection.create(path, {"spann": SPANN, "dense": DENSE}) as collection:
        add(collection, range(400))
        assert_the_same(collection)
        collection.flush()
        add(collection, range(400, 700))
        collection.delete([f"d{row}" for row in range(0, 700, 9)])
        assert_the_same(collection)
        collection.merge()
        assert_the_same(collection)
        facts = collection.describe()["indexes"]
        for name in ("lists", "codes", "memory_bytes", "recall"):
            assert facts["dense"][name] == facts["spann"][name] != 0
        assert collection.check().problems == ()
    with cm.Collection.open(path, read_only=True) as collection:
        assert_the_same(collection)
        assert_the_same(collection, filter={"part": 3})
    (file,) = (path / "segments" / "dense").rglob("spann_postings.npy")
    flip_a_bit(file, random.Random(0))
    with pytest.raises(CorruptionError, match=r"spann_postings\.npy"):
        cm.Collection.open(path)


def test_settings() -> None:
    assert index_settings(to_json(DENSE)) == DENSE
    assert index_settings({"kind": "dense", "ann": "spann"}) == cm.Dense(ann=cm.Spann())
    own = replace(DENSE, dim=5, similarity="dot").index().spann
    assert (own.model, own.dim, own.similarity, own.memory) == (None, 5, "dot", SPANN.memory)


@pytest.mark.parametrize(
    ("settings", "ann", "message"),
    [
        ({}, {"similarity": "l2"}, "'similarity': is Dense's to say, not its Spann's; got 'l2'"),
        ({}, {"model": "other"}, "'model': is Dense's to say"),
        ({}, {"dim": 3}, "'dim': is Dense's to say"),
        ({"ann_rows": 300}, {}, "'ann_rows': is for HNSW and IVF; Spann has list_rows"),
        ({"dim": 65_500}, {}, "'dim': is an integer from 1 to 65472"),
    ],
)
def test_what_does_not_apply_is_refused(settings: dict, ann: dict, message: str) -> None:
    with pytest.raises(cm.InputError, match=message):
        cm.Dense(**settings, ann=cm.Spann(**ann))


def test_true_scores_are_those_of_exact_search(tmp_path: Path) -> None:
    with cm.Collection.create(
        tmp_path / "c.cm", {"exact": cm.Dense(model=None), "dense": DENSE}
    ) as collection:
        documents = [cm.Document(id=f"d{row}", text="") for row in range(600)]
        collection.add(documents, vectors={"exact": BASE[:600], "dense": BASE[:600]})
        collection.merge()
        found = {
            name: collection.search_batch(vectors=QUERIES, k=10, pipeline=name)
            for name in ("exact", "dense")
        }
    shares = []
    for own, true in zip(found["dense"], found["exact"], strict=True):
        both = set(own.ids) & set(true.ids)
        scores = dict(zip(true.ids, true.scores, strict=True))
        assert all(hit.score == scores[hit.id] for hit in own if hit.id in both)
        shares.append(len(both) / 10)
    assert np.mean(shares) >= 0.935
