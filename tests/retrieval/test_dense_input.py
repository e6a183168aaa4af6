"""Bad input to a dense index: named errors, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toys import ToyDense, ToyEncoder, use

import cormorant as cm
from cormorant.errors import UnknownNameError

READY = cm.Dense(model=None)


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)


@pytest.fixture
def collection(tmp_path: Path) -> Iterator[cm.Collection]:
    """Two documents with vectors of four numbers each, and BM25."""
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25(), "dense": READY}) as opened:
        opened.add(documents("a", "b"), vectors={"dense": np.eye(4)[:2]})
        yield opened
        assert {document.id for document in opened.scroll()} == {"a", "b"}
        assert opened.check().problems == ()
        result = opened.search_batch(vectors=np.eye(4)[:1], pipeline="dense")[0]
        assert result.ids == ["a", "b"]


def documents(*names: str) -> list[cm.Document]:
    return [cm.Document(id=name, text=f"amber {name}") for name in names]


def _vectors(value: float) -> np.ndarray:
    vectors = np.ones((3, 4))
    vectors[1, 2] = value
    return vectors


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e16, -1e300])
def test_numbers_that_cannot_be_used(collection: cm.Collection, value: float) -> None:
    for vectors in (_vectors(value), _vectors(value).astype(np.longdouble)):
        with pytest.raises(cm.InputError, match="vector 1 has NaN, infinity or a number beyond"):
            collection.add(documents("x", "y", "z"), vectors={"dense": vectors})
        with pytest.raises(cm.InputError, match="vector 1 has NaN"):
            collection.search_batch(vectors=vectors, pipeline="dense")


def test_a_zero_vector_has_no_cosine(collection: cm.Collection) -> None:
    vectors = np.ones((3, 4))
    vectors[2] = 0
    with pytest.raises(cm.InputError, match="vector 2 is zero.*similarity='dot'"):
        collection.add(documents("x", "y", "z"), vectors={"dense": vectors})
    with pytest.raises(cm.InputError, match="vector 0 is zero"):
        collection.search_batch(vectors=np.zeros((1, 4)), pipeline="dense")


def test_a_zero_vector_has_an_inner_product(tmp_path: Path) -> None:
    dot = cm.Dense(model=None, similarity="dot")
    with cm.Collection.create(tmp_path / "c.cm", {"dense": dot}) as collection:
        vectors = np.array([[0, 0], [1e15, 1e15], [-1, 1]])
        collection.add(documents("zero", "large", "other"), vectors={"dense": vectors})
        results = collection.search_batch(vectors=[[0, 0], [1e15, 1e15]])
        assert results[0].scores == [0.0, 0.0, 0.0]
        assert results[1].ids[0] == "large"
        assert np.isfinite(results[1].scores).all()


def test_the_row_is_counted_from_the_first_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not from the first of its transaction."""
    monkeypatch.setattr("cormorant.retrieval.policy.BATCH_DOCUMENTS", 10)
    vectors = np.ones((25, 4))
    vectors[23] = np.nan
    with cm.Collection.create(tmp_path / "c.cm", {"dense": READY}) as collection:
        with pytest.raises(cm.InputError, match="vector 23 has NaN"):
            collection.add(documents(*map(str, range(25))), vectors={"dense": vectors})
        assert len(collection) == 20, "each transaction is whole"


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((3, 5)), "made with dim 4, not 5"),
        (np.ones((3, 0)), "got an array"),
        (np.ones((2, 4)), "2 vectors for 3 documents"),
        (np.ones((4, 4)), "4 vectors for 3 documents"),
        (np.ones(4), r"array \(n, dim\)"),
        (np.ones((3, 4, 1)), r"array \(n, dim\)"),
        (np.ones((3, 4), object), "of numbers, got object"),
        (np.ones((3, 4), complex), "of numbers, got complex"),
        (np.ones((3, 4), bool), "of numbers, got bool"),
        ([["a"] * 4] * 3, "of numbers"),
        ([[1, 2], [1], [1]], r"array \(n, dim\)"),
        (None, r"array \(n, dim\)"),
        ("abc", r"array \(n, dim\)"),
    ],
)
def test_arrays_of_another_form(collection: cm.Collection, vectors: Any, message: str) -> None:
    with pytest.raises(cm.InputError, match=message) as caught:
        collection.add(documents("x", "y", "z"), vectors={"dense": vectors})
    assert "vectors" in str(caught.value)


