"""Token encoders: hidden states of any encoder, and late-interaction models, beside peers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_late_models import PYLATE, make_late, make_pylate, make_stanford
from tiny_models import make_model

import cormorant as cm
from cormorant.errors import ModelNotFoundError
from cormorant.indexers.encoders import hub
from cormorant.indexers.encoders.pieces import pieces_of
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


def same_as_its_peer(folder: Path) -> None:
    """Beside sentence-transformers' MultiVectorEncoder."""
    from sentence_transformers import MultiVectorEncoder

    encoder = load_token_encoder(str(folder), precision="float32")
    peer = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    assert encoder.dim == 8
    for own, theirs in (
        (encoder.encode_query(TEXTS), peer.encode_query(TEXTS, convert_to_numpy=True)),
        (encoder.encode_document(TEXTS), peer.encode_document(TEXTS, convert_to_numpy=True)),
    ):
        for mine, wanted in zip(parts(own.vectors), theirs, strict=True):
            assert mine.shape == wanted.shape
            np.testing.assert_allclose(mine, wanted, atol=1e-5)
    assert np.diff(encoder.encode_query(TEXTS).vectors.starts).tolist() == [12] * len(TEXTS)
    lengths = np.diff(encoder.encode_document(["fish", "fish .", "fish " * 40]).vectors.starts)
    assert lengths[0] == lengths[1] < lengths[2] == 20, "skipped, and cut to the window"


HOMES = ["pylate.models.Dense.Dense", "sentence_transformers.models.Dense"]


@pytest.mark.parametrize("home", HOMES)
@pytest.mark.parametrize("named", [True, False], ids=["ColBERT", "unnamed"])
def test_a_model_of_pylates_is_late_whether_or_not_it_says_so(
    late: Path, tmp_path: Path, home: str, named: bool
) -> None:
    said = {**PYLATE, "model_type": "ColBERT"} if named else PYLATE
    same_as_its_peer(make_pylate(tmp_path / "pylate", late, home=home, said=said))


def test_one_key_of_pylates_is_enough_and_prompts_are_not(late: Path, tmp_path: Path) -> None:
    for number, key in enumerate(["query_prefix", "query_length", "skiplist_words"]):
        folder = tmp_path / str(number)
        make_pylate(folder, late, home=HOMES[1], said={key: PYLATE[key]})
        assert read_token_files(folder, "folder").late
    for number, said in enumerate([
        {"prompts": {"query": "query : "}, "default_prompt_name": None},
        {"prompts": {}, "similarity_fn_name": "cosine", "truncate_dim": 4},
        {**PYLATE, "model_type": "SentenceTransformer"},
    ]):  # fmt: skip
        folder = make_pylate(tmp_path / f"plain{number}", late, home=HOMES[1], said=said)
        assert not read_token_files(folder, "folder").late
    folder = make_pylate(tmp_path / "module", late, home=HOMES[0], said={})
    assert read_token_files(folder, "folder").late


def test_a_plain_encoder_with_prompts_is_not_late(tmp_path: Path) -> None:
    folder = make_model(tmp_path, prompts={"query": "query : ", "document": "passage : "})
    assert not read_token_files(folder, "folder").late


def test_a_projection_of_random_numbers_is_refused(late: Path, tmp_path: Path) -> None:
    folder = make_pylate(tmp_path / "pylate", late, home=HOMES[0], said=PYLATE)
    modules = folder / "modules.json"
    modules.write_text(json.dumps(json.loads(modules.read_text())[:1]))
    with pytest.raises(cm.InputError, match="without a Dense module"):
        read_token_files(folder, "folder")


def test_a_model_of_stanfords(bert: Path, tmp_path: Path) -> None:
    same_as_its_peer(make_stanford(tmp_path / "stanford", bert))


