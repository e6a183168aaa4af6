"""Tiny models of random weights to decode with, and drafters that mean no good."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from cormorant.retrieval.answering.decoding.engine import Decoder
from cormorant.retrieval.answering.decoding.policy import Always, Step, Unread
from cormorant.retrieval.answering.decoding.types import Budget, Draft, Prompt, Tools

VOCABULARY = 48
PAD, END = 0, 1
ENDS = (END, 17, 29, 40)
"""All end tokens of the models: random weights come upon one in some texts."""

SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 256, "initializer_range": 0.4,
    "pad_token_id": PAD, "eos_token_id": END, "bos_token_id": 2,
}  # fmt: skip

FULL, SLIDING = "full_attention", "sliding_attention"
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "qwen3": ("Qwen3", {}),
    "qwen3-mixed": (
        "Qwen3", {"use_sliding_window": True, "sliding_window": 6, "layer_types": [FULL, SLIDING]}
    ),
    "gemma3": ("Gemma3", {"sliding_window": 6, "layer_types": [SLIDING, FULL]}),
    "mistral": ("Mistral", {"sliding_window": 6}),
}  # fmt: skip


@lru_cache
def model(name: str, attention: str = "sdpa", precision: str = "float32") -> Any:
    """A causal model of two layers whose logits are far enough apart."""
    import torch
    import transformers

    kind, more = ARCHITECTURES[name]
    text = "Text" if kind == "Gemma3" else ""
    config = getattr(transformers, f"{kind}{text}Config")(**SIZES | more)
    config._attn_implementation = attention
    torch.manual_seed(5)
    made = getattr(transformers, f"{kind}ForCausalLM")(config)
    made.generation_config.eos_token_id = list(ENDS)
    made.generation_config.pad_token_id = PAD
    return made.to(getattr(torch, precision)).eval()


@lru_cache
def tokenizer() -> Any:
    """A word for each token: w2, w3, ..."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": PAD, "<end>": END} | {f"w{place}": place for place in range(2, VOCABULARY)}
    made = Tokenizer(models.WordLevel(words, unk_token="w2"))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="<end>")


class Moody:
    """Rests, drafts and verifies by lot: what the clock decides, for tests that are the same."""

    off = False

    def __init__(self, seed: int) -> None:
        self.draw = np.random.default_rng(seed)

    @property
    def rests(self) -> bool:
        return bool(self.draw.random() < 0.4)

    def begin(self, seconds: float) -> None: ...

    def budget(self, rates: Sequence[float], unread: Unread) -> Budget:
        nodes = int(self.draw.choice([0, 1, 3, 8, 40]))
        return Budget(nodes, int(self.draw.integers(1, 9)) if nodes else 0)

    def cut(self, drafts: Sequence[Draft]) -> int:
        return int(self.draw.integers(0, 41))

    def learn(self, step: Step) -> None: ...


def decoder(name: str, size: Budget | Moody | None = None, **more: str) -> Decoder:
    """A decoder that drafts: always within the same budget where one is given, or as it likes."""
    sizing = None if size is None else lambda: size if isinstance(size, Moody) else Always(size)
    made = Decoder(model(name, **more), tokenizer(), sizing=sizing)
    assert made.undrafted is None
    return made


def prompts(count: int, seed: int = 0) -> list[Prompt]:
    """Ragged prompts of 1 to 40 tokens, some with a shared beginning, some with an end token."""
    draw = np.random.default_rng(seed)
    made = [draw.integers(2, VOCABULARY, int(length)) for length in draw.integers(1, 40, count)]
    if count > 3:
        made[1] = np.concatenate([made[1], [END], made[0]])
    return [Prompt(tokens.astype(np.int64)) for tokens in made]


Propose = Callable[[list[int], Budget], Draft]


@dataclass(frozen=True)
class Scripted:
    """Drafts what a function of the tokens so far (the prompt's included) and the budget says."""

    kind: ClassVar[str] = "scripted"
    script: Propose

    def begin(self, prompt: Prompt, tools: Tools) -> ScriptedState:
        return ScriptedState(self.script, prompt.tokens.tolist())


class ScriptedState:
    wants_logits = False

    def __init__(self, script: Propose, tokens: list[int]) -> None:
        self.script = script
        self.tokens = tokens

    def propose(self, budget: Budget) -> Draft:
        return self.script(self.tokens, budget)

    def commit(self, tokens: Sequence[int], logits: Any) -> None:
        assert logits is None
        self.tokens = [*self.tokens, *tokens]


def tree(tokens: Sequence[int], parents: Sequence[int], laws: Any = None) -> Draft:
    return Draft(
        np.array(tokens, np.int64),
        np.array(parents, np.int64),
        ("scripted",) * len(tokens),
        (None,) * len(tokens),
        laws,
    )


def chain(tokens: Sequence[int]) -> Draft:
    return tree(tokens, range(-1, len(tokens) - 1))


def knowing(answers: dict[tuple[int, ...], Sequence[int]], script: Any) -> Scripted:
    """A drafter that knows each prompt's answer: ``script(the answer's rest, budget)``."""

    def propose(tokens: list[int], budget: Budget) -> Draft:
        for prompt, answer in answers.items():
            if tuple(tokens[: len(prompt)]) == prompt:
                known = [*prompt, *answer]
                if tokens == known[: len(tokens)]:
                    return script(known[len(tokens) :], budget)
        return Draft.empty()

    return Scripted(propose)
