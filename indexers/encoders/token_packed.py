"""A plain BERT's last hidden states over packed tokens: a vector a token, no padding anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contracts import EncodedTokens, Int64Array
from ...vectors import TokenVectors
from .attention import groups_of
from .packed import PackedEngine, _batches
from .pieces import Piece, pieces_of
from .tokens import Tokenizer
from .weights import Weights


class PackedTokens(PackedEngine):
    """Runs a model's weights over packed tokens, and keeps the vector of each.

    Vectors are of length 1. The tokens that the tokenizer puts around every text say nothing of it
    and are left out.
    """

    def __init__(self, weights: Weights, tokenizer: Tokenizer) -> None:
        super().__init__(weights, tokenizer, "mean", normalize=True)
        self._around = np.unique(tokenizer([""]).ids)

    def encode_tokens(self, texts: Sequence[str], prompt: str) -> EncodedTokens:
        """The vectors of each text's tokens, in their order, the prompt put before each text."""
        tokens = self._tokenizer([prompt + text for text in texts] if prompt else texts)
        kept = ~np.isin(tokens.ids, self._around)
        ends = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        offsets = np.concatenate([[0], np.cumsum(tokens.lengths)]).astype(np.int64)
        starts = ends[offsets]
        vectors = np.empty((int(starts[-1]), self.dim), np.float32)
        for rows in _batches(tokens.lengths):
            made = self._forward(tokens, offsets[:-1], rows)
            vectors[_places(starts, rows)] = made[kept[_places(offsets, rows)]]
        return EncodedTokens(TokenVectors(starts, vectors), tokens.cut)

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """What each of a text's vectors stands for, the prompt put before it."""
        ids, names, offsets = self._tokenizer.offsets(prompt + text)
        return pieces_of(names, offsets, ~np.isin(ids, self._around), prompt, text)

    def _run(self, ids: Int64Array, places: Int64Array, lengths: Int64Array) -> Any:
        from torch.nn.functional import normalize

        x = self._states(ids, places, list(groups_of(lengths.tolist())))
        return normalize(x[: int(lengths.sum())])  # what is behind belongs to no text


def _places(starts: Int64Array, rows: Int64Array) -> Int64Array:
    """The places of some rows of a ragged array, row after row."""
    first, lengths = starts[rows], starts[rows + 1] - starts[rows]
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - before, lengths) + np.arange(int(lengths.sum()))
