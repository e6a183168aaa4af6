"""What a proxy is, and the two there are.

A proxy makes one vector of a passage and one of a query, whose inner product guesses their MaxSim.
Both are rounded to a byte a number. A new proxy is a class with these members and a branch in
:func:`proxy_of`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol

from ...contracts import Array
from ...documents import JsonObject
from ...kernels.fde import Bytes, Fde, as_bytes, encode_documents, encode_queries
from ...kernels.maxsim import Tokens
from ...vectors import TokenVectors

FDE, LEMUR = "fde", "lemur"


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

    def queries(self, queries: TokenVectors) -> Array:
        """Queries as bytes, (n, size) int8: a query's own scale does not change its order."""

    def as_json(self) -> JsonObject:
        """What a segment's summary says of it, ``kind`` and ``size`` among it."""

    def arrays(self) -> dict[str, Array]:
        """What a segment keeps of it besides."""

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """Whether vectors that were kept are those that were made again."""


@dataclasses.dataclass(frozen=True)
class FdeProxy:
    """Fixed dimensional encodings; see :mod:`cormorant.kernels.fde`."""

    fde: Fde
    filled: bool
    at_once = 2048

    @property
    def size(self) -> int:
        """Numbers in an encoding."""
        return self.fde.size

    @property
    def identity(self) -> str:
        """All of it is in its parameters."""
        return repr(self)

    def documents(self, tokens: Tokens, threads: int) -> Bytes:
        """See :class:`Proxy`."""
        return as_bytes(encode_documents(self.fde, tokens, filled=self.filled, threads=threads))

    def queries(self, queries: TokenVectors) -> Array:
        """See :class:`Proxy`."""
        return as_bytes(encode_queries(self.fde, queries)).codes

    def as_json(self) -> JsonObject:
        """See :class:`Proxy`."""
        fde = dataclasses.asdict(self.fde)
        return {"kind": FDE, "size": self.size, "fde": fde, "filled": self.filled}

    def arrays(self) -> dict[str, Array]:
        """None."""
        return {}

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """To the last bit: the same on every machine."""
        same: bool = (made.codes == kept.codes).all() and (made.scales == kept.scales).all()
        return same


def proxy_of(summary: JsonObject, arrays: Mapping[str, Array]) -> Proxy:
    """The proxy that a segment's summary and arrays say."""
    if summary["kind"] == FDE:
        return FdeProxy(Fde(**summary["fde"]), summary["filled"])
    from .lemur import Lemur

    return Lemur.of(summary, arrays)
