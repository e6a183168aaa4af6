"""Texts to the numbers of their distinct tokens: what an inference-free query is made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from .files import read_json
from .sparse_files import QueryPart


class Words(NamedTuple):
    """The distinct tokens of texts, special ones left out.

    Text i has the tokens ``terms[starts[i]:starts[i + 1]]``, ascending; both are int64.
    """

    starts: Int64Array
    terms: Int64Array


class TokenWords:
    """A tokenizer that gives the distinct tokens of texts. It reads tokenizer.json alone."""

    def __init__(self, folder: Path, *, specials: bool = True) -> None:
        """``specials``: whether ``rules`` put special tokens around a text, as they usually do."""
        import tokenizers

        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(
                "holds no tokenizer.json; save the model's fast tokenizer there", file=folder
            )
        self.rules = file.read_text(encoding="utf-8")
        self._rust = tokenizers.Tokenizer.from_str(self.rules)
        self._rust.no_padding()
        self._rust.no_truncation()
        if not specials:
            rules = json.loads(self.rules) | {"post_processor": None}
            self.rules = json.dumps(rules)
        vocabulary = self._rust.get_vocab(with_added_tokens=True)
        self.tokens: Sequence[str] = _by_number(vocabulary)
        added = self._rust.get_added_tokens_decoder()
        self.special = np.array(
            sorted(number for number, token in added.items() if token.special), np.int64
        )

    def __call__(self, texts: Sequence[str]) -> Words:
        """The distinct tokens of each text."""
        encodings = self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
        return self.distinct([encoding.ids for encoding in encodings])

    def spans(self, text: str, terms: Int64Array) -> list[tuple[int, int]]:
        """Where the words of a text stand whose every token is among these, ascending, disjoint."""
        encoding = self._rust.encode(text, add_special_tokens=False)
        wanted = set(terms.tolist())
        words: dict[int, tuple[int, int]] = {}
        missed: set[int | None] = set()
        for number, (first, last), word in zip(
            encoding.ids, encoding.offsets, encoding.word_ids, strict=True
        ):
            if word is None or word in missed or number not in wanted:
                missed.add(word)
            else:
                words[word] = (words[word][0] if word in words else first, last)
        return sorted(span for word, span in words.items() if word not in missed)

    def distinct(self, lists: Sequence[Sequence[int] | Int64Array]) -> Words:
        """Token numbers of texts, each once, ascending, special ones left out."""
        rows = [np.unique(np.asarray(ids, np.int64)) for ids in lists]
        rows = [row[~np.isin(row, self.special)] for row in rows]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=starts[1:])
        return Words(starts, np.concatenate(rows) if rows else np.zeros(0, np.int64))


def read_table(part: QueryPart, words: TokenWords) -> Float32Array:
    """An inference-free encoder's query weights, (vocabulary,) float32; special tokens weigh 0.

    Raises:
        InputError: a table of another vocabulary, or a weight that is negative or not finite.
    """
    size = len(words.tokens)
    if part.weights.suffix == ".json":
        table = _from_json(part.weights, words)
    else:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            found = load_file(part.weights)
        except SafetensorError as error:
            raise InputError(f"cannot be loaded: {error}", file=part.weights) from error
        if list(found) != ["weight"] or found["weight"].ndim != 1:
            raise InputError("holds one tensor, weight (vocabulary,)", file=part.weights)
        table = found["weight"].astype(np.float32)
    if len(table) < size:
        raise InputError(
            f"has {len(table):,} weights for a vocabulary of {size:,}", file=part.weights
        )
    # OpenSearch's relu: a token that is in nearly every document must not count against it.
    table = np.maximum(table, np.float32(0))
    if not np.isfinite(table).all():
        raise InputError("holds a weight that is not finite", file=part.weights)
    table[words.special] = 0.0
    return table


def _from_json(file: Path, words: TokenWords) -> Float32Array:
    weights = read_json(file)
    if not isinstance(weights, dict):
        raise InputError("is an object of tokens and weights", file=file)
    numbers = {token: number for number, token in enumerate(words.tokens)}
    table = np.zeros(len(words.tokens), np.float32)
    for token, weight in weights.items():
        if token not in numbers or not isinstance(weight, int | float):
            raise InputError(f"gives {weight!r} to {token!r}, which is no token here", file=file)
        table[numbers[token]] = weight
    return table


def _by_number(vocabulary: dict[str, int]) -> list[str]:
    """Tokens in the order of their numbers; a number that no token has is an empty string."""
    tokens = [""] * (max(vocabulary.values(), default=-1) + 1)
    for token, number in vocabulary.items():
        tokens[number] = token
    return tokens
