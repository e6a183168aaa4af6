"""A sparse index's life in a collection: added, replaced, deleted, merged, filtered, damaged."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse
from model import assert_top_k
from tiny_sparse import make_causal_model, make_masked_model, make_sparse_model, vocabulary

import cormorant as cm
from cormorant.errors import CorruptionError
from cormorant.indexers.encoders import sparse
from cormorant.indexers.encoders.sparse import load_sparse_encoder

TOKENS = [f"token{number}" for number in range(30)]


def vector_of(chance: random.Random) -> dict[str, float]:
    chosen = chance.sample(TOKENS, chance.randint(0, 8))
    return {
        token: float(np.float32(chance.choice([0.5, 1.0, chance.random()]))) for token in chosen
    }


def scores_of(vectors: dict[str, dict[str, float]], query: dict[str, float]) -> dict[str, float]:
    return {
        name: sum(query[token] * own[token] for token in sorted(query.keys() & own.keys()))
        for name, own in vectors.items()
        if query.keys() & own.keys()
    }


def life(path: Path, n_updates: int, every: int, seed: int, n_names: int = 80) -> None:
    """Random adds and deletes; now and then all searches agree with the vectors that are left."""
    chance = random.Random(seed)
    vectors: dict[str, dict[str, float]] = {}
    labels: dict[str, str] = {}
    with cm.Collection.create(path, {"sparse": cm.Sparse()}) as collection:
        for step in range(n_updates):
            names = [f"d{chance.randrange(n_names)}" for _ in range(chance.randint(1, 5))]
            names = list(dict.fromkeys(names))
            if chance.random() < 0.7:
                new = [vector_of(chance) for _ in names]
                new[0] |= {"token0": 1.0}  # an index of nothing but empty vectors has no kind
                documents = []
                for name, vector in zip(names, new, strict=True):
                    vectors.pop(name, None)
                    vectors[name] = vector
                    labels[name] = chance.choice(["red", "green"])
                    year = {"year": len(vector)}
                    documents.append(
                        cm.Document(id=name, text="", metadata=year, labels=[labels[name]])
                    )
                collection.add(documents, vectors={"sparse": new})
            else:
                collection.delete(names)
                for name in names:
                    vectors.pop(name, None)
            if chance.random() < 0.05:
                collection.flush()
            if chance.random() < 0.02:
                collection.merge()
            if step % every:
                continue
            query = vector_of(chance) | {"unknown": 3.0}
            k = chance.choice([1, 5, 100])
            [result] = collection.search_batch(vectors=[query], k=k, pipeline="sparse")
            assert_top_k(result, scores_of(vectors, query), k)
            some = {name: own for name, own in vectors.items() if len(own) < 4}
            [result] = collection.search_batch(
                vectors=[query], k=k, pipeline="sparse", filter={"year": {"lt": 4}}
            )
            assert_top_k(result, scores_of(some, query), k)
            red = {name: own for name, own in vectors.items() if labels[name] == "red"}
            [result] = collection.search_batch(
                vectors=[query], k=k, pipeline="sparse", as_labels=["red"]
            )
            assert_top_k(result, scores_of(red, query), k)
        assert collection.check().problems == ()
        asked = [vector_of(chance) | {"token0": 1.0} for _ in range(30)]
        pairs = [answer_of(collection, query) for query in asked]
    with cm.Collection.create(path.with_name("fresh.cm"), {"sparse": cm.Sparse()}) as fresh:
        names = list(vectors)
        fresh.add(
            [cm.Document(id=name, text="") for name in names],
            vectors={"sparse": [vectors[name] for name in names]},
        )
        assert pairs == [answer_of(fresh, query) for query in asked]


def answer_of(collection: cm.Collection, query: dict[str, float]) -> list[tuple[str, float]]:
    """Every hit, by score and id: rows, and so the order of equal scores, are each collection's."""
    [found] = collection.search_batch(vectors=[query], k=10_000, pipeline="sparse")
    return sorted(zip(found.ids, found.scores, strict=True), key=lambda hit: (-hit[1], hit[0]))


