"""Which version encodes, after checks that are the same for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numba
import numpy as np

from ...contracts import Array, Float32Array
from ...errors import InputError
from ...vectors import TokenVectors
from ..maxsim.tokens import Tokens, checked_queries
from . import cpu
from .settings import Fde

if TYPE_CHECKING:
    from ..maxsim.gpu import DeviceTokens


def encode_documents(
    fde: Fde,
    tokens: Tokens | DeviceTokens,
    *,
    mean: Array | None = None,
    filled: bool = True,
    threads: int = 1,
) -> Float32Array:
    """Encodings of documents: (n_documents, size) float32.

    Tokens that ``maxsim.placed`` has put on a device are encoded there. Raises InputError for
    tokens of another width or that are not finite, and for a mean of another width.
    """
    _check(fde, tokens.dim, threads)
    centre = _checked_mean(mean, fde.dim)
    if isinstance(tokens, Tokens):
        return cpu.encode(fde, tokens, centre, document=True, filled=filled, threads=threads)
    from . import gpu

    return gpu.encode(fde, tokens, centre, filled=filled)


def encode_queries(
    fde: Fde, queries: TokenVectors, *, mean: Array | None = None, threads: int | None = None
) -> Float32Array:
    """Encodings of queries: (n_queries, size) float32. Raises like ``encode_documents``.

    By as many threads as numba may use, or at most ``threads``. On the CPU, wherever the documents
    are: queries come from memory and their encodings go there.
    """
    asked = checked_queries(queries, fde.dim)
    threads = numba.get_num_threads() if threads is None else threads
    _check(fde, fde.dim, threads)
    centre = _checked_mean(mean, fde.dim)
    tokens = cpu.tokens_of_queries(asked)
    return cpu.encode(fde, tokens, centre, document=False, filled=False, threads=threads)


def _check(fde: Fde, dim: int, threads: int) -> None:
    if dim != fde.dim:
        raise InputError(f"tokens have {dim} numbers, the encoding is for {fde.dim}", field="dim")
    if threads < 1:
        raise InputError(f"threads are 1 or more, got {threads}", field="threads")


def _checked_mean(mean: Array | None, dim: int) -> Float32Array | None:
    if mean is None:
        return None
    centre: Float32Array = np.array(mean, np.float32)
    if centre.shape != (dim,) or not np.isfinite(centre).all():
        raise InputError(f"a finite mean of ({dim},), got {centre.shape}", field="mean")
    return centre
