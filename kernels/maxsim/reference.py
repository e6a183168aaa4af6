"""The specification: slow, obvious, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ...contracts import BoolArray, Int64Array
from ...vectors import TokenVectors
from .carving import ROUNDING
from .tokens import Best, Tokens

Float64Array = NDArray[np.float64]


def document(tokens: Tokens, place: int) -> Float64Array:
    """The vectors of one document that count: (n, dim)."""
    where = np.arange(tokens.starts[place], tokens.starts[place + 1])
    if tokens.mask is not None:
        where = where[tokens.mask[where]]
    if tokens.residual is not None:
        first, last = int(tokens.starts[place]), int(tokens.starts[place + 1])
        wide: Float64Array = tokens.widened(first, last)[where - first].astype(np.float64)
        return wide
    held = tokens.vectors[where]
    if held.dtype == np.uint16:
        return (held.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    if tokens.scales is not None:
        rounded = held.astype(np.float32) * tokens.scales[where][:, None]
        return rounded.astype(np.float64)
    return held.astype(np.float64)


def one_score(query: Float64Array, tokens: Float64Array) -> float:
    """The MaxSim of a query (n, dim) and a document (m, dim)."""
    if len(query) == 0 or len(tokens) == 0:
        return 0.0
    with np.errstate(invalid="ignore", over="ignore"):
        similarities = (query[:, None, :] * tokens[None, :, :]).sum(axis=2)
        similarities[np.isnan(similarities)] = -np.inf
        total = float(similarities.max(axis=1).sum())
    return -np.inf if np.isnan(total) else total


def score(queries: TokenVectors, tokens: Tokens) -> Float64Array:
    """All scores: (n_queries, n_documents) float64."""
    scores = np.zeros((len(queries), tokens.n_documents))
    for place in range(tokens.n_documents):
        held = document(tokens, place)
        for number in range(len(queries)):
            asked = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
            scores[number, place] = one_score(asked.astype(np.float64), held)
    return scores


def search(queries: TokenVectors, tokens: Tokens, k: int, allowed: BoolArray | None) -> Best:
    """The k best allowed documents by scores rounded to float32."""
    scores = score(queries, tokens).astype(np.float32)
    places: Int64Array = np.full((len(queries), k), -1, np.int64)
    kept = np.full((len(queries), k), -np.inf, np.float32)
    through = np.arange(tokens.n_documents) if allowed is None else np.flatnonzero(allowed)
    for number, row in enumerate(scores):
        order = through[np.lexsort((through, -row[through]))][:k]
        places[number, : len(order)] = order
        kept[number, : len(order)] = row[order]
    return Best(places, kept)


def carve(queries: TokenVectors, tau: float) -> TokenVectors:
    """Tokens that are near to the first that is left are added to it."""
    starts, carved = [0], []
    for number in range(len(queries)):
        asked = queries.vectors[queries.starts[number] : queries.starts[number + 1]]
        left = [token.astype(np.float64) for token in asked]
        while left:
            first = left[0]
            near = [_cosine(first, token) >= tau - ROUNDING for token in left]
            near[0] = True
            carved.append(sum(token for token, is_near in zip(left, near, strict=True) if is_near))
            left = [token for token, is_near in zip(left, near, strict=True) if not is_near]
        starts.append(len(carved))
    vectors = np.array(carved, np.float32).reshape(len(carved), queries.vectors.shape[1])
    return TokenVectors(np.array(starts), vectors)


def _cosine(one: Float64Array, other: Float64Array) -> float:
    lengths = float(np.sqrt((one**2).sum()) * np.sqrt((other**2).sum()))
    return float((one * other).sum()) / lengths if lengths else 0.0
