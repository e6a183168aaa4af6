"""LEMUR: a small network whose features of a token predict its greatest similarity to a document.

Jaasaari et al., "LEMUR: Learned Multi-Vector Retrieval" (arXiv 2601.21853, 2026). The MaxSim of a
query and a document is a sum over the query's tokens x of f(x) = max <x, p> over the document's
tokens p. If f is about <psi(x), w>, with psi the same for all documents, then MaxSim is about
<sum of psi(x), w>: a query is the sum of its tokens' features, a document the weights w.

* psi is one hidden layer: linear, layer norm, ReLU. (The paper has GELU. On vaswani 95% of the best
  10 took 36 candidates with ReLU and 35 with GELU, and ReLU gives the same bits in any batch.)
* It is trained on tokens of queries to predict their similarities to some of the documents.
* A document's weights follow by least squares from the greatest similarities of the learning tokens
  in it, which the kernel gives exactly, with a ridge.
* Of each token's similarities their mean over some documents is subtracted: the same for all
  documents, it ranks none, and would take up the bytes that the vectors are rounded to.

What is random is drawn from a seed, so the same documents give the same network, on one machine
with the same number of threads. Another may differ in the last bits, so a network is stored, not
made again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np

from ...contracts import Array, Float32Array
from ...documents import JsonObject
from ...kernels.fde import Bytes, as_bytes
from ...kernels.fde.cpu import products
from ...kernels.maxsim import Tokens, score, tokens_of
from ...kernels.maxsim.tiles import packed
from ...vectors import TokenVectors

LEARNED = 4096
"""Tokens that documents' weights are fitted to, and that the network is trained on."""
LEAST = 512
"""With fewer of these there is no network. 4,000 sentences, 95% of the best 10: 724, 358 and 217
candidates with 256, 512 and 1,024 tokens, against 297 by fixed dimensional encodings."""
TARGETS = 128
"""Documents whose similarities the network is trained to predict."""
STEPS = 40
"""With 1,024 targets and 160 steps, 41 candidates for 95% of the best 10 on vaswani, not 42."""
_BATCH = 512
_RATE = 3e-3
_RIDGE = 0.1
"""Of the mean square of a feature. 0.001 and 1 were worse on vaswani and nfcorpus."""
_EPSILON = np.float32(1e-5)
_NAMES = ("weights", "layer", "tokens", "means")


class Layer(NamedTuple):
    """The hidden layer: ``weights`` (size, dim); ``layer`` (3, size): biases, gains, shifts."""

    weights: Float32Array
    layer: Float32Array


class Lemur:
    """A trained network and the tokens that documents are fitted to.

    ``tokens``: (n, dim) float32; ``means``: (n,) float32, what is subtracted of their similarities.
    ``fitted``: documents that there were when it was trained.
    """

    at_once = 1024

    def __init__(
        self, layer: Layer, tokens: Float32Array, means: Float32Array, fitted: int
    ) -> None:
        self._layer, self._tokens, self._means = layer, tokens, means
        self.fitted = fitted
        self._columns = packed(np.asarray(layer.weights))

    @classmethod
    def of(cls, summary: JsonObject, arrays: Mapping[str, Array]) -> Lemur:
        """The one that a segment holds."""
        weights, layer, tokens, means = (arrays[f"lemur_{name}"] for name in _NAMES)
        return cls(Layer(weights, layer), tokens, means, summary["fitted"])

    @property
    def size(self) -> int:
        """Features."""
        return len(self._layer.weights)

    @cached_property
    def identity(self) -> str:
        """A digest of the network and its tokens."""
        digest = hashlib.sha256()
        for values in self.arrays().values():
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    def features(self, vectors: Float32Array) -> Float32Array:
        """Psi of tokens: (n, size) float32, each the same in any batch."""
        held = np.ascontiguousarray(vectors, np.float32)
        biases, gains, shifts = self._layer.layer
        hidden = products(held, self._columns)[:, : self.size] + biases
        hidden -= hidden.mean(axis=1, keepdims=True)
        spread = np.sqrt((hidden * hidden).mean(axis=1, keepdims=True) + _EPSILON)
        made: Float32Array = np.maximum(hidden / spread * gains + shifts, np.float32(0))
        return made

    def documents(self, tokens: Tokens, threads: int) -> Bytes:
        """See :class:`~.proxies.Proxy`."""
        similar = score(_single(self._tokens), tokens, threads=threads)
        similar -= self._means[:, None]
        return as_bytes(np.ascontiguousarray((self._solver @ similar).T))

    def queries(self, queries: TokenVectors) -> Array:
        """See :class:`~.proxies.Proxy`."""
        sums = np.zeros((len(queries), self.size), np.float32)
        for number in range(len(queries)):
            own = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
            if len(own):
                sums[number] = self.features(own).sum(axis=0, dtype=np.float64)
        return as_bytes(sums).codes

    @cached_property
    def _solver(self) -> Float32Array:
        """From similarities of the learning tokens to weights: (size, n)."""
        made = self.features(self._tokens)
        gram = (made.T @ made).astype(np.float64)
        gram[np.diag_indices_from(gram)] += _RIDGE * (
            np.trace(gram) / self.size or 1.0
        )  # no feature at all
        return np.linalg.solve(gram, made.T.astype(np.float64)).astype(np.float32)

    def as_json(self) -> JsonObject:
        """See :class:`~.proxies.Proxy`."""
        return {
            "kind": "lemur",
            "size": self.size,
            "learned": len(self._tokens),
            "fitted": self.fitted,
        }

    def arrays(self) -> dict[str, Array]:
        """See :class:`~.proxies.Proxy`."""
        values = (*self._layer, self._tokens, self._means)
        return {f"lemur_{name}": value for name, value in zip(_NAMES, values, strict=True)}

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """But for the last step: a library's sums differ between machines and batches."""
        apart = np.abs(made.codes.astype(np.int64) - kept.codes)
        return bool(apart.max(initial=0) <= 1 and np.allclose(made.scales, kept.scales, 1e-3))


