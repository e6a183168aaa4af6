"""What tokens of an alignment are in words: those of the query and of the passage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny_late_models import make_late
from tiny_models import make_model

import cormorant as cm
from cormorant.documents import Chunk
from cormorant.indexers.encoders.token_encoder import load_token_encoder
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.retrieval.cluster.executor import InProcess

pytest.importorskip("sentence_transformers")
DOCUMENTS = [
    cm.Document(id="a", text="the Cormorant dives . the deep fish"),
    cm.Document(id="b", title="Deep Search", text=" the fish, 我"),
    cm.Document(id="c", text="."),
    cm.Document(id="e", text="fish " * 30),
]


@pytest.fixture(scope="module", params=["states", "late", "expanded"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("model")
    bert = make_model(folder)
    if request.param == "states":
        return str(bert)
    return str(make_late(folder, bert, expansion=request.param == "expanded"))


def check(alignment: list[dict[str, Any]], query: str, document: cm.Document, model: str) -> None:
    """Every entry holds what the encoder's own vectors and pieces say."""
    encoder = load_token_encoder(model)
    asked, held = (
        encoder.query_pieces(query),
        encoder.document_pieces(
            f"{document.title}\n{document.text}" if document.title else document.text
        ),
    )
    assert [entry["query"] for entry in alignment] == [piece.text for piece in asked]
    for entry in alignment:
        if entry["token"] is None:
            assert "text" not in entry
            continue
        assert entry["text"] == held[entry["token"]].text
        if entry["span"] is None:
            assert entry["field"] is None
            assert held[entry["token"]].span is None
        else:
            assert getattr(document, entry["field"])[slice(*entry["span"])] == entry["text"]


@pytest.mark.parametrize("flushed", [False, True])
def test_an_alignment_in_words(tmp_path: Path, model: str, flushed: bool) -> None:
    settings = cm.Muvera(model, storage="float32", target_recall=None)
    with cm.Collection.create(tmp_path / "c.cm", {"tokens": settings}) as collection:
        collection.add(DOCUMENTS)
        if flushed:
            collection.flush()
        query = "the deep fish dives"
        result = collection.search(query, k=4, explain=True)
        assert len(result) == 4
        reasons = [hit.explanation["tokens"] for hit in result]
        chunks = [Chunk(0, 0, hit.id, hit.title, hit.text) for hit in result]
        named = settings.index().name_tokens(query, chunks, reasons)
        for hit, before, reason in zip(result, reasons, named, strict=True):
            check(reason["alignment"], query, hit.document, model)
            for own, entry in zip(before["alignment"], reason["alignment"], strict=True):
                assert (own["token"], own["similarity"]) == (entry["token"], entry["similarity"])
            assert sum(entry["similarity"] for entry in reason["alignment"]) == pytest.approx(
                hit.score, abs=1e-4
            )
        words = {entry["text"] for entry in named[result.ids.index("a")]["alignment"]}
        assert words <= {"the", "Cormorant", "dives", ".", "deep", "fish", "[CLS]", "[SEP]",
                         "passage", ":"}  # fmt: skip
        if "late" in model:
            assert not words & {"the", "."}


def test_words_are_left_out_where_tokens_are_others(tmp_path: Path, model: str) -> None:
    """Ready vectors need not be of the model's tokens, nor need carved ones."""
    settings = cm.Muvera(model, storage="float32", target_recall=None)
    reason = {"tokens": 99, "alignment": [{"token": 1, "similarity": 0.5}]}
    chunk = Chunk(0, 0, "a", "", "the fish")
    assert settings.index().name_tokens("the deep fish", [chunk], [reason]) == [reason]
    assert settings.index().name_tokens("fish", [chunk], [{}]) == [{}]
    none = cm.Muvera(None)
    assert none.index().name_tokens("fish", [chunk], [reason]) == [reason]


QUERY = "the deep fish dives"


@pytest.mark.parametrize("split", [False, True])
def test_a_search_explains_in_words(tmp_path: Path, model: str, split: bool) -> None:
    """Over one index, fused with another, split into passages, and in a batch."""
    indexes = {"bm25": cm.BM25(), "tokens": cm.Muvera(model, target_recall=None)}
    chunk = cm.Chunking(8, 0) if split else None
    with cm.Collection.create(tmp_path / "c.cm", indexes, chunk=chunk) as collection:
        collection.add(DOCUMENTS)
        collection.flush()
        for pipeline in ("tokens", cm.Pipeline(["bm25", "tokens"], fuse=cm.RRF())):
            other, result = collection.search_batch(
                ["fish", QUERY], k=4, pipeline=pipeline, explain=True
            )
            assert len(result) == len(other) == 4
            for hit in result:
                alignment = hit.explanation["tokens"]["alignment"]
                if not split:
                    check(alignment, QUERY, hit.document, model)
                for entry in alignment:
                    if entry["span"] is not None:
                        first, last = entry["span"]
                        assert last - first == len(entry["text"])
                        assert entry["text"] in getattr(hit, entry["field"])
            one = [entry["query"] for entry in other[0].explanation["tokens"]["alignment"]]
            assert "fish" in one
            assert "dives" not in one
        json.dumps(result.as_json())


def test_what_is_asked_as_vectors_loads_no_model(
    tmp_path: Path, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = {"tokens": cm.Muvera(model, target_recall=None)}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(DOCUMENTS)
        asked = load_token_encoder(model).encode_query([QUERY]).vectors
        monkeypatch.setattr(MuveraIndex, "_encoder", None)
        result = collection.search_batch(vectors=asked, k=1, explain=True)[0]
        (entry, *_) = result[0].explanation["tokens"]["alignment"]
        assert entry.keys() == {"token", "similarity"}


def test_carved_queries_have_the_words_of_passages_only(tmp_path: Path, model: str) -> None:
    indexes = {"tokens": cm.Muvera(model, carve=0.01, target_recall=None)}
    query = "fish fish fish fish"
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(DOCUMENTS)
        hit = collection.search(query, 1, explain=True)[0]
        alignment = hit.explanation["tokens"]["alignment"]
        assert 0 < len(alignment) < len(load_token_encoder(model).query_pieces(query))
        for entry in alignment:
            assert "query" not in entry
            assert entry["text"]


def test_shards_explain_in_words(tmp_path: Path, model: str) -> None:
    settings = cm.Muvera(model, storage="float32", precision="float32", target_recall=None)
    with cm.Cluster.create(tmp_path / "c", shards=2, executor=InProcess()) as cluster:
        collection = cluster.create_collection("birds", {"tokens": settings})
        collection.add(DOCUMENTS)
        result = collection.search(QUERY, 4, explain=True)
        assert len(result) == 4
        for hit in result:
            check(hit.explanation["tokens"]["alignment"], QUERY, hit.document, model)