@pytest.mark.parametrize("layout", ["bert", "roberta", "late", "pylate", "stanford"])
def test_all_that_a_layout_needs_is_downloaded(
    layout: str, bert: Path, late: Path, tmp_path: Path
) -> None:
    """A folder of only the files that the hub would be asked for loads, to the same model."""
    from huggingface_hub.utils import filter_repo_objects

    made = {
        "bert": lambda: bert,
        "roberta": lambda: make_model(tmp_path / "made", "roberta"),
        "late": lambda: late,
        "pylate": lambda: make_pylate(tmp_path / "made", late, home=HOMES[0], said=PYLATE),
        "stanford": lambda: make_stanford(tmp_path / "made", bert),
    }
    folder = made[layout]()
    names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
    copy = tmp_path / "downloaded"
    for name in filter_repo_objects(names, allow_patterns=hub.PATTERNS):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, copy / name)
    encoder, downloaded = (load_token_encoder(str(place)) for place in (folder, copy))
    assert downloaded.identity == encoder.identity
    np.testing.assert_array_equal(
        downloaded.encode_document(TEXTS).vectors.vectors,
        encoder.encode_document(TEXTS).vectors.vectors,
    )


@pytest.mark.parametrize("layout", ["roberta", "late"])
def test_knowing_what_was_cut_copies_no_tokenizer(
    layout: str, late: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was written out as JSON and read back for every call."""
    import tokenizers

    folder = late if layout == "late" else make_model(tmp_path, "roberta")
    encoder = load_token_encoder(str(folder), precision="float32")
    monkeypatch.setattr(tokenizers, "Tokenizer", None)
    texts = ["fish", "fish " * 60, ""]
    assert encoder.encode_document(texts).cut.tolist() == [False, True, False]
    assert encoder.encode_query(texts).cut.tolist() == [False, True, False]
    assert encoder.encode_query([]).cut.tolist() == []


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_pieces_say_what_each_vector_of_hidden_states_stands_for(kind: str, tmp_path: Path) -> None:
    folder = make_model(tmp_path, kind, prompts={"query": "query : "})
    encoder = load_token_encoder(str(folder), precision="float32")
    for text in [*TEXTS, "  Fish dives,\n\tthe 12 我  "]:
        pieces = encoder.document_pieces(text)
        assert len(pieces) == len(encoder.encode_document([text]).vectors.vectors)
        for piece in pieces:
            assert piece.span is not None
            assert piece.text == text[slice(*piece.span)]
            assert piece.text.strip() == piece.text != ""
        assert len(encoder.query_pieces(text)) == len(encoder.encode_query([text]).vectors.vectors)
    pieces = encoder.query_pieces("Fish dives")
    assert [piece for piece in pieces if piece.span] == [("Fish", (0, 4)), ("dives", (5, 10))]
    assert [piece.text for piece in pieces if not piece.span] == ["query", ":"]


def test_pieces_of_a_late_model_leave_out_its_skip_list(late: Path) -> None:
    encoder = load_token_encoder(str(late), precision="float32")
    for text in [*TEXTS, " the Fish . the search", "fish " * 30]:
        for pieces, encoded in (
            (encoder.document_pieces(text), encoder.encode_document([text])),
            (encoder.query_pieces(text), encoder.encode_query([text])),
        ):
            assert len(pieces) == len(encoded.vectors.vectors)
            assert all(p.text == text[slice(*p.span)] for p in pieces if p.span is not None)
    pieces = encoder.document_pieces("the Fish . the search")
    assert [piece for piece in pieces if piece.span] == [("Fish", (4, 8)), ("search", (15, 21))]
    assert [piece.text for piece in pieces] == ["[CLS]", "passage", ":", "Fish", "search", "[SEP]"]
    pieces = encoder.query_pieces("the fish")
    assert [piece.text for piece in pieces[3:5]] == ["the", "fish"], "skipped in passages only"
    assert {piece.text for piece in pieces[6:]} == {"[MASK]"}
    assert len(pieces) == 12


def test_blanks_in_a_token_are_none_of_its_characters() -> None:
    """As byte-level tokenizers make them, that trim no offsets."""
    offsets = [(0, 4), (4, 11), (11, 12), (12, 16), (16, 22)]
    names = ["Deep", "\u0120Search", "\u010a", "fish", "\u0120dives"]
    found = pieces_of(names, offsets, np.ones(5, np.bool_), "", "Deep Search\nfish dives")
    assert [piece.span for piece in found] == [(0, 4), (5, 11), None, (12, 16), (17, 22)]
    assert [piece.text for piece in found] == ["Deep", "Search", "\u010a", "fish", "dives"]
    joined = pieces_of(["\u2581fish"], [(11, 16)], np.ones(1, np.bool_), "", "Deep Search\nfish")
    assert joined[0].span == (12, 16)