def test_updates_leave_what_a_fresh_build_holds(tmp_path: Path) -> None:
    life(tmp_path / "c.cm", 100, 5, seed=1)


@pytest.mark.soak
def test_ten_thousand_updates(tmp_path: Path) -> None:
    life(tmp_path / "c.cm", 10_000, 50, seed=2, n_names=4_000)


def test_scipy_torch_and_mappings_are_one(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    matrix = scipy.sparse.random(40, 90, 0.2, "csr", np.float32, np.random.default_rng(3))
    forms: dict[str, Any] = {
        "scipy": matrix,
        "coo": matrix.tocoo(),
        "torch": torch.from_numpy(matrix.toarray()).to_sparse_coo(),
        "mappings": [
            dict(zip(row.indices.tolist(), row.data.tolist(), strict=True)) for row in matrix
        ],
    }
    answers = []
    documents = [cm.Document(id=str(number), text="") for number in range(40)]
    for name, form in forms.items():
        with cm.Collection.create(tmp_path / f"{name}.cm", {"sparse": cm.Sparse()}) as collection:
            collection.add(documents, vectors={"sparse": form})
            results = collection.search_batch(vectors=form, k=5, pipeline="sparse")
            answers.append([(item.ids, item.scores) for item in results])
    assert answers == [answers[0]] * len(forms)
    expected = (matrix @ matrix.T).toarray()
    for row, (ids, scores) in enumerate(answers[0]):
        best = np.lexsort((np.arange(40), -expected[row]))[: len(ids)]
        assert np.allclose(scores, expected[row][best], rtol=1e-5)


def test_numbers_and_tokens_do_not_mix_in_one_index(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"sparse": cm.Sparse()}) as collection:
        collection.add([cm.Document(id="a", text="")], vectors={"sparse": [{"fish": 1.0}]})
        with pytest.raises(cm.InputError, match="tokens"):
            collection.add([cm.Document(id="b", text="")], vectors={"sparse": [{7: 1.0}]})
        with pytest.raises(cm.InputError, match="tokens"):
            collection.search_batch(vectors=[{7: 1.0}], k=3, pipeline="sparse")
        assert len(collection.search_batch(vectors=[{}], k=3, pipeline="sparse")[0]) == 0
        assert len(collection.search_batch(vectors=[{"x": 1.0}], k=3, pipeline="sparse")[0]) == 0


