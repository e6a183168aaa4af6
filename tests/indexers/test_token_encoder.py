"""Token encoders: hidden states of any encoder, and late-interaction models, beside peers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_models import make_model

import cormorant as cm
from cormorant.errors import ModelNotFoundError
from cormorant.indexers.encoders.token_encoder import load_token_encoder
from cormorant.indexers.encoders.token_files import read_token_files
from cormorant.vectors import TokenVectors

pytest.importorskip("sentence_transformers")
TEXTS = ["a cormorant dives deep.", "", "the fish 12, the search", "query passage fish " * 30, "我"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def late(tmp_path_factory: pytest.TempPathFactory, bert: Path) -> Path:
    return make_late(tmp_path_factory.mktemp("late"), bert)


def make_late(
    folder: Path, bert: Path, *, expansion: bool = True, similarity: str = "maxsim"
) -> Path:
    """A late-interaction model as sentence-transformers saves it: marks, skip list, expansion."""
    import torch
    from sentence_transformers import MultiVectorEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask
    from sentence_transformers.sentence_transformer.modules import Normalize

    pad = {"strategy": "fixed", "attend": False, "length": 12}
    transformer = Transformer(
        str(bert), max_seq_length=40, document_length=20, query_expansion=pad if expansion else None
    )
    with torch.random.fork_rng():
        torch.manual_seed(3)
        dense = Dense(
            32, 8, bias=False, activation_function=torch.nn.Identity(),
            module_input_name="token_embeddings",
        )  # fmt: skip
    mask = MultiVectorMask(skiplist_words=["the", "."])
    norm = Normalize(module_input_name="token_embeddings")
    model = MultiVectorEncoder(
        modules=[transformer, dense, mask, norm],
        device="cpu",
        prompts={"query": "query : ", "document": "passage : "},
        similarity_fn_name=similarity,
    )
    model.save_pretrained(str(folder / "model"), create_model_card=False)
    return folder / "model"


def parts(vectors: TokenVectors) -> list[np.ndarray]:
    """Text by text."""
    return np.split(vectors.vectors, vectors.starts[1:-1])


def hidden_states(folder: Path, texts: list[str]) -> list[np.ndarray]:
    """The slow twin: one text at a time, through transformers, special tokens dropped."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu")
    found = []
    for text in texts:
        features = model.preprocess([text])
        ids = features["input_ids"][0]
        with torch.inference_mode():
            states = model[0](dict(features))["token_embeddings"][0].double()
        around = set(model.tokenizer("")["input_ids"])
        kept = [place for place, number in enumerate(ids.tolist()) if number not in around]
        states = states[kept]
        found.append((states / states.norm(dim=1, keepdim=True)).numpy())
    return found


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
def test_hidden_states_are_those_of_transformers(kind: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path, kind)
    encoder = load_token_encoder(str(folder), precision="float32")
    assert encoder.engine == ("packed" if kind == "bert" else "sentence-transformers")
    encoded = encoder.encode_document(TEXTS)
    expected = hidden_states(folder, TEXTS)
    for own, wanted in zip(parts(encoded.vectors), expected, strict=True):
        assert own.shape == wanted.shape
        np.testing.assert_allclose(own, wanted, atol=2e-5)
    assert encoded.cut.tolist() == [False, False, False, True, False]
    assert len(parts(encoded.vectors)[1]) == 0, "a text without tokens has no vector"
    assert len(parts(encoded.vectors)[3]) == encoder.max_tokens - 2


def test_a_text_does_not_depend_on_its_neighbours(bert: Path) -> None:
    encoder = load_token_encoder(str(bert), precision="float32")
    together = parts(encoder.encode_query(TEXTS * 3).vectors)
    for place, text in enumerate(TEXTS):
        alone = encoder.encode_query([text]).vectors.vectors
        np.testing.assert_allclose(alone, together[place], atol=1e-5)
    assert len(encoder.encode_query([]).vectors) == 0


def test_prompts_mark_queries_and_documents_apart(tmp_path: Path) -> None:
    folder = make_model(tmp_path, prompts={"query": "query : ", "document": "passage : "})
    encoder = load_token_encoder(str(folder), precision="float32")
    query, document = encoder.encode_query(["fish"]), encoder.encode_document(["fish"])
    np.testing.assert_allclose(
        query.vectors.vectors, hidden_states(folder, ["query : fish"])[0], atol=2e-5
    )
    assert not np.allclose(query.vectors.vectors, document.vectors.vectors)