def test_vectors_of_a_generator_are_counted_as_they_come(collection: cm.Collection) -> None:
    with pytest.raises(cm.InputError, match="2 vectors for more documents"):
        collection.add(iter(documents("x", "y", "z")), vectors={"dense": np.ones((2, 4))})


def test_vectors_where_none_belong(collection: cm.Collection, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="no index 'bm25' takes vectors; these do: dense"):
        collection.add(documents("x"), vectors={"bm25": np.ones((1, 4))})
    with pytest.raises(UnknownNameError, match="no index 'nope' takes"):
        collection.add(documents("x"), vectors={"nope": np.ones((1, 4))})
    with pytest.raises(cm.InputError, match="maps names of indexes to arrays"):
        collection.add(documents("x"), vectors=np.ones((1, 4)))
    with pytest.raises(cm.InputError, match="searched with texts, not with vectors"):
        collection.search_batch(vectors=np.ones((1, 4)), pipeline="bm25")
    with pytest.raises(cm.InputError, match="pipeline of one index only"):
        collection.search_batch(vectors=np.ones((1, 4)), pipeline="hybrid")
    with pytest.raises(cm.InputError, match="1 vectors for 2 queries"):
        collection.search_batch(["amber", "cedar"], vectors=np.ones((1, 4)))
    with (
        cm.Collection.create(
            tmp_path / "chunks.cm", {"dense": READY}, chunk=cm.Chunking(8, 2)
        ) as chunked,
        pytest.raises(cm.InputError, match="splits long documents"),
    ):
        text = "one two three four five six seven eight nine ten. " * 5
        chunked.add([cm.Document(id="x", text=text)], vectors={"dense": np.ones((1, 4))})
    with cm.Collection.open(tmp_path / "chunks.cm") as chunked:
        assert len(chunked) == 0


def test_queries_of_another_form(collection: cm.Collection) -> None:
    with pytest.raises(cm.InputError, match="made with dim 4, not 3"):
        collection.search_batch(vectors=np.ones((1, 3)), pipeline="dense")
    for vectors in (np.ones(4), np.ones((1, 4), object), "x"):
        with pytest.raises(cm.InputError, match=r"array \(n, dim\)"):
            collection.search_batch(vectors=vectors, pipeline="dense")
    assert collection.search_batch(vectors=np.ones((0, 4)), pipeline="dense") == []


@pytest.mark.parametrize("when", ["now", "later"])
def test_an_index_without_a_model_takes_no_texts(collection: cm.Collection, when: Any) -> None:
    """Also not later: the background could never do it."""
    with pytest.raises(cm.InputError, match="'dense' has no model: give add .* vectors"):
        collection.add(documents("x"), index=when)
    for pipeline in ("dense", "hybrid"):
        with pytest.raises(cm.InputError, match="no model .* give ready vectors"):
            collection.search("amber", pipeline=pipeline)
    assert collection.search("amber", pipeline="bm25").ids == ["a", "b"]


@pytest.mark.parametrize("when", ["now", "later"])
def test_ready_vectors_outlive_a_change_of_metadata(tmp_path: Path, when: Any) -> None:
    """``index="later"`` forgot them, and the background had no model to make them again."""
    with cm.Collection.create(tmp_path / "c.cm", {"dense": READY}) as collection:
        collection.add(documents("a", "b"), vectors={"dense": np.eye(4)[:2]})
        for year in (1, 2):
            changed = cm.Document(id="a", text="amber a", metadata={"year": year})
            collection.add([changed], index=when)
            assert collection.wait_indexed(30)
            result = collection.search_batch(vectors=np.eye(4)[:1], filter={"year": year})[0]
            assert (result.ids, result.scores) == (["a"], [1.0])
            collection.flush()


