"""A BERT-like encoder over packed tokens, on the CPU: every row of every product is a real token.

Texts are sorted by length and laid one after the other, so linear layers and norms see
(total tokens, hidden) with no padding; attention takes the texts of one length together. Weights
are packed once for oneDNN, with bias and activation inside the product, and query, key and value
are one product. With 16-bit weights the products are 16-bit; what runs from layer to layer, the
norms and the pooling stay float32, which costs nothing and loses less. Results are those of the
padded forward pass, up to rounding (``tests/indexers/test_encoder_packed.py`` ties the two
together).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from ...contracts import Encoded, Float32Array, Int64Array
from .attention import Group, attend, groups_of
from .tokens import Tokenizer, Tokens
from .weights import Weights

BATCH_TOKENS = 4096
"""Tokens at once: enough for the products, few enough to stay in the cache."""
ONE_THREAD_TOKENS = 128
"""Up to here (a query) one thread is as fast as many, and does not wait for the slowest core."""


class PackedEngine:
    """Runs a model's weights over packed tokens. ``pooling``: mean or cls."""

    name = "packed"

    def __init__(
        self, weights: Weights, tokenizer: Tokenizer, pooling: str, normalize: bool
    ) -> None:
        self.dim = weights.words.shape[1]
        self._weights = weights
        self._tokenizer = tokenizer
        self._pooling = pooling
        self._normalize = normalize

    def encode(self, texts: Sequence[str], prompt: str) -> Encoded:
        """One vector per text, the prompt put before each."""
        tokens = self._tokenizer([prompt + text for text in texts] if prompt else texts)
        vectors = np.zeros((len(texts), self.dim), np.float32)  # of a text without tokens: zero
        offsets = np.cumsum(tokens.lengths) - tokens.lengths
        for rows in _batches(tokens.lengths):
            vectors[rows] = self._forward(tokens, offsets, rows)
        return Encoded(vectors, tokens.cut)

    def _forward(self, tokens: Tokens, offsets: Int64Array, rows: Int64Array) -> Float32Array:
        import torch

        lengths = tokens.lengths[rows]
        starts = np.repeat(np.cumsum(lengths) - lengths, lengths)
        places = np.arange(len(starts)) - starts
        ids = tokens.ids[np.repeat(offsets[rows], lengths) + places]
        if self._weights.padding is not None:
            places = _places_without_padding(ids, starts, self._weights.padding)
        spare = (0, rounded(len(ids)) - len(ids))
        with torch.inference_mode(), _threads_for(len(ids)):
            vectors: Float32Array = self._run(
                np.pad(ids, spare), np.pad(places, spare), lengths
            ).numpy()
        return vectors

    def _run(self, ids: Int64Array, places: Int64Array, lengths: Int64Array) -> Any:
        import torch
        from torch.nn.functional import normalize

        groups = list(groups_of(lengths.tolist()))
        x = self._states(ids, places, groups)
        pooled = []
        for start, texts, length in groups:
            of_texts = x[start : start + texts * length].view(texts, length, -1)
            pooled.append(of_texts.mean(1) if self._pooling == "mean" else of_texts[:, 0])
        vectors = torch.cat(pooled)
        return normalize(vectors) if self._normalize else vectors

    def _states(self, ids: Int64Array, places: Int64Array, groups: Sequence[Group]) -> Any:
        """The last hidden states of packed tokens: (n_tokens, dim) float32."""
        import torch
        from torch.nn.functional import embedding

        w = self._weights
        dtype = w.words.dtype
        x = embedding(torch.from_numpy(ids), w.words).float()
        x = w.embedding_norm(x.add_(embedding(torch.from_numpy(places), w.positions)))
        for layer in w.layers:
            context = attend(layer.query_key_value(x.to(dtype)), groups, w.heads)
            x = layer.attention_norm(x.add_(layer.attention_out(context)))
            x = layer.norm(x.add_(layer.down(layer.up(x.to(dtype), w.activation))))
        return x


def rounded(tokens: int) -> int:
    """So many tokens, or up to a sixteenth more, that few different numbers come up.

    oneDNN keeps a compiled product for each shape that it met: a server that met every number of
    tokens would keep thousands. The tokens on top belong to no text, and no text sees them.
    """
    step = max(16, 1 << max(0, tokens.bit_length() - 5))
    return -(-tokens // step) * step


def _places_without_padding(ids: Int64Array, starts: Int64Array, padding: int) -> Int64Array:
    """RoBERTa's positions: they count from the padding's number on, and pass over padding."""
    real = ids != padding
    counted = np.cumsum(real)
    before = (counted - real)[starts]
    return np.where(real, counted - before + padding, padding)


@contextmanager
def _threads_for(tokens: int) -> Iterator[None]:
    """One thread for little work. In torch the number is this thread's own, and is put back."""
    import torch

    threads = torch.get_num_threads()
    if tokens > ONE_THREAD_TOKENS or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _batches(lengths: Int64Array) -> Iterator[Int64Array]:
    """Rows by falling length, so many at once that their tokens fit a batch."""
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    ends = np.cumsum(lengths[order])
    first = 0
    while first < len(order):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + BATCH_TOKENS, side="right")))
        yield order[first:last]
        first = last
