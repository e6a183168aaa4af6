"""Residual codes, carved queries and learned proxies in a collection, end to end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.indexers.muvera import lemur
from cormorant.kernels.maxsim import carve

from .test_muvera import documents, maxsim, queries_of, random_text, token_vectors, toy  # noqa: F401

N = 700


@pytest.mark.parametrize("storage", ["residual4", "residual2"])
def test_codes_are_copied_whatever_the_way(tmp_path: Path, storage: str) -> None:
    """One piece or several, merged, with deletes between: the same scores to the last bit."""
    generator = np.random.default_rng(2)
    texts = [random_text(generator, 0, 60) for _ in range(N)]
    names = [f"d{number}" for number in range(N)]
    settings = cm.Muvera(model=None, proxy_rows=256, storage=storage, fill=True)
    hits = []
    for name, cuts in (("one", [0, N]), ("more", [0, 300, 620, N])):
        with cm.Collection.create(tmp_path / f"{name}.cm", {"tokens": settings}) as collection:
            for first, last in zip(cuts[:-1], cuts[1:], strict=True):
                vectors = token_vectors(texts[first:last])
                collection.add(documents(names[first:last]), vectors={"tokens": vectors})
                collection.flush()
            collection.delete(names[5:40])
            collection.merge()
            assert collection.check().problems == ()
            assert collection.describe()["indexes"]["tokens"]["segments"] == 1
            results = collection.search_batch(vectors=token_vectors(queries_of(9)), k=12)
            hits.append([(result.ids, result.scores) for result in results])
    assert hits[0] == hits[1]


@pytest.mark.parametrize(("storage", "least"), [("residual4", 0.75), ("residual2", 0.4)])
def test_codes_rank_nearly_as_vectors_do(tmp_path: Path, storage: str, least: float) -> None:
    """Of 12 numbers, where an error hardly averages out; by chance 0.025 agree."""
    generator = np.random.default_rng(6)
    texts = [random_text(generator, 4, 40) for _ in range(400)]
    indexes = {
        "codes": cm.Muvera(model=None, storage=storage, target_recall=None),
        "whole": cm.Muvera(model=None, storage="float32", target_recall=None),
    }
    names = [f"d{number}" for number in range(400)]
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        vectors = token_vectors(texts)
        collection.add(documents(names), vectors={"codes": vectors, "whole": vectors})
        collection.flush()
        asked = token_vectors(queries_of(40))
        found = [collection.search_batch(vectors=asked, k=10, pipeline=name) for name in indexes]
        shares = [len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(*found, strict=True)]
        assert np.mean(shares) >= least
        facts = collection.describe()["indexes"]
        assert facts["codes"]["bytes"] < facts["whole"]["bytes"]


def test_carved_queries_are_scored_as_the_kernel_carves_them(tmp_path: Path) -> None:
    generator = np.random.default_rng(8)
    texts = {f"d{number}": random_text(generator, 1) for number in range(500)}
    settings = {
        "carved": cm.Muvera(
            model=None, storage="float32", carve=0.6, proxy_rows=256, candidates=100
        ),
        "whole": cm.Muvera(model=None, storage="float32", target_recall=None),
    }
    queries = token_vectors(queries_of(12))
    shorter = carve(queries, 0.6)
    assert len(shorter.vectors) < len(queries.vectors)
    with cm.Collection.create(tmp_path / "c.cm", settings) as collection:
        vectors = token_vectors(list(texts.values()))
        collection.add(documents(list(texts)), vectors=dict.fromkeys(settings, vectors))
        collection.flush()
        found = collection.search_batch(vectors=queries, k=10, pipeline="carved", explain=True)
        for number, result in enumerate(found):
            own = shorter[number : number + 1].vectors
            for hit in result:
                assert hit.score == pytest.approx(maxsim(own, texts[hit.id]), abs=1e-4)
                alignment = hit.explanation["carved"]["alignment"]
                assert len(alignment) == len(own)
                assert sum(item["similarity"] for item in alignment) == pytest.approx(
                    hit.score, abs=1e-4
                )
        exact = collection.search_batch(vectors=shorter, k=10, pipeline="whole")
        shares = [len(set(a.ids) & set(b.ids)) / 10 for a, b in zip(found, exact, strict=True)]
        assert np.mean(shares) > 0.8, "a fifth of all rows were candidates"


def test_a_learned_proxy_survives_reopening_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lemur, "LEARNED", 256)
    monkeypatch.setattr(lemur, "LEAST", 64)
    monkeypatch.setattr(lemur, "STEPS", 20)
    generator = np.random.default_rng(3)
    texts = [random_text(generator, 1) for _ in range(400)]
    names = [f"d{number}" for number in range(400)]
    settings = cm.Muvera(model=None, proxy="lemur", features=64, proxy_rows=256, candidates=100)
    path = tmp_path / "c.cm"
    asked = token_vectors(queries_of(5))
    with cm.Collection.create(path, {"tokens": settings}) as collection:
        collection.add(documents(names), vectors={"tokens": token_vectors(texts)})
        collection.merge()
        before = [(r.ids, r.scores) for r in collection.search_batch(vectors=asked, k=10)]
    with cm.Collection.open(path) as collection:
        assert [(r.ids, r.scores) for r in collection.search_batch(vectors=asked, k=10)] == before
        assert collection.check().problems == ()
    file = next(path.glob("segments/tokens/*/lemur_weights.npy"))
    damaged = bytearray(file.read_bytes())
    damaged[-5] ^= 64
    file.write_bytes(damaged)
    with pytest.raises(cm.CorruptionError, match="lemur_weights"):
        cm.Collection.open(path).search_batch(vectors=asked, k=10)
