"""A causal language model of a few thousand numbers, made from scratch: words and brackets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

WORDS = ["rank", "and", "reed", "tide", "eel", "gull", "kelp", "mist", "Query", ":", "[", "]", ">"]


CHAT = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


def build(folder: Path, *, width: int = 32, layers: int = 1, chat: bool = False) -> Path:
    """Save model and tokenizer into ``folder``; random weights of one seed."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers

    names = [*WORDS, *map(chr, range(65, 91)), *map(str, range(1, 31))]
    vocabulary = {
        word: place for place, word in enumerate(dict.fromkeys(["<pad>", "<unk>", "</s>", *names]))
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split(Regex(r"\w+|[^\w\s]"), "isolated")]
    )
    return save(folder, tokenizer, CHAT if chat else None, width=width, layers=layers)


def save(
    folder: Path, tokenizer: Any, template: str | None, *, width: int = 32, layers: int = 1
) -> Path:
    """The same with another tokenizer, whose first tokens are ``<pad>``, ``<unk>`` and ``</s>``."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        unk_token="<unk>",
        eos_token="</s>",  # noqa: S106
    )
    if template is not None:
        fast.chat_template = template
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(), hidden_size=width, intermediate_size=2 * width,
            num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=4,
            max_position_embeddings=2048, pad_token_id=0, bos_token_id=2, eos_token_id=2,
        )
    )  # fmt: skip
    model.save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder
