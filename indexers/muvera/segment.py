"""A multi-vector segment: rows, their token vectors, and the proxy that finds candidates."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...contracts import Array, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.fde import Fde
from ...kernels.maxsim import Tokens, tokens_of
from ..dense.segment import DenseSegment


class TokenSegment(DenseSegment):
    """Rows (n,) int64, and vectors (n_tokens, dim) cut up by starts (n + 1,) int64.

    ``codes`` (n, size) int8 with ``code_scales`` (n,) float32 are the proxy's vectors; None where
    the segment is searched exhaustively.
    """

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject) -> None:
        super().__init__(arrays, summary)
        self.starts: Int64Array = arrays["starts"]
        self.scales: Float32Array | None = arrays.get("scales")
        self.tokens: Tokens | None = None
        """None where no text has a token."""
        if self.vectors.shape[1]:
            self.tokens = tokens_of(self.vectors, self.starts, scales=self.scales)
        self.codes: Array | None = arrays.get("proxy_codes")
        self.code_scales: Float32Array | None = arrays.get("proxy_scales")
        self.fde: Fde | None = None
        """The proxy's parameters, as they were when it was made."""
        if self.codes is not None:
            self.fde = Fde(**summary["proxy"]["fde"])

    @property
    def dim(self) -> int:
        """Numbers in a token's vector; 0 where no text has a token."""
        return int(self.vectors.shape[1])


def spread(starts: Int64Array, places: Int64Array) -> Int64Array:
    """Where the tokens of some texts are, text after text: (n_tokens,) int64."""
    first, lengths = starts[places], starts[places + 1] - starts[places]
    before = np.cumsum(lengths) - lengths
    return np.repeat(first - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)
