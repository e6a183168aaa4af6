"""Sparse encoders: equal to sentence-transformers, no model at query time, safe loading."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_sparse import make_masked_model, make_sparse_model, vocabulary

from cormorant.errors import CormorantError, InputError, ModelNotFoundError
from cormorant.indexers.encoders.sparse import SparseEncoder, load_sparse_encoder
from cormorant.vectors import SparseVectors

TEXTS = [
    "the cormorant dives deep",
    "fish",
    "",
    "search query passage . 我 fish dives the deep abcd efgh",
    "the the the",
    "a b c d e f g h i j k l m n o p q r s t u v w x y z " * 3,
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("sparse")
    return {
        "inference-free": make_sparse_model(
            place / "a", inference_free=True, activation="log1p_relu"
        ),
        "splade": make_sparse_model(place / "b", inference_free=False),
    }


def _dense(vectors: SparseVectors, vocabulary_size: int) -> np.ndarray:
    dense = np.zeros((len(vectors), vocabulary_size), np.float32)
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.starts))
    dense[rows, vectors.terms] = vectors.weights
    return dense


@pytest.mark.parametrize("kind", ["inference-free", "splade"])
def test_vectors_are_sentence_transformers(folders, kind):
    from sentence_transformers.sparse_encoder import SparseEncoder as Theirs

    ours = load_sparse_encoder(str(folders[kind]), precision="float32")
    theirs = Theirs(str(folders[kind]), device="cpu")
    found, wanted = ours.encode_document(TEXTS), theirs.encode_document(TEXTS).to_dense().numpy()
    np.testing.assert_allclose(
        _dense(found.vectors, ours.vocabulary_size), wanted, rtol=1e-5, atol=1e-5
    )
    assert found.cut.tolist() == [False] * 5 + [True]
    found, wanted = ours.encode_query(TEXTS), theirs.encode_query(TEXTS).to_dense().numpy()
    if kind == "inference-free":  # sentence-transformers weighs [UNK], and cuts long queries
        wanted[:, :5] = 0.0
        found_dense = _dense(found.vectors, ours.vocabulary_size)
        np.testing.assert_array_equal(found_dense[:5], wanted[:5])
    else:
        np.testing.assert_allclose(
            _dense(found.vectors, ours.vocabulary_size), wanted, rtol=1e-5, atol=1e-5
        )


@given(texts=st.lists(st.text("abc fish.", max_size=30), min_size=1, max_size=6))
@settings(deadline=None, max_examples=20)
def test_a_texts_vector_does_not_depend_on_its_neighbours(folders, texts):
    encoder = load_sparse_encoder(str(folders["splade"]), precision="float32")
    together = _dense(encoder.encode_document(texts).vectors, encoder.vocabulary_size)
    alone = [
        _dense(encoder.encode_document([text]).vectors, encoder.vocabulary_size) for text in texts
    ]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-5)


def test_vectors_are_rows_of_ascending_terms_with_weights_above_0(folders):
    for folder in folders.values():
        encoder = load_sparse_encoder(str(folder))
        for encoded in (encoder.encode_document(TEXTS), encoder.encode_query(TEXTS)):
            vectors = encoded.vectors
            assert vectors.starts.dtype == vectors.terms.dtype == np.int64
            assert vectors.weights.dtype == np.float32
            assert len(vectors) == len(TEXTS)
            assert (vectors.weights > 0).all()
            assert np.isfinite(vectors.weights).all()
            for row in range(len(TEXTS)):
                own = vectors.terms[vectors.starts[row] : vectors.starts[row + 1]]
                assert (np.diff(own) > 0).all()


def test_words_are_the_distinct_tokens_as_far_as_the_text_was_read(folders):
    encoder = load_sparse_encoder(str(folders["inference-free"]))
    encoded = encoder.encode_document(TEXTS)
    rows = [
        [encoder.tokens[term] for term in encoded.words.terms[first:end]]
        for first, end in zip(encoded.words.starts, encoded.words.starts[1:], strict=False)
    ]
    assert rows[0] == ["cormorant", "dives", "deep", "the"]
    assert rows[2] == []
    assert rows[4] == ["the"]
    assert len(rows[5]) == 26
    long = encoder.encode_document(["fish " * 60 + "query"])
    assert long.cut.tolist() == [True]
    assert [encoder.tokens[term] for term in long.words.terms] == ["fish"]


def test_no_texts_are_no_rows(folders):
    for folder in folders.values():
        encoder = load_sparse_encoder(str(folder))
        assert len(encoder.encode_document([]).vectors) == 0
        assert len(encoder.encode_query([]).vectors) == 0


def test_an_inference_free_encoder_never_loads_its_model_for_a_query(folders, monkeypatch):
    encoder = _fresh(folders["inference-free"])
    monkeypatch.setattr(encoder, "_load", lambda: pytest.fail("the model was loaded"))
    encoded = encoder.encode_query(["the cormorant dives", "unknown Ж"])
    names = [encoder.tokens[term] for term in encoded.vectors.terms]
    assert names[:3] == ["cormorant", "dives", "the"]
    table = np.linspace(0.1, 3.0, len(vocabulary()), dtype=np.float32)
    np.testing.assert_allclose(encoded.vectors.weights, table[encoded.vectors.terms], rtol=1e-6)
    encoder.query_tokens(["the deep"])
    assert encoder.model_loaded is False


NEVER_LOADS = """
import sys
from cormorant.indexers.encoders.sparse import load_sparse_encoder
encoder = load_sparse_encoder(sys.argv[1])
found = encoder.encode_query(["the cormorant dives"])
assert len(found.vectors.terms) == 3, found
heavy = {"torch", "transformers", "sentence_transformers"} & set(sys.modules)
assert not heavy, heavy
print(encoder.model_loaded)
"""


def test_inference_free_never_loads_torch_in_a_process_that_only_asks(folders):
    done = subprocess.run(
        [sys.executable, "-c", NEVER_LOADS, str(folders["inference-free"])],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False"


def test_opensearchs_layout_has_its_table_in_json(tmp_path):
    folder = make_masked_model(tmp_path / "model")
    (folder / "idf.json").write_text(json.dumps({"fish": 4.5, "deep": 2.0, "the": -1.0}))
    encoder = load_sparse_encoder(str(folder))
    assert encoder.inference_free
    vectors = encoder.encode_query(["the deep fish query"]).vectors
    weights = {
        encoder.tokens[term]: float(weight)
        for term, weight in zip(vectors.terms, vectors.weights, strict=True)
    }
    assert weights == {"deep": 2.0, "fish": 4.5}


def test_identity_follows_contents_not_place(folders, tmp_path):
    folder = folders["inference-free"]
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    first = load_sparse_encoder(str(folder)).identity
    assert load_sparse_encoder(str(copy)).identity == first
    assert load_sparse_encoder(str(folders["splade"])).identity != first
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    pooling = other / "document_1_SpladePooling" / "config.json"
    pooling.write_text(pooling.read_text().replace("log1p_relu", "relu"))
    assert load_sparse_encoder(str(other)).identity != first


def _broken(folder: Path, to: Path, change) -> str:
    shutil.copytree(folder, to)
    change(to)
    return str(to)


def test_files_that_could_run_code_are_refused(folders, tmp_path):
    def only_pickle(folder: Path) -> None:
        weights = folder / "model.safetensors"
        weights.rename(weights.with_name("pytorch_model.bin"))

    with pytest.raises(InputError, match="can run code"):
        load_sparse_encoder(_broken(folders["splade"], tmp_path / "a", only_pickle))

    def foreign(folder: Path) -> None:
        file = folder / "modules.json"
        file.write_text(file.read_text().replace("sentence_transformers.", "evil."))

    with pytest.raises(InputError, match="evil"):
        load_sparse_encoder(_broken(folders["splade"], tmp_path / "b", foreign))

    def outside(folder: Path) -> None:
        file = folder / "router_config.json"
        name = "document_0_Transformer"
        file.write_text(file.read_text().replace(name, "../" + name))

    with pytest.raises(InputError, match="outside the folder"):
        load_sparse_encoder(_broken(folders["inference-free"], tmp_path / "c", outside))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"nonsense-token": 1.0}, "no token here"),
        ({"fish": "much"}, "no token here"),
        ({"fish": float("inf")}, "not finite"),
        ([1.0], "object of tokens"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(tmp_path, values, message):
    folder = make_masked_model(tmp_path / "model")
    (folder / "idf.json").write_text(json.dumps(values))
    with pytest.raises(InputError, match=message):
        load_sparse_encoder(str(folder))


def test_a_table_of_another_vocabulary_is_refused(folders, tmp_path):
    from safetensors.numpy import save_file

    def shorter(folder: Path) -> None:
        weights = folder / "query_0_SparseStaticEmbedding" / "model.safetensors"
        save_file({"weight": np.ones(5, np.float32)}, weights)

    with pytest.raises(InputError, match="5 weights"):
        load_sparse_encoder(_broken(folders["inference-free"], tmp_path / "a", shorter))


def test_a_backbone_without_a_head_is_refused_when_it_must_encode(folders, tmp_path):
    from safetensors.numpy import load_file, save_file

    def headless(folder: Path) -> None:
        file = folder / "model.safetensors"
        kept = {name: value for name, value in load_file(file).items() if "cls." not in name}
        save_file(kept, file, {"format": "pt"})

    encoder = load_sparse_encoder(_broken(folders["splade"], tmp_path / "a", headless))
    with pytest.raises(InputError, match="vocabulary head"):
        encoder.encode_document(["fish"])


def test_states_that_are_not_finite_name_the_model(folders, monkeypatch):
    encoder = _fresh(folders["splade"])
    encoder.encode_document(["fish"])
    headless = encoder._engine._headless
    true = headless.hidden
    monkeypatch.setattr(headless, "hidden", lambda ids, mask: true(ids, mask) * float("nan"))
    with pytest.raises(CormorantError, match=r"the model sparse-.*not finite.*precision"):
        encoder.encode_document(["fish"])


@pytest.mark.parametrize("name", ["", "/no/such/folder", "a/b/c", "../x"])
def test_names_that_are_neither_folder_nor_hub(name):
    with pytest.raises(InputError):
        load_sparse_encoder(name)


def test_a_model_that_is_nowhere_says_where_it_was_sought(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelNotFoundError, match="hub's cache"):
        load_sparse_encoder("nobody/has-this-sparse-model")


@pytest.mark.parametrize("texts", ["one text", [3], ["\ud800"]])
def test_what_is_not_text_is_refused(folders, texts):
    encoder = load_sparse_encoder(str(folders["inference-free"]))
    for encode in (encoder.encode_query, encoder.encode_document, encoder.query_tokens):
        with pytest.raises(InputError):
            encode(texts)


def _fresh(folder: Path) -> SparseEncoder:
    from cormorant.indexers.encoders import sparse

    return sparse._open(sparse.find_sparse_model(str(folder)), None, "auto")
