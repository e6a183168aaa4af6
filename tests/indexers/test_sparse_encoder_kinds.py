"""Causal models that read a text twice, and vocabulary-space encoders."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_sparse import make_causal_model, make_masked_model

from cormorant.errors import InputError
from cormorant.indexers.encoders.sparse_echo import load_echo_encoder
from cormorant.indexers.encoders.sparse_vocabulary import load_vocabulary_encoder
from cormorant.vectors import SparseVectors

TEXTS = ["the cormorant dives deep", "fish", "", "search query passage the deep abcd"]


def _dense(vectors: SparseVectors, size: int) -> np.ndarray:
    dense = np.zeros((len(vectors), size), np.float32)
    rows = np.repeat(np.arange(len(vectors)), np.diff(vectors.starts))
    dense[rows, vectors.terms] = vectors.weights
    return dense


@pytest.fixture(scope="module")
def causal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_causal_model(tmp_path_factory.mktemp("causal") / "model")


def _echoed(model: torch.nn.Module, ids: list[int], begin: int) -> np.ndarray:
    """By the book: logits of the second copy, max, relu, log1p."""
    if not ids:
        return np.zeros(model.config.vocab_size, np.float32)
    with torch.no_grad():
        logits = model(torch.tensor([[begin, *ids, *ids]])).logits[0, 1 + len(ids) :]
    return logits.amax(0).relu().log1p().numpy()


def test_a_causal_model_pools_the_second_copy_only(causal):
    import transformers

    encoder = load_echo_encoder(causal, precision="float32")
    model = transformers.AutoModelForCausalLM.from_pretrained(causal, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    found = _dense(encoder.encode_document(TEXTS).vectors, encoder.vocabulary_size)
    for text, own in zip(TEXTS, found, strict=True):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        np.testing.assert_allclose(own, _echoed(model, ids, 2), rtol=1e-4, atol=1e-5)
    assert not encoder.inference_free
    np.testing.assert_array_equal(
        found, _dense(encoder.encode_query(TEXTS).vectors, encoder.vocabulary_size)
    )


def test_the_first_word_of_a_causal_models_text_knows_the_last(causal):
    """What the echo is for: with one copy, 'fish' alone would decide its own weights."""
    encoder = load_echo_encoder(causal, precision="float32")
    pair = encoder.encode_document(["fish the deep", "fish a query"]).vectors
    first, second = pair[0:1], pair[1:2]
    assert not np.array_equal(first.terms, second.terms) or not np.allclose(
        first.weights, second.weights
    )


def test_half_the_window_is_left_for_each_copy(causal):
    encoder = load_echo_encoder(causal)
    assert encoder.max_tokens == 31
    assert encoder.encode_document(["fish " * 40, "fish " * 31]).cut.tolist() == [True, False]
    with pytest.raises(InputError, match="from 1 to 31"):
        load_echo_encoder(causal, max_tokens=32)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft's own, while the test makes an adapter
def test_a_lora_adapter_changes_vectors_and_identity(causal, tmp_path):
    peft = pytest.importorskip("peft", reason="adapters need the extra 'train'")
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(causal, dtype=torch.float32)
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["c_attn"], fan_in_fan_out=True)
    adapted = peft.get_peft_model(model, settings)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                torch.nn.init.normal_(parameter, std=0.3)
    adapted.save_pretrained(tmp_path / "adapter")
    plain, tuned = load_echo_encoder(causal), load_echo_encoder(causal, tmp_path / "adapter")
    assert plain.identity != tuned.identity
    size = plain.vocabulary_size
    tuned = load_echo_encoder(causal, tmp_path / "adapter", precision="float32")
    found = _dense(tuned.encode_document(TEXTS[:1]).vectors, size)[0]
    merged = adapted.merge_and_unload().eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    ids = tokenizer(TEXTS[0], add_special_tokens=False)["input_ids"]
    np.testing.assert_allclose(found, _echoed(merged, ids, 2), rtol=1e-4, atol=1e-5)
    before = _dense(plain.encode_document(TEXTS[:1]).vectors, size)[0]
    assert not np.allclose(found, before, atol=1e-2)


def test_adapters_that_are_pickles_are_refused(causal, tmp_path):
    (tmp_path / "adapter_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="adapter_model.safetensors"):
        load_echo_encoder(causal, tmp_path)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_masked_model(tmp_path_factory.mktemp("vdr") / "model")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_vocabulary_vectors_by_the_book(backbone):
    import transformers

    encoder = load_vocabulary_encoder(backbone, top=6, first_term=10, precision="float32")
    model = transformers.AutoModel.from_pretrained(backbone, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(backbone)
    embeddings = model.get_input_embeddings().weight.detach()
    found = _dense(encoder.encode_document(TEXTS).vectors, encoder.vocabulary_size)
    for text, own in zip(TEXTS, found, strict=True):
        batch = tokenizer(text, return_tensors="pt")
        with torch.no_grad():
            states = model(**batch).last_hidden_state[0]
        normed = torch.nn.functional.layer_norm(states, (32,))
        wanted = (torch.nn.functional.elu(normed @ embeddings.T) + 1).amax(0)
        wanted[:10] = 0.0
        kept = torch.zeros_like(wanted, dtype=torch.bool)
        kept[wanted.topk(6).indices] = True
        kept[batch["input_ids"][0]] = True
        kept[:10] = False
        np.testing.assert_allclose(own, torch.where(kept, wanted, 0.0), rtol=1e-4, atol=1e-4)


def test_bags_of_tokens_never_load_the_model(backbone, monkeypatch):
    encoder = load_vocabulary_encoder(backbone)
    monkeypatch.setattr(encoder, "_load", lambda: pytest.fail("the model was loaded"))
    bags = encoder.bags_of_tokens(["the deep the", ""]).vectors
    assert [encoder.tokens[term] for term in bags.terms] == ["deep", "the"]
    assert bags.weights.tolist() == [1.0, 1.0]
    assert bags.starts.tolist() == [0, 2, 2]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["echo", "vocabulary"])
def test_weights_that_are_missing_are_no_random_numbers(kind, causal, backbone, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "model"
    shutil.copytree(causal if kind == "echo" else backbone, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in sorted(weights) if "wte" not in name and "embed" not in name)
    del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    encoder = {"echo": load_echo_encoder, "vocabulary": load_vocabulary_encoder}[kind](folder)
    with pytest.raises(InputError, match="they would be random numbers"):
        encoder.encode_document(["fish"])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("cap", [None, 2.0])
def test_a_causal_model_that_caps_its_logits_is_refused(cap, causal, tmp_path):
    import transformers

    config = transformers.Gemma2Config(
        vocab_size=77, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, head_dim=16, intermediate_size=32, max_position_embeddings=64,
        final_logit_softcapping=cap, bos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    tokenizer = transformers.AutoTokenizer.from_pretrained(causal)
    config.vocab_size = len(tokenizer)
    transformers.Gemma2ForCausalLM(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    encoder = load_echo_encoder(tmp_path, precision="float32")
    if cap is None:
        assert len(encoder.encode_document(["fish"]).vectors.terms)
    else:
        with pytest.raises(InputError, match="a cap or a scale"):
            encoder.encode_document(["fish"])


@pytest.mark.parametrize("load", [load_echo_encoder, load_vocabulary_encoder])
def test_pickled_weights_are_refused(load, tmp_path):
    (tmp_path / "config.json").write_text('{"vocab_size": 4, "model_type": "bert"}')
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match="safetensors"):
        load(tmp_path)
