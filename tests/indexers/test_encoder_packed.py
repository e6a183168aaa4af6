"""The packed engine against its slow twin, sentence-transformers' own encode."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cormorant.errors import CormorantError, InputError
from cormorant.indexers.encoders.encoder import SentenceEncoder, load_encoder
from cormorant.indexers.encoders.models import find_model

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from tiny_models import make_model  # noqa: E402

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
TEXTS = [
    "",
    "A cormorant dives deep.",
    "我 爱 cormorant \U0001f426 a\u0301 \u202e x\u0000y",
    "fish " * 200,
    "the query: search",
    "d",
    *(f"the {'deep ' * n} fish" for n in range(0, 60, 3)),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Tests run side by side; threads that wait for each other's cores take minutes."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)


def reference(path: Path) -> Any:
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(path), device="cpu", local_files_only=True)


def encode_peer(model: Any, role: str, texts: list[str]) -> np.ndarray:
    encode = model.encode_query if role == "query" else model.encode_document
    return np.asarray(encode(texts, show_progress_bar=False), np.float32)


@pytest.fixture(scope="session")
def minilm() -> Path:
    from cormorant.errors import ModelNotFoundError
    from cormorant.indexers.encoders import hub

    patch = pytest.MonkeyPatch()
    patch.setattr(hub, "download", _no_network)
    try:
        return find_model(MINILM).path
    except ModelNotFoundError as error:
        pytest.skip(f"all-MiniLM-L6-v2 is not on this machine: {error}")
    finally:
        patch.undo()


def _no_network(*_: object) -> Path:
    raise LookupError("tests do not ask the hub")


@pytest.mark.parametrize(
    ("settings", "engine"),
    [
        ({}, "packed"),
        ({"pooling": "cls", "normalize": False}, "packed"),
        ({"activation": "relu", "normalize": False}, "packed"),
        ({"prompts": {"query": "query: ", "passage": "passage: "}}, "packed"),
        ({"kind": "roberta"}, "packed"),
        ({"activation": "gelu_new"}, "sentence-transformers"),
        ({"pooling": "max"}, "sentence-transformers"),
        ({"dense": True}, "sentence-transformers"),
        ({"kind": "distilbert"}, "sentence-transformers"),
    ],
    ids=str,
)
def test_every_model_gives_what_sentence_transformers_gives(
    tmp_path: Path, settings: dict[str, Any], engine: str
) -> None:
    path = make_model(tmp_path, **settings)
    encoder = load_encoder(str(path), device="cpu", precision="float32")
    assert encoder.engine == engine
    assert encoder.precision == "float32"
    assert encoder.max_tokens == 48
    peer = reference(path)
    for role, encode in (("query", encoder.encode_query), ("document", encoder.encode_document)):
        encoded = encode(TEXTS)
        assert encoded.vectors.dtype == np.float32
        assert encoded.vectors.shape == (len(TEXTS), encoder.dim)
        expected = encode_peer(peer, role, TEXTS)
        np.testing.assert_allclose(encoded.vectors, expected, rtol=0, atol=5e-6)
        prompt = settings.get("prompts", {}).get("query" if role == "query" else "passage", "")
        lengths = [len(peer.tokenizer(prompt + text)["input_ids"]) for text in TEXTS]
        assert encoded.cut.tolist() == [length > 48 for length in lengths]
    if "prompts" in settings:
        assert not np.allclose(encoder.encode_query(["d"])[0], encoder.encode_document(["d"])[0])


def test_bfloat16_of_every_engine_stays_near_float32(tmp_path: Path) -> None:
    for name, settings in {"packed": {}, "plain": {"dense": True}}.items():
        path = make_model(tmp_path / name, **settings)
        exact = load_encoder(str(path), device="cpu", precision="float32")
        fast = load_encoder(str(path), device="cpu", precision="bfloat16")
        assert fast.identity == exact.identity
        a, b = exact.encode_document(TEXTS).vectors, fast.encode_document(TEXTS).vectors
        assert (a * b).sum(axis=1).min() > 0.999
        np.testing.assert_allclose(np.linalg.norm(b, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_vector_depends_on_neither_neighbours_nor_order(minilm: Path, precision: str) -> None:
    encoder = load_encoder(str(minilm), device="cpu", precision=precision)
    together = encoder.encode_document(TEXTS)
    alone = [encoder.encode_document([text]) for text in TEXTS]
    order = np.random.default_rng(1).permutation(len(TEXTS))
    shuffled = encoder.encode_document([TEXTS[i] for i in order])
    tolerance = 1e-6 if precision == "float32" else 4e-3  # 0 where products are summed in one order
    vectors = np.concatenate([one.vectors for one in alone])
    np.testing.assert_allclose(vectors, together.vectors, rtol=0, atol=tolerance)
    np.testing.assert_allclose(shuffled.vectors, together.vectors[order], rtol=0, atol=tolerance)
    assert (shuffled.cut == together.cut[order]).all()


def test_no_texts_and_wrong_texts(tmp_path: Path) -> None:
    encoder = load_encoder(str(make_model(tmp_path)), device="cpu")
    none = encoder.encode_query([])
    assert none.vectors.shape == (0, 32)
    assert none.cut.shape == (0,)
    with pytest.raises(InputError, match="text 1 holds half of a surrogate pair"):
        encoder.encode_query(["fine", "\ud800"])
    with pytest.raises(InputError, match="text 0 is int"):
        encoder.encode_query([3])  # type: ignore[list-item]
    with pytest.raises(InputError, match="got one text"):
        encoder.encode_query("one")


def test_a_vector_that_is_not_finite_names_its_text() -> None:
    from cormorant.contracts import Encoded

    class Broken:
        name, dim = "packed", 2

        def encode(self, texts: Any, prompt: str) -> Encoded:
            vectors = np.ones((len(texts), 2), np.float32)
            vectors[1:] = np.nan
            return Encoded(vectors, np.zeros(len(texts), np.bool_))

    encoder = SentenceEncoder(
        Broken(), identity="broken", max_tokens=9, source="folder", precision="bfloat16",
        prompts=("", ""),
    )  # fmt: skip
    assert len(encoder.encode_query(["a"]).vectors) == 1
    with pytest.raises(CormorantError, match=r"not finite of text 1, 'b' \(bfloat16\)"):
        encoder.encode_query(["a", "b", "c"])


def test_real_documents_drift_no_more_than_sentence_transformers(
    minilm: Path, shared_data: Path
) -> None:
    lines = (shared_data / "nfcorpus" / "corpus.jsonl").read_text().splitlines()[:400:40]
    texts = [f"{doc['title']} {doc['text']}" for doc in map(json.loads, lines)]
    texts += [text.split(". ")[0] for text in texts]
    peer = reference(minilm)
    expected = encode_peer(peer, "document", texts)
    exact = load_encoder(MINILM, device="cpu", precision="float32").encode_document(texts)
    np.testing.assert_allclose(exact.vectors, expected, rtol=0, atol=2e-6)
    fast = load_encoder(MINILM, device="cpu", precision="bfloat16").encode_document(texts)
    theirs = encode_peer(peer.bfloat16(), "document", texts)
    theirs /= np.linalg.norm(theirs, axis=1, keepdims=True)
    ours_lost = 1 - (fast.vectors * expected).sum(axis=1)
    theirs_lost = 1 - (theirs * expected).sum(axis=1)
    assert ours_lost.max() < 2e-4
    assert ours_lost.mean() <= theirs_lost.mean() * 1.1


def test_a_long_list_is_encoded_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = load_encoder(str(make_model(tmp_path)), device="cpu", precision="float32")
    expected = encoder.encode_query(TEXTS)
    monkeypatch.setattr("cormorant.indexers.encoders.encoder.TEXTS_AT_ONCE", 7)
    got = encoder.encode_query(TEXTS)
    np.testing.assert_allclose(got.vectors, expected.vectors, rtol=0, atol=1e-6)
    assert (got.cut == expected.cut).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_both_ways_of_attention_agree(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from cormorant.indexers.encoders import attention

    lengths = [5, 5, 5, 3, 2, 2, 1]
    generator = torch.Generator().manual_seed(3)
    packed = torch.randn((sum(lengths), 3 * 8), generator=generator).to(getattr(torch, dtype))
    groups = list(attention.groups_of(lengths))
    assert groups == [(0, 3, 5), (15, 1, 3), (18, 2, 2), (22, 1, 1)]
    plain = attention.attend(packed, groups, 2)
    monkeypatch.setattr(attention, "SCORE_ELEMENTS", 60)  # one text at a time
    assert torch.equal(attention.attend(packed, groups, 2), plain)
    monkeypatch.setattr(attention, "FLASH_FROM", {f"torch.{dtype}": 1})
    fused = attention.attend(packed, groups, 2)
    tolerance = 1e-6 if dtype == "float32" else 2e-2
    torch.testing.assert_close(fused, plain, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("shift", [0.0, 70.0, -70.0, 95.0, -95.0, 3e4])
def test_scores_of_any_size_give_the_softmax(shift: float) -> None:
    import torch

    from cormorant.indexers.encoders.attention import Group, attend

    packed = torch.randn((6, 3 * 8), generator=torch.Generator().manual_seed(3)).bfloat16()
    packed[:, 0], packed[:, 8] = shift, 1.0  # every score of the first head, moved by so much
    query, key, value = packed.float().view(6, 3, 2, 4).permute(1, 2, 0, 3)
    scores = (query @ key.transpose(1, 2)).bfloat16().float()  # rounded as there
    expected = torch.softmax(scores, -1) @ value
    got = attend(packed, [Group(0, 1, 6)], 2).float().view(6, 2, 4).transpose(0, 1)
    torch.testing.assert_close(got, expected, rtol=2e-2, atol=2e-2)


def test_threads_share_an_encoder(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    path = str(make_model(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        encoders = list(pool.map(lambda _: load_encoder(path, device="cpu"), range(4)))
        assert all(encoder is encoders[0] for encoder in encoders)
        expected = encoders[0].encode_query(TEXTS).vectors
        for got in pool.map(lambda _: encoders[0].encode_query(TEXTS).vectors, range(12)):
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5)


def test_a_query_leaves_torch_as_many_threads_as_it_found(tmp_path: Path) -> None:
    import torch

    encoder = load_encoder(str(make_model(tmp_path)), device="cpu")
    torch.set_num_threads(2)
    encoder.encode_query(["the fish"])
    assert torch.get_num_threads() == 2
