"""Which architectures are drafted for, and that the others are decoded plainly and named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import pytest
from drafting import ARCHITECTURES, ENDS, FULL, PAD, SIZES, model, prompts, tokenizer, tree
from drafting import Scripted as Script

from cormorant.errors import InputError
from cormorant.retrieval.answering.decoding import attention
from cormorant.retrieval.answering.decoding.engine import Decoder
from cormorant.retrieval.answering.decoding.policy import Always
from cormorant.retrieval.answering.decoding.target import Target
from cormorant.retrieval.answering.decoding.types import Budget, Generation, Sampling

OLD = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
LINEAR = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 2,
    "linear_key_head_dim": 8, "linear_value_head_dim": 8, "head_dim": 8,
    "num_experts": 4, "num_experts_per_tok": 1, "layer_types": ["linear_attention", FULL],
}  # fmt: skip
LONG = {
    "original_max_position_embeddings": 32,
    "rope_parameters": {
        "rope_type": "longrope", "rope_theta": 100.0, "original_max_position_embeddings": 32,
        "factor": 8.0, "short_factor": [1.0] * 4, "long_factor": [4.0] * 4,
    },
}  # fmt: skip


def build(kind: str, name: str, **more: Any) -> Any:
    import torch
    import transformers

    sizes = {key: value for key, value in SIZES.items() if key != "head_dim"}
    config = getattr(transformers, f"{kind}Config")(**sizes | more)
    torch.manual_seed(1)
    made = getattr(transformers, name)(config).eval()
    made.generation_config.eos_token_id = list(ENDS)
    made.generation_config.pad_token_id = PAD
    return made


def same_as_transformers(made: Any, one: Decoder) -> list[Generation]:
    """Compare greedy texts, drafted for if they can be."""
    import torch

    draw = np.random.default_rng(0)
    drafter = Script(lambda _, budget: tree(draw.integers(0, 48, 5).tolist(), [-1, -1, 0, 0, 1]))
    batch = prompts(3, seed=4)
    rows = one.generate(batch, Sampling(max_tokens=10), [drafter])
    for prompt, row in zip(batch, rows, strict=True):
        ids = torch.from_numpy(prompt.tokens)[None]
        mask = torch.ones_like(ids)
        theirs = made.generate(ids, attention_mask=mask, max_new_tokens=10, do_sample=False)
        text = theirs[0, ids.shape[1] :].tolist()
        assert list(row.tokens) == [token for token in text if token not in ENDS]
    return rows


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("GPT2", OLD),  # learned positions
        ("Gemma2", {"head_dim": 8, "sliding_window": 6}),  # capped logits
        ("Phi3", {}),
        ("Starcoder2", {"sliding_window": 6}),
    ],
)
def test_other_architectures_agree_with_transformers(kind: str, more: dict[str, Any]) -> None:
    made = build(kind, "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM", **more)
    one = Decoder(made, tokenizer(), sizing=lambda: Always(Budget(5, 2)))
    assert one.undrafted is None
    for row in same_as_transformers(made, one):
        assert row.statistics.drafted
        assert not row.statistics.switched_off


@pytest.mark.parametrize(
    ("kind", "more", "why"),
    [
        ("Bloom", {"n_layer": 2, "n_head": 4}, "position_ids"),  # biased by distance
        ("Mamba", {"state_size": 4}, "position_ids"),  # recurrent
        ("Qwen3Next", LINEAR, "linear_attention"),  # hybrid
        ("Phi3", LONG, "longrope"),  # the longest of a batch turns the keys of all
    ],
)
def test_what_is_not_drafted_for_is_named_and_decoded(
    kind: str, more: dict[str, Any], why: str
) -> None:
    made = build(kind, f"{kind}ForCausalLM", **more)
    one = Decoder(made, tokenizer())
    assert one.undrafted is not None
    assert re.match(rf"{kind}ForCausalLM.*{why}", one.undrafted)
    for row in same_as_transformers(made, one):
        assert not row.statistics.drafted
        assert row.statistics.switched_off
        assert row.statistics.forwards == row.statistics.plain_forwards


def test_what_is_not_drafted_for_keeps_to_all_else() -> None:
    """Draws, stop strings, cancelling, the stream and likelihoods, as drafted text has them."""
    made = model("llama")
    slotted = Decoder(made, tokenizer())
    own = Decoder(made, tokenizer())
    own._target, own.undrafted = None, "for this test"
    batch = prompts(3, seed=4)
    for stop in ((), ("w3", "w9 w1")):
        sampling = Sampling(temperature=0.8, top_k=9, seed=3, max_tokens=12, stop=stop)
        told: list[tuple[int, int]] = []

        def tell(row: int, new: Sequence[int], told: list[tuple[int, int]] = told) -> None:
            told += [(row, token) for token in new]

        rows = own.generate(batch, sampling, on_tokens=tell)
        for row, other in zip(rows, slotted.generate(batch, sampling), strict=True):
            assert (row.tokens, row.text, row.stopped) == (other.tokens, other.text, other.stopped)
            assert row.log_probability == pytest.approx(other.log_probability, abs=1e-4)
        assert told == [(place, token) for place, row in enumerate(rows) for token in row.tokens]
    texts = [prompt.tokens for prompt in reversed(batch)]
    assert own.log_likelihood(batch, texts) == pytest.approx(
        slotted.log_likelihood(batch, texts), abs=1e-3
    )
    [stopped] = own.generate(batch[:1], Sampling(), cancelled=lambda: True)
    assert stopped.stopped == "cancelled"


def test_what_is_not_drafted_for_ignores_its_generation_configuration_as_the_drafted_do() -> None:
    made = deepcopy(model("llama"))
    drafted = Decoder(made, tokenizer())
    own = Decoder(made, tokenizer())
    own._target, own.undrafted = None, "for this test"
    made.generation_config.repetition_penalty = 5.0
    made.generation_config.min_new_tokens = 9
    made.generation_config.max_time = 0.0
    batch = prompts(3, seed=4)
    rows, others = (one.generate(batch, Sampling(max_tokens=12)) for one in (own, drafted))
    assert [row.tokens for row in rows] == [row.tokens for row in others]
    assert made.generation_config.repetition_penalty == 5.0


def test_an_encoder_and_decoder_is_refused() -> None:
    made = build("T5", "T5ForConditionalGeneration", d_model=32, d_kv=8, d_ff=32, num_layers=1)
    with pytest.raises(InputError, match="T5ForConditionalGeneration"):
        Decoder(made, tokenizer())


def test_an_attention_that_takes_no_mask_is_not_drafted_for() -> None:
    made = build("Llama", "LlamaForCausalLM")
    made.config._attn_implementation = "flash_attention_2"
    assert "flash_attention_2" in str(Decoder(made, tokenizer()).undrafted)


def test_a_model_that_does_something_else_with_its_cache_is_found_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing in its configuration says so: the trial does."""
    made = model("llama")
    forward = Target.forward

    def forgets_the_mask(self: Target, slots: Any, tokens: Any, attends: Any, *more: Any) -> Any:
        return forward(self, slots, tokens, np.ones_like(attends), *more)

    monkeypatch.setattr(Target, "forward", forgets_the_mask)
    assert "something else" in str(Decoder(made, tokenizer()).undrafted)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_drafts_attend_by_the_kernel_where_the_model_computes_by_sdpa(name: str) -> None:
    by_kernel = Decoder(model(name), tokenizer())._target
    by_mask = Decoder(model(name, attention="eager"), tokenizer())._target
    assert by_kernel is not None
    assert by_kernel.by_kernel
    assert by_mask is not None
    assert not by_mask.by_kernel


def test_a_model_that_the_kernel_does_not_serve_gets_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """It attends by sdpa as before, for us and for all others."""
    real = attention.attend

    def capped(*given: Any, tree: Any = None, **more: Any) -> Any:
        return real(*given, tree=tree, softcap=None if tree is None else 30.0, **more)

    made = build("Phi3", "Phi3ForCausalLM")
    monkeypatch.setattr(attention, "attend", capped)
    one = Decoder(made, tokenizer(), sizing=lambda: Always(Budget(5, 2)))
    assert one._target is not None
    assert not one._target.by_kernel
    assert made.config._attn_implementation == "sdpa"
    assert all(row.statistics.drafted for row in same_as_transformers(made, one))
