"""The specification: slow, obvious, in float64, on numpy arrays."""

from __future__ import annotations

import numpy as np

from ...contracts import Array


def maxima(hidden: Array, starts: Array, weight: Array, bias: Array | None) -> tuple[Array, Array]:
    """Largest logits (n, vocabulary) float64 and their places int64; -inf and -1 without tokens."""
    n, vocabulary = len(starts) - 1, len(weight)
    largest = np.full((n, vocabulary), -np.inf)
    places = np.full((n, vocabulary), -1, np.int64)
    for text in range(n):
        first, last = int(starts[text]), int(starts[text + 1])
        if first == last:
            continue
        products = hidden[first:last].astype(np.float64) @ weight.astype(np.float64).T
        largest[text] = products.max(axis=0)
        places[text] = first + products.argmax(axis=0)
    return largest if bias is None else largest + bias.astype(np.float64), places


def weights(
    hidden: Array, starts: Array, weight: Array, bias: Array | None, activation: str
) -> Array:
    """Weights of terms, (n, vocabulary) float64."""
    largest, _ = maxima(hidden, starts, weight, bias)
    once = np.log1p(np.maximum(largest, 0.0))
    return np.log1p(once) if activation == "log1p_log1p" else once
