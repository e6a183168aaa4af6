"""What a proxy is, and the two there are.

A proxy makes one vector of a passage and one of a query, whose inner product guesses their MaxSim.
Both are rounded to a byte a number, but for product codes (:mod:`.coded`). A new proxy is a class
with these members and a branch in :func:`proxy_of`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ...contracts import Array, Float32Array
from ...documents import JsonObject
from ...kernels.fde import Bytes, Fde, as_bytes, encode_documents, encode_queries
from ...kernels.maxsim import Tokens
from ...vectors import TokenVectors

if TYPE_CHECKING:
    from .coded import Tabled

FDE, LEMUR = "fde", "lemur"
_NUMBERS = 1 << 22
"""Numbers that are encoded at a time: 16 MiB, and some copies of it as they are rounded."""
_DOCUMENTS = 2048


class Proxy(Protocol):
    """Makes the vectors that find candidates."""

    @property
    def size(self) -> int:
        """Numbers in a vector."""

    @property
    def identity(self) -> str:
        """Proxies of one identity give the same vectors: those of one can be kept by the other."""

    @property
    def at_once(self) -> int:
        """Documents to encode at a time, so that memory stays bounded."""

    def documents(self, tokens: Tokens, threads: int) -> Bytes:
        """Documents as bytes, with a scale each."""

    def queries(self, queries: TokenVectors) -> Array | Tabled:
        """Queries as bytes, (n, size) int8: a query's own scale does not change its order."""

    def as_json(self) -> JsonObject:
        """What a segment's summary says of it, ``kind`` and ``size`` among it."""

    def arrays(self) -> dict[str, Array]:
        """What a segment keeps of it besides."""

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """Whether vectors that were kept are those that were made again."""


@dataclasses.dataclass(frozen=True, eq=False)
class FdeProxy:
    """Fixed dimensional encodings; see :mod:`cormorant.kernels.fde`.

    ``mean``: (dim,) float32, taken from each token of a document, and from any before it is hashed.
    """

    fde: Fde
    filled: bool
    mean: Float32Array | None = None

    @property
    def at_once(self) -> int:
        """See :class:`Proxy`."""
        return min(_DOCUMENTS, max(1, _NUMBERS // self.size))

    @property
    def size(self) -> int:
        """Numbers in an encoding."""
        return self.fde.size

    @cached_property
    def identity(self) -> str:
        """Its parameters, and a digest of the mean."""
        mean = "" if self.mean is None else f" {digest_of(self.arrays())}"
        return f"{self.fde} {self.filled}{mean}"

    def documents(self, tokens: Tokens, threads: int) -> Bytes:
        """See :class:`Proxy`."""
        return as_bytes(self.encoded(tokens, threads))

    def encoded(self, tokens: Tokens, threads: int) -> Float32Array:
        """Documents before they are rounded: (n, size) float32."""
        return encode_documents(
            self.fde, tokens, mean=self.mean, filled=self.filled, threads=threads
        )

    def queries(self, queries: TokenVectors) -> Array:
        """See :class:`Proxy`."""
        asked = np.empty((len(queries), self.size), np.int8)
        for first in range(0, len(queries), self.at_once):
            own = slice(first, first + self.at_once)
            asked[own] = as_bytes(self.asked(queries[own])).codes
        return asked

    def asked(self, queries: TokenVectors) -> Float32Array:
        """Queries before they are rounded: (n, size) float32."""
        return encode_queries(self.fde, queries, mean=self.mean)

    def as_json(self) -> JsonObject:
        """See :class:`Proxy`."""
        fde = dataclasses.asdict(self.fde)
        facts = {"kind": FDE, "size": self.size, "fde": fde, "filled": self.filled}
        return facts | {"centred": self.mean is not None, "codes": "int8"}

    def arrays(self) -> dict[str, Array]:
        """The mean, if there is one."""
        return {} if self.mean is None else {"proxy_mean": self.mean}

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """To the last bit: the same on every machine."""
        same: bool = (made.codes == kept.codes).all() and (made.scales == kept.scales).all()
        return same


def proxy_of(summary: JsonObject, arrays: Mapping[str, Array]) -> Proxy:
    """The proxy that a segment's summary and arrays say."""
    if summary["kind"] == FDE:
        mean = arrays["proxy_mean"] if summary.get("centred") else None
        plain = FdeProxy(Fde(**summary["fde"]), summary["filled"], mean)
        if summary.get("codes") != "pq":
            return plain
        from .coded import Coded

        return Coded.of(plain, arrays)
    from .lemur import Lemur

    return Lemur.of(summary, arrays)


def digest_of(arrays: Mapping[str, Array]) -> str:
    """What names some arrays by what is in them."""
    digest = hashlib.sha256()
    for values in arrays.values():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()[:16]