@pytest.mark.parametrize("expansion", [True, False])
def test_a_late_model_is_that_of_sentence_transformers(
    bert: Path, tmp_path: Path, expansion: bool
) -> None:
    from sentence_transformers import MultiVectorEncoder

    folder = make_late(tmp_path, bert, expansion=expansion)
    encoder = load_token_encoder(str(folder), precision="float32")
    peer = MultiVectorEncoder(str(folder), device="cpu")
    assert encoder.dim == 8
    for own, theirs in (
        (encoder.encode_query(TEXTS), peer.encode_query(TEXTS, convert_to_numpy=True)),
        (encoder.encode_document(TEXTS), peer.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        for mine, wanted in zip(parts(own.vectors), theirs, strict=True):
            assert mine.shape == wanted.shape
            np.testing.assert_allclose(mine, wanted, atol=1e-5)
    if expansion:
        assert np.diff(encoder.encode_query(TEXTS).vectors.starts).tolist() == [12] * len(TEXTS)


def test_the_skip_list_leaves_holes_that_are_closed(late: Path) -> None:
    encoder = load_token_encoder(str(late), precision="float32")
    lengths = np.diff(
        encoder.encode_document(["fish fish", "fish the fish .", "the . the"]).vectors.starts
    )
    assert lengths[0] == lengths[1] == lengths[2] + 2


def test_a_mean_of_maxsims_is_scaled_queries(bert: Path, tmp_path: Path) -> None:
    folder = make_late(tmp_path, bert, expansion=False, similarity="meanmaxsim")
    encoder = load_token_encoder(str(folder), precision="float32")
    vectors = encoder.encode_query(["a fish dives deep"]).vectors.vectors
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1 / len(vectors), rtol=1e-5)


def test_cut_texts_are_known(late: Path) -> None:
    encoder = load_token_encoder(str(late), precision="float32")
    texts = ["fish", "fish " * 30]
    assert encoder.encode_document(texts).cut.tolist() == [False, True]
    assert encoder.encode_query(texts).cut.tolist() == [False, True]


def test_identity_names_what_decides_a_vector(bert: Path, late: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(late, copy)
    assert load_token_encoder(str(copy)).identity == load_token_encoder(str(late)).identity
    config = copy / "sentence_bert_config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "document_length": 19}))
    changed = tmp_path / "changed"
    shutil.copytree(copy, changed)
    identities = {load_token_encoder(str(folder)).identity for folder in (bert, late, changed)}
    assert len(identities) == 3
    assert load_token_encoder(str(bert)).identity.endswith("-tokens")


def test_a_token_that_is_not_finite_is_refused(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = load_token_encoder(str(bert), precision="float32")
    made = encoder.encode_query(["fish", "deep fish"])
    made.vectors.vectors[2, 0] = np.nan
    monkeypatch.setattr(encoder, "_ready", encoder._ready._replace(encode_query=lambda _: made))
    with pytest.raises(cm.CormorantError, match="not finite of text 1, 'deep fish'"):
        encoder.encode_query(["fish", "deep fish"])


def test_vectors_come_from_the_cache(
    bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = load_token_encoder(str(bert)).encode_document(TEXTS)
    monkeypatch.setenv("CORMORANT_ENCODING_CACHE", str(tmp_path / "cache"))
    encoder = load_token_encoder(str(bert))
    first = encoder.encode_document([*TEXTS, *TEXTS])
    monkeypatch.setattr(encoder, "_ready", encoder._ready._replace(encode_document=_never))
    again = encoder.encode_document(TEXTS)
    np.testing.assert_array_equal(again.vectors.vectors, expected.vectors.vectors)
    np.testing.assert_array_equal(again.vectors.starts, expected.vectors.starts)
    np.testing.assert_array_equal(again.cut, expected.cut)
    assert len(first.vectors) == 2 * len(TEXTS)
    with pytest.raises(AssertionError, match="encoded"):
        encoder.encode_document(["another fish"])


def _never(texts: Any) -> Any:
    raise AssertionError("encoded")


@pytest.mark.parametrize("texts", ["one text", [1], ["\ud800"]])
def test_what_is_no_list_of_texts(bert: Path, texts: Any) -> None:
    with pytest.raises(cm.InputError):
        load_token_encoder(str(bert)).encode_query(texts)


def test_models_that_are_not_loaded(late: Path, tmp_path: Path) -> None:
    with pytest.raises(cm.InputError, match="neither modules.json nor config.json"):
        load_token_encoder(str(tmp_path))
    with pytest.raises(cm.InputError, match="no name on the hub"):
        load_token_encoder("../x/y")
    with pytest.raises(ModelNotFoundError):
        load_token_encoder("nobody/nothing-of-that-name")
    foreign = tmp_path / "foreign"
    shutil.copytree(late, foreign)
    modules = foreign / "modules.json"
    entries = json.loads(modules.read_text())
    modules.write_text(json.dumps([entries[0], {**entries[1], "type": "evil.module.Code"}]))
    with pytest.raises(cm.InputError, match=r"evil\.module\.Code"):
        read_token_files(foreign, "folder")
    modules.write_text(json.dumps([entries[0], {**entries[1], "path": "../../x"}]))
    with pytest.raises(cm.InputError, match="outside the folder"):
        read_token_files(foreign, "folder")
    modules.write_text(json.dumps(entries))
    for weights in foreign.rglob("model.safetensors"):
        weights.unlink()
    with pytest.raises(cm.InputError, match="can run code"):
        read_token_files(foreign, "folder")


def test_a_colbert_model_of_stanfords_needs_its_marks(bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "colbert"
    shutil.copytree(bert, folder)
    (folder / "modules.json").unlink()
    config = folder / "config.json"
    said = json.loads(config.read_text())
    config.write_text(json.dumps({**said, "architectures": ["HF_ColBERT"]}))
    with pytest.raises(cm.InputError, match=r"without its artifact\.metadata"):
        read_token_files(folder, "folder")
    config.write_text(json.dumps(said))
    assert not read_token_files(folder, "folder").late