def test_an_index_without_a_model_beside_documents(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add_index("empty", READY)
        collection.drop_index("empty")
        collection.add(documents("a", "b"))
        with pytest.raises(cm.InputError, match="no model to encode the documents that are there"):
            collection.add_index("dense", READY)
        assert list(collection.indexes) == ["bm25"]
        collection.add_index("dense", READY, index="later")
        collection.add(documents("a", "b"), vectors={"dense": np.eye(4)[:2]})
        assert collection.wait_indexed(30)
        assert collection.search_batch(vectors=np.eye(4)[1:2], pipeline="dense")[0].ids[0] == "b"
        assert collection.check().problems == ()


# -- models ---------------------------------------------------------------------------------------


def test_fewer_numbers_than_asked_for(tmp_path: Path) -> None:
    with cm.Collection.create(
        tmp_path / "c.cm", {"bm25": cm.BM25(), "dense": ToyDense(dim=8, cut_to=5000)}
    ) as collection:
        with pytest.raises(cm.InputError, match="gives vectors of 8 numbers, fewer than 5000"):
            collection.add(documents("a"))
        assert len(collection) == 0
        with pytest.raises(cm.InputError, match="fewer than 5000"):
            collection.search("amber", pipeline="dense")


def test_add_index_with_settings_that_cannot_work_leaves_no_index(tmp_path: Path) -> None:
    """It stayed, behind for ever, and a second try was told that it exists."""
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add(documents("a"))
        with pytest.raises(cm.InputError, match="fewer than 5000"):
            collection.add_index("dense", ToyDense(cut_to=5000))
        assert list(collection.indexes) == ["bm25"]
        collection.add_index("dense", ToyDense())
        assert collection.search("amber", pipeline="dense").ids == ["a"]


def test_vectors_are_cut_to_the_dimension_asked_for(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"dense": ToyDense(dim=8, cut_to=3)}) as opened:
        opened.add(documents("a", "b"))
        opened.flush()
        assert opened.describe()["indexes"]["dense"]["dim"] == 3
        assert opened.search("amber a").scores[0] == pytest.approx(1.0)


def test_a_model_that_changed_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexes = {"bm25": cm.BM25(), "dense": ToyDense()}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(documents("a", "b"))
        assert collection.describe()["indexes"]["dense"]["made_by"]["model"] == "toy-8-0"
    monkeypatch.setattr(ToyEncoder, "retrained", 1)
    advice = r"made with model 'toy-8-0', not 'toy-8-1000'.*add_index\(NEW_NAME.*drop_index"
    with cm.Collection.open(tmp_path / "c.cm") as collection:
        hybrid = cm.Pipeline(["bm25", "dense"], fuse=cm.Convex())
        for pipeline in ("dense", hybrid):
            with pytest.raises(cm.CollectionError, match=advice):
                collection.search("amber", pipeline=pipeline)
        with pytest.raises(cm.CollectionError, match=advice):
            collection.add(documents("c"))
        assert collection.search("amber", pipeline="bm25").ids == ["a", "b"]
        assert "c" not in collection
        collection.add([cm.Document(id="a", text="amber a", metadata={"year": 1})])
        collection.add(documents("d"), index="later")
        with pytest.raises(cm.CollectionError, match=advice):
            collection.wait_indexed(30)
        assert "toy-8-1000" in collection.describe()["background_error"]
        collection.add_index("new", ToyDense())
        assert collection.search("amber d", pipeline="new").ids[0] == "d"
        collection.drop_index("dense")
        assert collection.wait_indexed(30)
        collection.add(documents("e"))
        assert collection.search("amber e", pipeline="new").ids[0] == "e"
        assert collection.check().problems == ()


def test_long_texts_are_cut_and_counted(tmp_path: Path) -> None:
    with cm.Collection.create(tmp_path / "c.cm", {"dense": ToyDense(max_tokens=3)}) as collection:
        collection.add([cm.Document(id="long", text="a b c d e"), *documents("x")])
        assert collection.search("a b c").flags == ()
        assert collection.search("a b c d").flags == ("the query was cut to the model's 3 tokens",)
        assert "2 queries were cut to the model's 3 tokens" in str(
            collection.search_batch(["a b c d", "a", "e d c b"])[0].flags
        )
        collection.merge()
        assert collection.describe()["indexes"]["dense"]["cut"] == 1
        collection.add([cm.Document(id="long", text="a b c d e", metadata={"year": 1})])
        collection.merge()
        assert collection.describe()["indexes"]["dense"]["cut"] == 1
        collection.delete(["long"])
        collection.merge()
        assert collection.describe()["indexes"]["dense"]["cut"] == 0


