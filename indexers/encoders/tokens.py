"""Texts to token numbers, in one call of the Rust tokenizer, without padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import BoolArray, Int64Array
from ...errors import InputError


class Tokens(NamedTuple):
    """Texts as tokens, one after the other.

    ids: (total,) int64; lengths: (n,) int64; cut: (n,) bool, which texts lost their end.
    """

    ids: Int64Array
    lengths: Int64Array
    cut: BoolArray


class Tokenizer:
    """A model's tokenizer with its window; a copy, so that nobody else's settings reach it."""

    def __init__(self, rules: str, max_tokens: int) -> None:
        """``rules``: what a tokenizer.json holds."""
        import tokenizers

        self.max_tokens = max_tokens
        self._rust = tokenizers.Tokenizer.from_str(rules)
        self._rust.enable_truncation(max_tokens)
        self._rust.no_padding()

    def __call__(self, texts: Sequence[str]) -> Tokens:
        """The tokens of each text, special ones included, at most ``max_tokens`` of each."""
        if len(texts) == 1:
            encodings = [self._rust.encode(texts[0])]
        else:
            encodings = self._rust.encode_batch_fast(list(texts))
        lists = [encoding.ids for encoding in encodings]
        lengths = np.fromiter(map(len, lists), np.int64, len(lists))
        cut = np.zeros(len(lists), np.bool_)
        for row in np.flatnonzero(lengths >= self.max_tokens):
            cut[row] = len(encodings[row].overflowing) > 0
        ids = np.fromiter((number for ids in lists for number in ids), np.int64, lengths.sum())
        return Tokens(ids, lengths, cut)

    def offsets(self, text: str) -> tuple[list[int], list[str], list[tuple[int, int]]]:
        """One text's tokens: their numbers, their names, and their characters, from and to."""
        encoding = self._rust.encode(text)
        return encoding.ids, encoding.tokens, encoding.offsets


def check_texts(texts: Sequence[str]) -> None:
    """Raise InputError for what is not text; the tokenizer would give no reason."""
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"text {number} is {type(text).__name__}, not str")
        if not text.isascii():
            try:
                text.encode()
            except UnicodeEncodeError:
                raise InputError(f"text {number} holds half of a surrogate pair") from None
