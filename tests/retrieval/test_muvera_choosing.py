"""LEMUR, and the choice between proxies, where there is little or nothing to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.documents import JsonObject
from cormorant.indexers.muvera import lemur, tuning
from cormorant.vectors import TokenVectors

DIM = 12
ROWS = 600
QUERIES = 8


def documents_of(filled: int, tokens: int) -> tuple[list[cm.Document], TokenVectors]:
    """Documents of which so many, spread evenly, have so many tokens, and the rest none."""
    counts = np.zeros(ROWS, np.int64)
    counts[np.linspace(0, ROWS - 1, filled).astype(np.int64)] = tokens
    starts = np.concatenate([[0], np.cumsum(counts)])
    random = np.random.default_rng(filled)
    drawn = random.standard_normal((8, DIM))[random.integers(0, 8, ROWS)].repeat(counts, axis=0)
    drawn += 0.5 * random.standard_normal(drawn.shape)  # documents about one of eight things
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    documents = [cm.Document(id=f"d{number}", text="") for number in range(ROWS)]
    return documents, TokenVectors(starts, drawn.astype(np.float32))


def merged_facts(path: Path, proxy: str, filled: int, tokens: int) -> JsonObject:
    """What a merged collection says of itself; it is whole and finds what there is."""
    settings = cm.Muvera(
        model=None, proxy=proxy, proxy_rows=256, features=64, r_reps=8, storage="float32"
    )
    documents, vectors = documents_of(filled, tokens)
    with cm.Collection.create(path / "c.cm", {"tokens": settings}) as collection:
        for first in range(0, ROWS, 200):
            some = slice(first, first + 200)
            collection.add(documents[some], vectors={"tokens": vectors[some]})
            collection.flush()
        collection.merge()
        assert collection.check().problems == ()
        having = np.flatnonzero(np.diff(vectors.starts))[:QUERIES]
        for place in having.tolist():
            query = vectors[place : place + 1]
            result = collection.search_batch(vectors=query, k=5)[0]
            assert result.ids[0] == f"d{place}"
            assert result.scores[0] == pytest.approx(tokens, abs=1e-4)
        facts: JsonObject = collection.describe()["indexes"]["tokens"]
        return facts


@pytest.mark.parametrize("proxy", ["lemur", "auto"])
@pytest.mark.parametrize("filled", [1, 100, tuning.SAMPLES, tuning.SAMPLES + 1])
def test_too_little_to_learn_from(tmp_path: Path, proxy: str, filled: int) -> None:
    """Samples are taken from every document with tokens, or all but one: it is an encoding."""
    facts = merged_facts(tmp_path, proxy, filled, tokens=4)
    assert facts["proxy"] == ["fde"]
    assert facts["empty"] == ROWS - filled
    tried = facts["tried"][0]
    learned = 4 * max(0, filled - tuning.SAMPLES)
    assert tried.pop("lemur") == (
        f"not tried: {learned} tokens to learn from, {lemur.LEAST} needed"
    )
    assert set(tried) == {"fde", "fde filled"}
    assert facts["recall@10"] >= 0.95


@pytest.mark.parametrize("proxy", ["lemur", "auto"])
def test_one_long_document_to_learn_from(tmp_path: Path, proxy: str) -> None:
    facts = merged_facts(tmp_path, proxy, tuning.SAMPLES + 1, tokens=lemur.LEAST)
    if proxy == "lemur":
        assert facts["proxy"] == ["lemur"]
        assert "tried" not in facts
    else:
        assert set(facts["tried"][0]) == {"fde", "fde filled", "lemur"}
    assert facts["recall@10"] >= 0.95


@pytest.mark.parametrize("proxy", ["lemur", "auto"])
def test_no_tokens_at_all(tmp_path: Path, proxy: str) -> None:
    facts = merged_facts(tmp_path, proxy, 0, tokens=0)
    assert facts["empty"] == ROWS
    assert "candidates@10" not in facts, "searched exhaustively"