@pytest.mark.parametrize("name", ["listed", "weights", "run_begins"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    path = tmp_path / "c.cm"
    with cm.Collection.create(path, {"sparse": cm.Sparse()}) as collection:
        collection.add(
            [cm.Document(id="a", text="")], vectors={"sparse": [{"fish": 1.0, "x": 2.0}]}
        )
        collection.merge()
    [file] = path.glob(f"segments/*/*/{name}.npy")
    content = bytearray(file.read_bytes())
    content[-1] ^= 255
    file.write_bytes(content)
    with pytest.raises(CorruptionError, match=name):
        cm.Collection.open(path)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_sparse_model(tmp_path_factory.mktemp("sparse"), inference_free=True)


TEXTS = ["the cormorant dives deep", "fish dives", "search query passage", "the fish", "the deep"]
DOCUMENTS = [cm.Document(id=f"d{number}", text=text) for number, text in enumerate(TEXTS)]
ASKS = """
import sys
import cormorant as cm
with cm.Collection.open(sys.argv[1], read_only=True) as collection:
    result = collection.search("the cormorant dives", 3, pipeline="sparse")
    assert len(result) == 3, result
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("idf", ["model", "collection"])
def test_an_inference_free_search_never_loads_the_model(
    tmp_path: Path, model: Path, idf: str
) -> None:
    path = tmp_path / "c.cm"
    with cm.Collection.create(path, {"sparse": cm.Sparse(str(model), idf=idf)}) as collection:
        collection.add(DOCUMENTS)
    done = subprocess.run(
        [sys.executable, "-c", ASKS, str(path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


def test_highlights_are_the_querys_words_without_the_model(tmp_path: Path, model: Path) -> None:
    path = tmp_path / "c.cm"
    with cm.Collection.create(path, {"sparse": cm.Sparse(str(model))}) as collection:
        collection.add(DOCUMENTS)
        text = "Fish: the CORMORANT dives, and a fishes"
        spans = collection.highlights("the cormorant fish", text)
        found = [text[first:last].lower() for first, last in spans]
        assert found[0] == "fish"
        assert "cormorant" in found
        assert "dives" not in found
        assert "fishes" not in found
        assert spans == sorted(spans)
    with cm.Collection.create(tmp_path / "d.cm", {"sparse": cm.Sparse()}) as collection:
        assert collection.highlights("fish", text) == []


def test_queries_that_match_nothing(tmp_path: Path, model: Path) -> None:
    """No terms, unknown terms, and documents without any: no hits, and no error."""
    with cm.Collection.create(tmp_path / "c.cm", {"sparse": cm.Sparse()}) as collection:
        empty: list[dict[str, float]] = [{}, {"fish": 1.0}, {"fish": 0.0}]
        collection.add(DOCUMENTS[:3], vectors={"sparse": empty})
        asked: list[dict[str, float]] = [{}, {"unknown": 2.0}, {"fish": 0.0}, {"fish": 1.0}]
        results = collection.search_batch(vectors=asked, k=5, pipeline="sparse")
        assert [result.ids for result in results] == [[], [], [], ["d1"]]
    with cm.Collection.create(tmp_path / "d.cm", {"sparse": cm.Sparse(str(model))}) as collection:
        collection.add(DOCUMENTS)
        assert len(collection.search("", 5, pipeline="sparse")) == 0


def test_a_model_of_another_vocabulary_under_an_index(tmp_path: Path, model: Path) -> None:
    own = tmp_path / "own"
    shutil.copytree(model, own)
    with cm.Collection.create(tmp_path / "c.cm", {"sparse": cm.Sparse(str(own))}) as collection:
        collection.add(DOCUMENTS)
    shutil.rmtree(own)
    make_masked_model(own, spread=0.2)
    sparse._loaded.clear()  # as in another process
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        for act in (
            lambda: collection.search("fish", pipeline="sparse"),
            lambda: collection.add([cm.Document(id="new", text="fish")]),
        ):
            with pytest.raises(cm.CollectionError, match=r"made with model 'sparse-.*add_index"):
                act()
        with pytest.raises(cm.InputError, match="no token here|from 0 to"):
            collection.search_batch(vectors=[{1 << 20: 1.0}], k=1, pipeline="sparse")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("documents", ["model", "tokens"])
@pytest.mark.parametrize("encoder", ["auto", "echo", "vocabulary", "splade"])
def test_every_kind_of_encoder_through_a_collection(
    tmp_path: Path, encoder: str, documents: str
) -> None:
    """Scores are inner products of what the encoder makes; a causal model is told by its files."""
    causal = encoder in ("auto", "echo")
    model = (make_causal_model if causal else make_masked_model)(tmp_path / "model")
    settings = cm.Sparse(str(model), encoder=encoder, documents=documents, precision="float32")
    with cm.Collection.create(tmp_path / "c.cm", {"sparse": settings}) as collection:
        collection.add(DOCUMENTS)
        found = collection.search("the deep fish", 5, pipeline="sparse", explain=True)
        assert not collection.check().problems
    own = load_sparse_encoder(str(model), kind=encoder, precision="float32")
    assert own.identity.startswith("echo" if causal else encoder.replace("splade", "sparse"))
    asked = own.encode_query(["the deep fish"]).vectors
    weights = dict(zip(asked.terms.tolist(), asked.weights.tolist(), strict=True))
    for hit in found:
        text = [next(d.text for d in DOCUMENTS if d.id == hit.id)]
        made = own.bags_of_tokens(text) if documents == "tokens" else own.encode_document(text)
        pairs = zip(made.vectors.terms.tolist(), made.vectors.weights.tolist(), strict=True)
        expected = sum(weights.get(term, 0.0) * weight for term, weight in pairs)
        assert hit.score == pytest.approx(expected, rel=1e-4)
    assert len(found) >= 3


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_beta_search_encodes_only_what_it_reranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bags of tokens are searched; the model reads the query and ``depth`` documents, no more."""
    model = make_masked_model(tmp_path / "model", spread=0.2)
    words = ("fish", "deep", "query", "search", "passage")
    documents = [
        cm.Document(id=f"{word}-{letter}", text=f"{word} {letter}")
        for word in words
        for letter in "abcd"
    ]
    settings = {"encoder": "vocabulary", "precision": "float32"}
    indexes = {
        "bags": cm.Sparse(str(model), documents="tokens", **settings),
        "whole": cm.Sparse(str(model), **settings),
    }
    read: list[str] = []
    encode = sparse.SparseEncoder.encode_document

    def noted(self: sparse.SparseEncoder, texts: list[str]) -> Any:
        read.extend(texts)
        return encode(self, texts)

    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(documents)
        first = collection.search("fish c", 5, pipeline="bags")
        monkeypatch.setattr(sparse.SparseEncoder, "encode_document", noted)
        beta = cm.Pipeline(["bags"], rerank=[cm.Reencode("bags", depth=5)])
        found = collection.search("fish c", 5, pipeline=beta)
        assert sorted(read) == sorted(name.replace("-", " ") for name in found.ids)
        assert sorted(found.ids) == sorted(first.ids)
        whole = collection.search("fish c", 20, pipeline="whole")
        true = dict(zip(whole.ids, whole.scores, strict=True))
        for name, score in zip(found.ids, found.scores, strict=True):
            assert score == pytest.approx(true[name], rel=1e-5)
        assert found.ids == [name for name in whole.ids if name in found.ids]
        with pytest.raises(cm.InputError, match="scores no passages"):
            collection.add_index("bm25", cm.BM25())
            collection.search("fish", pipeline=cm.Pipeline(["bags"], rerank=[cm.Reencode("bm25")]))


def test_the_collections_idf_follows_what_a_searcher_sees(tmp_path: Path, model: Path) -> None:
    """N and df count visible texts' own words; no document is encoded again for it."""

    def weight(collection: cm.Collection, token: str, **how: Any) -> float:
        [hit, *_] = collection.search(f"{token}", 5, pipeline="sparse", explain=True, **how)
        assert hit.explanation is not None
        [matched] = hit.explanation["sparse"]["matched"]
        assert matched["term"] == token
        return float(matched["query_weight"])

    def idf(n: int, df: int) -> float:
        return float(np.log1p((n - df + 0.5) / (df + 0.5)))

    assert "fish" in vocabulary()
    settings = cm.Sparse(str(model), idf="collection")
    with cm.Collection.create(tmp_path / "c.cm", {"sparse": settings}) as collection:
        collection.add(DOCUMENTS)
        assert weight(collection, "fish") == pytest.approx(idf(5, 2), rel=1e-6)
        collection.flush()
        collection.add([cm.Document(id="new", text="fish the", labels=["red"])])
        assert weight(collection, "fish") == pytest.approx(idf(6, 3), rel=1e-6)
        collection.delete(["d0", "d1"])
        assert weight(collection, "fish") == pytest.approx(idf(4, 2), rel=1e-6)
        collection.merge()
        assert weight(collection, "fish") == pytest.approx(idf(4, 2), rel=1e-6)
        assert collection.check().problems == ()