def fit(tokens: Tokens, learned: Float32Array, size: int, seed: int, threads: int) -> Lemur:
    """Train a network of so many features: ``STEPS`` steps, however much there is.

    ``learned``: (n, dim) float32, one or more, tokens as queries have them. Of documents those
    without tokens are no targets.
    """
    random = np.random.Generator(np.random.Philox(seed))
    filled = np.flatnonzero(np.diff(tokens.starts))
    some = np.sort(random.permutation(filled)[:TARGETS])
    cuts = [(int(tokens.starts[place]), int(tokens.starts[place + 1])) for place in some]
    starts = np.concatenate([[0], np.cumsum([last - first for first, last in cuts])])
    held = np.concatenate([tokens.widened(first, last) for first, last in cuts])
    targets = score(_single(learned), tokens_of(held, starts), threads=threads)
    means = targets.mean(axis=1)
    targets -= means[:, None]
    layer = _trained(learned, targets, size, random)
    return Lemur(layer, learned, means, tokens.n_documents)


def problems_of(arrays: Mapping[str, Array], size: int, dim: int) -> list[str]:
    """Arrays that are no network."""
    found = [arrays.get(f"lemur_{name}") for name in _NAMES]
    if any(value is None or value.dtype != np.float32 for value in found):
        return ["the proxy's network is not there"]
    weights, layer, tokens, means = (value.shape for value in found if value is not None)
    n = means[0] if len(means) == 1 else -1
    if (weights, layer, tokens) != ((size, dim), (3, size), (n, dim)):
        return ["the proxy's network does not fit the vectors"]
    if not all(np.isfinite(value).all() for value in found if value is not None):
        return ["the proxy's network is not finite"]
    return []


def _single(vectors: Float32Array) -> TokenVectors:
    """Each token a query."""
    return TokenVectors(np.arange(len(vectors) + 1), np.asarray(vectors))


def _trained(
    learned: Float32Array, targets: Float32Array, size: int, random: np.random.Generator
) -> Layer:
    """The hidden layer, by Adam on the squared error; the layer above it is thrown away."""
    import torch
    from torch.nn import functional

    def drawn(*shape: int, spread: float) -> torch.Tensor:
        values = random.standard_normal(shape, np.float32) * np.float32(spread)
        return torch.from_numpy(values).requires_grad_()

    n, dim = learned.shape
    inputs = torch.from_numpy(np.array(learned, np.float32))
    wanted = torch.from_numpy(targets / np.maximum(targets.std(axis=0), np.float32(1e-6)))
    weights = drawn(size, dim, spread=1.0)
    biases, shifts = (torch.zeros(size, requires_grad=True) for _ in range(2))
    gains = torch.ones(size, requires_grad=True)
    last = drawn(targets.shape[1], size, spread=size**-0.5)
    ends = torch.zeros(targets.shape[1], requires_grad=True)
    adam = torch.optim.Adam([weights, biases, gains, shifts, last, ends], lr=_RATE)
    order = np.zeros(0, np.int64)
    for _ in range(STEPS):
        if len(order) < min(_BATCH, n):
            order = random.permutation(n)
        batch, order = torch.from_numpy(order[:_BATCH]), order[_BATCH:]
        hidden = functional.linear(inputs[batch], weights, biases)
        hidden = torch.relu(functional.layer_norm(hidden, (size,), gains, shifts))
        loss = functional.mse_loss(functional.linear(hidden, last, ends), wanted[batch])
        adam.zero_grad()
        loss.backward()
        adam.step()
    layer = torch.stack([biases, gains, shifts])
    return Layer(weights.detach().numpy(), layer.detach().numpy())
