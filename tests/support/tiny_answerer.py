"""A tiny Llama with a byte-level tokenizer of its own, random or taught a few answers by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

TEMPLATE = (
    "{% for message in messages %}<|user|>{{ message['content'] }}<|end|>{% endfor %}<|assistant|>"
)


def build(
    folder: Path,
    texts: Sequence[str],
    *,
    taught: Mapping[str, str] | None = None,
    context: int = 2048,
    chat: bool = False,
    steps: int = 150,
) -> Path:
    """Save model and tokenizer into ``folder``; ``taught``: prompt -> the answer it learns."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<pad>", "</s>", "<|user|>", "<|end|>", "<|assistant|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>",
        additional_special_tokens=special[2:],
    )  # fmt: skip
    if chat:
        fast.chat_template = TEMPLATE
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(fast), hidden_size=64, intermediate_size=128, num_hidden_layers=2,
            num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=context,
            pad_token_id=0, bos_token_id=None, eos_token_id=1,
        )
    )  # fmt: skip
    if taught:
        _teach(model, fast, taught, steps)
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def _teach(model: object, tokenizer: object, taught: Mapping[str, str], steps: int) -> None:
    import torch

    pairs = []
    for prompt, answer in taught.items():
        asked = tokenizer.encode(prompt)  # type: ignore[attr-defined]
        told = tokenizer.encode(answer) + [1]  # type: ignore[attr-defined]
        labels = [-100] * len(asked) + told
        pairs.append((torch.tensor([asked + told]), torch.tensor([labels])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3)  # type: ignore[attr-defined]
    for _ in range(steps):
        loss = sum(model(ids, labels=labels).loss for ids, labels in pairs)  # type: ignore[operator]
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        if float(loss.detach()) < 0.04:  # type: ignore[union-attr]
            break
    model.eval()  # type: ignore[attr-defined]