@pytest.mark.parametrize("error", [RuntimeError("no memory"), cm.InputError("no such text")])
def test_an_encoder_that_fails_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    indexes = {"bm25": cm.BM25(), "dense": ToyDense()}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(documents("a"))
        version = collection.describe()["version"]
        monkeypatch.setattr(ToyEncoder, "error", error)
        with pytest.raises(type(error), match="no "):
            collection.add(documents("a2", "b"))
        assert collection.describe()["version"] == version
        assert collection.search("amber", pipeline="dense").ids == ["a"]
        collection.add(documents("later"), index="later")
        with pytest.raises(cm.CormorantError, match="no "):
            collection.wait_indexed(30)
        result = collection.search("later", pipeline="bm25")
        assert result.ids == ["later"], "what fails for one index does not stop the others"
        monkeypatch.setattr(ToyEncoder, "error", None)
        assert collection.wait_indexed(30)
        assert collection.search("amber later", pipeline="dense").ids[0] == "later"
        assert collection.check().problems == ()


def test_a_text_that_becomes_no_vector_is_named_by_its_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toys._word_vector", lambda *_: np.zeros(8, np.float32))
    with cm.Collection.create(tmp_path / "c.cm", {"dense": ToyDense()}) as collection:
        with pytest.raises(cm.InputError, match="the vector of document 'a' is zero"):
            collection.add(documents("a", "b"))
        assert len(collection) == 0


def test_ready_vectors_fuse_with_words(tmp_path: Path) -> None:
    """Words for the one index and vectors for the other; by default only what can be asked is."""
    with cm.Collection.create(
        tmp_path / "c.cm", {"bm25": cm.BM25(), "dense": cm.Dense(model=None)}
    ) as collection:
        items = [cm.Document(id=name, text=name) for name in ("amber", "beacon", "cedar")]
        collection.add(items, vectors={"dense": np.eye(3)})
        assert collection.search("amber").ids == ["amber"]
        queries, vectors = ["amber", "cedar"], np.eye(3)[[1, 1]]
        for pipeline in (None, "hybrid", cm.Pipeline(["bm25", "dense"], fuse=cm.RRF())):
            found = collection.search_batch(queries, vectors=vectors, pipeline=pipeline)
            assert [set(result.ids[:2]) for result in found] == [
                {"amber", "beacon"},
                {"cedar", "beacon"},
            ]


def test_a_product_quantiser_that_does_not_fit_is_refused_at_once(tmp_path: Path) -> None:
    """Once the vectors were in, every merge, flush and close failed, for good."""
    dense = cm.Dense(model=None, ann=cm.IVF(quantizer="pq", pq_bytes=48))
    with cm.Collection.create(tmp_path / "c.cm", {"dense": dense}) as collection:
        with pytest.raises(cm.InputError, match="divides the dimension, which is 100; got 48"):
            collection.add([cm.Document(id="a", text="")], vectors={"dense": np.ones((1, 100))})
        assert len(collection) == 0


def test_a_fusion_over_passages_finds_every_document(tmp_path: Path) -> None:
    """One long document's passages once filled every list, and nothing else was found."""
    with cm.Collection.create(
        tmp_path / "c.cm",
        {"bm25": cm.BM25(), "other": cm.BM25(k1=0.9)},
        chunk=cm.Chunking(tokens=8, overlap=0),
    ) as collection:
        collection.add([cm.Document(id="long", text="amber tree grows here. " * 300)])
        collection.add([cm.Document(id=f"d{n}", text="one amber among many words") for n in "123"])
        fused = cm.Pipeline(["bm25", "other"], fuse=cm.RRF(), depth=50)
        assert set(collection.search("amber", 4, pipeline=fused).ids) == {"long", "d1", "d2", "d3"}
