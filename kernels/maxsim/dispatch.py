"""Which version answers: the one that the tokens are ready for.

Tokens in memory, or mapped from a file, are scored on the CPU. :func:`placed` puts them on a CUDA
device where there is one, once; from then on the Triton version scores them there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...contracts import Array, BoolArray, Float32Array
from ...errors import InputError
from ...vectors import TokenVectors
from . import cpu
from .tokens import Best, Tokens, checked_places, checked_queries

if TYPE_CHECKING:
    from .gpu import DeviceTokens


def placed(tokens: Tokens) -> Tokens | DeviceTokens:
    """The tokens on the CUDA device, where there is one; else as they are.

    They are copied whole: whoever asks for it knows that they fit.
    """
    import torch

    if not torch.cuda.is_available():
        return tokens
    from .gpu import on_device

    return on_device(tokens, "cuda")


def score(
    queries: TokenVectors, tokens: Tokens | DeviceTokens, *, threads: int = 1
) -> Float32Array:
    """All scores: (n_queries, n_documents) float32."""
    queries = checked_queries(queries, tokens.dim)
    if isinstance(tokens, Tokens):
        return cpu.score(queries, tokens, _checked_threads(threads))
    from . import gpu

    return gpu.score(queries, tokens)


def search(
    queries: TokenVectors,
    tokens: Tokens | DeviceTokens,
    k: int,
    allowed: BoolArray | None = None,
    *,
    threads: int = 1,
) -> Best:
    """The k best documents of each query, among those that ``allowed`` (n_documents,) lets through.

    Raises InputError for queries of another width, or not finite, for a negative k, and for a mask
    of another length.
    """
    queries = checked_queries(queries, tokens.dim)
    if k < 0:
        raise InputError(f"k is 0 or more, got {k}", field="k")
    if allowed is not None:
        allowed = np.ascontiguousarray(allowed)
        if allowed.shape != (tokens.n_documents,) or allowed.dtype != np.bool_:
            raise InputError(
                f"({tokens.n_documents},) bool, one a document, "
                f"got {allowed.shape} {allowed.dtype}",
                field="allowed",
            )
    if isinstance(tokens, Tokens):
        return cpu.search(queries, tokens, k, allowed, _checked_threads(threads))
    from . import gpu

    return gpu.search(queries, tokens, k, allowed)


def rescore(
    queries: TokenVectors,
    tokens: Tokens | DeviceTokens,
    places: Array,
    starts: Array,
    *,
    threads: int = 1,
) -> Float32Array:
    """Scores of each query's candidates, ``places[starts[q]:starts[q + 1]]``: (m,) float32.

    A place of -1 scores -inf. Raises InputError for places beyond the documents, and for starts
    that leave a place to no query.
    """
    queries = checked_queries(queries, tokens.dim)
    held, cuts = checked_places(places, starts, len(queries), tokens.n_documents)
    if isinstance(tokens, Tokens):
        return cpu.rescore(queries, tokens, held, cuts, _checked_threads(threads))
    from . import gpu

    return gpu.rescore(queries, tokens, held, cuts)


def _checked_threads(threads: int) -> int:
    if threads < 1:
        raise InputError(f"threads are 1 or more, got {threads}", field="threads")
    return threads
