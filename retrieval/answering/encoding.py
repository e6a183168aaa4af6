"""A prompt in a model's own tokens, with the places of its passages."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contracts import Int64Array
from .decoding.types import Passage, Prompt
from .prompts import Asked
from .sentences import sentences_of


def length(asked: Asked, tokenizer: Any) -> int:
    """Tokens of the prompt as :func:`encoded` makes it."""
    return len(_tokenized(_turn(asked, tokenizer), tokenizer)["input_ids"])


def encoded(asked: Asked, tokenizer: Any) -> Prompt:
    """The prompt as one user's turn, where the tokenizer has a template, with its places."""
    text = _turn(asked, tokenizer)
    at = text.find(asked.text)
    made = _tokenized(text, tokenizer, return_offsets_mapping=tokenizer.is_fast and at >= 0)
    tokens = np.array(made["input_ids"], np.int64)
    if not tokenizer.is_fast or at < 0:
        return Prompt(tokens)  # nobody knows where the passages are: nothing is drafted of them
    offsets = np.array(made["offset_mapping"], np.int64).reshape(-1, 2)

    def inside(start: int, end: int) -> tuple[int, int]:
        begin = int(np.searchsorted(offsets[:, 1], start + at, "right"))
        return begin, max(begin, int(np.searchsorted(offsets[:, 0], end + at, "left")))

    passages = []
    for packed, start, end in asked.passages:
        sentences = sentences_of(packed.shown.text)
        _, marker = continued(tokenizer, "So.", f" [{packed.rank}]")
        passages.append(
            Passage(
                packed.id,
                *inside(start, end),
                tuple(inside(start + first, start + last) for first, last in sentences),
                tuple(marker.tolist()),
            )
        )
    return Prompt(tokens, tuple(passages))


def _turn(asked: Asked, tokenizer: Any) -> str:
    if not tokenizer.chat_template:
        return asked.text
    turn = tokenizer.apply_chat_template(
        [{"role": "user", "content": asked.text}],
        tokenize=False,
        add_generation_prompt=True,
        enable_thinking=False,  # templates that know of it leave the thinking out
    )
    return str(turn)


def _tokenized(text: str, tokenizer: Any, **more: bool) -> Any:
    return tokenizer(text, add_special_tokens=not tokenizer.chat_template, **more)


def continued(tokenizer: Any, text: str, more: str) -> tuple[Int64Array, Int64Array]:
    """The tokens of a text and of what stands behind it, as they are next to each other.

    By itself a tokenizer may give a word that begins a text a space or a token of its own.
    """
    before, both = (
        np.array(tokenizer.encode(one, add_special_tokens=True), np.int64)
        for one in (text, text + more)
    )
    n = min(len(before), len(both))
    n = int((before[:n] == both[:n]).cumprod().sum())
    return both[:n], both[n:]
