"""The Triton version: one program for a pair of a query and a document.

A program goes over its document's tokens a tile at a time and keeps what is greatest, so the
similarities never leave the chip. Lengths are arguments, not constants: no number of documents, of
tokens or of queries is compiled anew, only the kind of the vectors and two sizes of a query's tile.
Offsets are 64 bits wide. The k best are kept a stretch of documents at a time, by a key that holds
a score and, below it, a place: so ties go to the lower place there too.

This module imports torch and Triton; nothing imports it but :mod:`dispatch`, when tokens are on a
device. Under ``TRITON_INTERPRET=1`` it runs on tensors in memory, which is how it is tested where
there is no device.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from ...contracts import BoolArray, Float32Array, Int64Array
from ...vectors import TokenVectors
from .tokens import Best, Tokens, tokens_of

STRETCH = 1 << 16
"""Documents whose scores are held at a time in a search,"""
QUERIES = 128
"""of so many queries, so that their keys are 64 MiB."""
PAIRS = 1 << 24
"""Candidates that are scored at a time."""
TILE = 64
DIMENSIONS = 32
_LOW = 0xFFFFFFFF
_NOTHING = -(1 << 63)


class DeviceTokens(NamedTuple):
    """The tokens of documents as tensors on one device; see :class:`Tokens`."""

    vectors: Any
    starts: Any
    scales: Any
    mask: Any

    @property
    def n_documents(self) -> int:
        """How many documents there are."""
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self.vectors.shape[1])


def on_device(tokens: Tokens, device: str) -> DeviceTokens:
    """Copy tokens to a device; residual codes as the float32 that they stand for."""
    if tokens.residual is not None:
        wide = tokens.widened(0, len(tokens.vectors))
        tokens = tokens._replace(vectors=wide, scales=None, residual=None)
    vectors = torch.from_numpy(np.array(tokens.vectors))
    if tokens.vectors.dtype == np.uint16:
        vectors = vectors.view(torch.bfloat16)

    def copied(values: Any) -> Any:
        return None if values is None else torch.from_numpy(np.array(values)).to(device)

    return DeviceTokens(
        vectors.to(device), copied(tokens.starts), copied(tokens.scales), copied(tokens.mask)
    )


def in_memory(tokens: DeviceTokens, places: Int64Array) -> Tokens:
    """Copy the tokens of some documents back: document i is that at ``places[i]``."""
    chosen = torch.from_numpy(places).to(tokens.starts.device)
    begins, ends = tokens.starts[chosen].tolist(), tokens.starts[chosen + 1].tolist()

    def copied(values: Any) -> Any:
        if values is None:
            return None
        kept = [values[:0], *(values[a:b] for a, b in zip(begins, ends, strict=True))]
        return torch.cat(kept).cpu()

    vectors, scales, mask = (copied(one) for one in (tokens.vectors, tokens.scales, tokens.mask))
    return tokens_of(
        vectors if vectors.dtype == torch.bfloat16 else vectors.numpy(),
        np.concatenate([[0], np.cumsum(np.subtract(ends, begins))]).astype(np.int64),
        scales=None if scales is None else scales.numpy(),
        mask=None if mask is None else mask.numpy(),
    )


@triton.jit(do_not_specialize=["n_queries", "first_place"])
def maxsim_kernel(
    query_vectors: tl.tensor,
    query_starts: tl.tensor,
    vectors: tl.tensor,
    starts: tl.tensor,
    scales: tl.tensor,
    mask: tl.tensor,
    listed_queries: tl.tensor,
    listed_places: tl.tensor,
    scores: tl.tensor,
    n_queries: tl.tensor,
    first_place: tl.tensor,
    dim: tl.tensor,
    LISTED: tl.constexpr,
    SCALED: tl.constexpr,
    MASKED: tl.constexpr,
    QUERY_TILE: tl.constexpr,
    TOKEN_TILE: tl.constexpr,
    DIMENSION_TILE: tl.constexpr,
) -> None:
    """The score of pair ``program_id(0)``.

    Pairs are listed, or all queries with the documents from ``first_place`` on, query after query
    of one document.
    """
    pair = tl.program_id(0).to(tl.int64)
    if LISTED:
        query = tl.load(listed_queries + pair)
        place = tl.load(listed_places + pair)
    else:
        query = pair % n_queries
        place = first_place + pair // n_queries
    first = tl.load(starts + place)
    last = tl.load(starts + place + 1)
    query_first = tl.load(query_starts + query)
    query_last = tl.load(query_starts + query + 1)
    total = tl.zeros((QUERY_TILE,), tl.float64)
    counted = 0
    for query_token in range(query_first, query_last, QUERY_TILE):
        asked = query_token + tl.arange(0, QUERY_TILE)
        best = tl.full((QUERY_TILE,), float("-inf"), tl.float32)
        for token in range(first, last, TOKEN_TILE):
            rows = token + tl.arange(0, TOKEN_TILE)
            inside = rows < last
            if MASKED:
                inside = inside & (tl.load(mask + rows, mask=inside, other=0) != 0)
            if SCALED:
                scale = tl.load(scales + rows, mask=inside, other=0.0)
            similarities = tl.zeros((TOKEN_TILE, QUERY_TILE), tl.float32)
            for start in range(0, dim, DIMENSION_TILE):
                dimensions = start + tl.arange(0, DIMENSION_TILE)
                there = dimensions < dim
                held = tl.load(
                    vectors + rows[:, None] * dim + dimensions[None, :],
                    mask=inside[:, None] & there[None, :],
                    other=0,
                ).to(tl.float32)
                if SCALED:
                    held = held * scale[:, None]
                wanted = tl.load(
                    query_vectors + asked[None, :] * dim + dimensions[:, None],
                    mask=(asked < query_last)[None, :] & there[:, None],
                    other=0.0,
                )
                similarities = tl.dot(held, wanted, similarities, input_precision="ieee")
            counts = inside[:, None] & (similarities == similarities)
            similarities = tl.where(counts, similarities, float("-inf"))
            best = tl.maximum(best, tl.max(similarities, axis=0))
            counted += tl.sum(inside.to(tl.int32), axis=0)
        total += tl.where(asked < query_last, best.to(tl.float64), 0.0)
    score = tl.sum(total, axis=0).to(tl.float32)
    score = tl.where(score == score, score, float("-inf"))
    tl.store(scores + pair, tl.where(counted > 0, score, 0.0))


def _launch(
    queries: tuple[Any, Any, int],
    tokens: DeviceTokens,
    n_pairs: int,
    first_place: int,
    listed: tuple[Any, Any] | None,
) -> Any:
    """Scores of pairs: (n_pairs,) float32 on the device."""
    vectors, starts, widest = queries
    scores = torch.zeros(n_pairs, dtype=torch.float32, device=tokens.starts.device)
    if n_pairs == 0:
        return scores
    none = starts
    maxsim_kernel[(n_pairs,)](
        vectors,
        starts,
        tokens.vectors,
        tokens.starts,
        none if tokens.scales is None else tokens.scales,
        none if tokens.mask is None else tokens.mask,
        none if listed is None else listed[0],
        none if listed is None else listed[1],
        scores,
        max(1, len(starts) - 1),
        first_place,
        tokens.dim,
        LISTED=listed is not None,
        SCALED=tokens.scales is not None,
        MASKED=tokens.mask is not None,
        QUERY_TILE=16 if widest <= 16 else 32,
        TOKEN_TILE=TILE,
        DIMENSION_TILE=DIMENSIONS,
    )
    return scores


def _asked(queries: TokenVectors, tokens: DeviceTokens) -> tuple[Any, Any, int]:
    device = tokens.starts.device
    return (
        torch.from_numpy(queries.vectors).to(device),
        torch.from_numpy(queries.starts).to(device),
        int(np.diff(queries.starts).max(initial=0)),
    )


def _some(queries: TokenVectors) -> Iterator[tuple[slice, TokenVectors]]:
    """Queries to ask together, and which they are."""
    for first in range(0, len(queries), QUERIES):
        own = slice(first, min(len(queries), first + QUERIES))
        yield own, queries[own]


def score(queries: TokenVectors, tokens: DeviceTokens) -> Float32Array:
    """See :mod:`cormorant.kernels.maxsim`."""
    scores = np.zeros((len(queries), tokens.n_documents), np.float32)
    for own, some in _some(queries):
        asked, n = _asked(some, tokens), len(some)
        for first in range(0, tokens.n_documents, STRETCH):
            width = min(STRETCH, tokens.n_documents - first)
            found = _launch(asked, tokens, n * width, first, None)
            scores[own, first : first + width] = found.reshape(width, n).T.cpu().numpy()
    return scores


def rescore(
    queries: TokenVectors, tokens: DeviceTokens, places: Int64Array, starts: Int64Array
) -> Float32Array:
    """See :mod:`cormorant.kernels.maxsim`."""
    scores = np.full(len(places), -np.inf, np.float32)
    there = np.flatnonzero(places >= 0)
    device = tokens.starts.device
    asked = _asked(queries, tokens)
    for first in range(0, len(there), PAIRS):
        own = there[first : first + PAIRS]
        whose = np.searchsorted(starts, own, side="right") - 1
        listed = (torch.from_numpy(whose).to(device), torch.from_numpy(places[own]).to(device))
        scores[own] = _launch(asked, tokens, len(own), 0, listed).cpu().numpy()
    return scores


def search(queries: TokenVectors, tokens: DeviceTokens, k: int, allowed: BoolArray | None) -> Best:
    """See :mod:`cormorant.kernels.maxsim`."""
    through = None
    if allowed is not None:
        through = torch.from_numpy(allowed).to(tokens.starts.device)
    held = np.full((len(queries), k), _NOTHING, np.int64)
    for own, some in _some(queries):
        held[own] = _keys(some, tokens, k, through)
    ordered = held >> 32
    bits = (ordered ^ ((ordered >> 31) & 0x7FFFFFFF)).astype(np.int32)
    empty = held == _NOTHING
    return Best(
        np.where(empty, -1, _LOW - (held & _LOW)),
        np.where(empty, np.float32(-np.inf), bits.view(np.float32)),
    )


def _keys(queries: TokenVectors, tokens: DeviceTokens, k: int, through: Any) -> Int64Array:
    """The k greatest keys of each query: (n_queries, k)."""
    n, device = len(queries), tokens.starts.device
    asked = _asked(queries, tokens)
    kept = torch.full((n, k), _NOTHING, dtype=torch.int64, device=device)
    for first in range(0, tokens.n_documents, STRETCH):
        width = min(STRETCH, tokens.n_documents - first)
        found = _launch(asked, tokens, n * width, first, None).reshape(width, n).T
        bits = (found + 0.0).contiguous().view(torch.int32).to(torch.int64)  # -0 is 0
        places = torch.arange(first, first + width, device=device)
        keys = ((bits ^ ((bits >> 31) & 0x7FFFFFFF)) << 32) | (_LOW - places)
        if through is not None:
            keys = torch.where(through[first : first + width], keys, _NOTHING)
        kept = torch.cat([kept, keys], dim=1).topk(k, dim=1).values
    best: Int64Array = kept.cpu().numpy()
    return best
