"""A multi-vector segment: rows, their token vectors, and the proxy that finds candidates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from ...contracts import Array, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.maxsim import Tokens, placed
from ...vectors import TokenVectors
from ..dense import gpu
from ..dense.segment import DenseSegment
from ..spann.segment import SpannSegment
from . import lists
from .proxies import Proxy, proxy_of
from .settings import Muvera
from .vectors import begins_of, stored_tokens

if TYPE_CHECKING:
    from ...kernels.maxsim.gpu import DeviceTokens

_TOKENS = 1 << 16
"""Tokens of texts that are handled together."""


class TokenSegment(DenseSegment):
    """Rows (n,) int64, and vectors (n_tokens, dim) cut up by starts (n + 1,) int64.

    ``codes`` (n, size) int8 with ``code_scales`` (n,) float32 are the proxy's vectors; None where
    the segment is searched exhaustively. ``listed``: the lists of these; None where there are none.
    """

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject, settings: Muvera) -> None:
        super().__init__(arrays, summary)
        self.starts: Int64Array = arrays["starts"]
        self.begins: Mapping[str, Int64Array] = begins_of(self.starts, arrays.get("asked_starts"))
        """Where what each row has of each kind begins; see ``vectors.parts_of``."""
        self.dim: int = int(arrays["centroids" if "centroids" in arrays else "vectors"].shape[1])
        """Numbers in a token's vector; 0 where no text has a token."""
        self.tokens: Tokens | None = None
        """None where no text has a token."""
        if self.dim:
            self.tokens = stored_tokens(arrays, self.starts, settings.storage)
        self.codes: Array | None = arrays.get("proxy_codes")
        self.code_scales: Float32Array | None = arrays.get("proxy_scales")
        self.proxy: Proxy | None = None
        """The proxy, as it was when it was made."""
        if self.codes is not None:
            self.proxy = proxy_of(summary["proxy"], arrays)
        self.listed: SpannSegment | None = None
        if self.codes is not None and settings.spann is not None:
            self.listed = lists.opened(arrays, summary["proxy"]["spann"], settings.spann)

    def placed(self) -> Tokens | DeviceTokens:
        """The tokens where all are best scored: on a GPU, if there is one and it pays off.

        As for dense segments that is from some rows on and up to some bytes; not for residual
        codes, which would be widened there. They are copied once, and stay as long as the segment
        is open.
        """
        tokens = self.tokens
        assert tokens is not None
        fits = len(self.rows) >= gpu.LEAST_ROWS and tokens.vectors.nbytes <= gpu.MOST_BYTES
        if not fits or tokens.residual is not None:
            return tokens
        found: Tokens | DeviceTokens = self.kept("placed", lambda _: placed(tokens))
        return found


def stretches(lengths: Int64Array) -> Iterator[tuple[int, int]]:
    """Texts to handle together, from, to: of a bounded number of tokens, but at least one."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _TOKENS, side="right")))
        yield first, last
        first = last


def spread(starts: Int64Array, places: Int64Array) -> Int64Array:
    """Where the tokens of some texts are, text after text: (n_tokens,) int64."""
    first, lengths = starts[places], starts[places + 1] - starts[places]
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def sized(segment: TokenSegment, queries: TokenVectors) -> TokenVectors:
    """Queries of the segment's width; those without any token have none of their own."""
    dim = segment.dim
    if queries.vectors.shape[1] == dim or not dim:
        return queries
    if len(queries.vectors):
        raise ValueError(f"queries {queries.vectors.shape} for vectors of {dim} numbers")
    return TokenVectors(queries.starts, np.zeros((0, dim), np.float32))
