"""Fixed dimensional encodings as product codes: a byte for eight numbers.

A group of eight numbers is a byte that names one of 256 centroids (``kernels/fde/codes.py``), which
are trained on some of a segment's documents and kept with it. What is coded is the encoding
divided by its length, which is kept as the scale. Queries stay float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...contracts import Array, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.fde import Bytes, Product, product_quantiser, score_product
from ...kernels.fde.codes import CENTROIDS
from ...kernels.maxsim import Tokens, tokens_of
from ...kernels.maxsim.cpu import run, shares
from ...vectors import TokenVectors
from .proxies import FdeProxy, digest_of

GROUP = 8
LEARNED = 4096
"""Documents that centroids are trained on,"""
_NUMBERS = 1 << 24
"""as long as their encodings have no more numbers than this; but at least 256."""
_AT_ONCE = 128
SEED = 12


@dataclass(frozen=True, slots=True)
class Tabled:
    """Queries that are asked of product codes: (n, size) float32, size a multiple of ``GROUP``."""

    encodings: Float32Array
    product: Product

    def __len__(self) -> int:
        """N."""
        return len(self.encodings)

    def __getitem__(self, places: slice | list[int] | Int64Array) -> Tabled:
        """Some of them."""
        return Tabled(self.encodings[places], self.product)

    def products(self, codes: Array) -> Float32Array:
        """Inner products with what codes stand for: (n, n_documents) float32."""
        return score_product(self.encodings, self.product, codes)


@dataclass(frozen=True, eq=False)
class Coded:
    """Encodings of ``plain`` as codes of ``product``."""

    plain: FdeProxy
    product: Product

    @classmethod
    def of(cls, plain: FdeProxy, arrays: Mapping[str, Array]) -> Coded:
        """The one that a segment holds."""
        return cls(plain, Product(arrays["proxy_centroids"]))

    @property
    def size(self) -> int:
        """Bytes in a code."""
        return len(self.product.centroids)

    @cached_property
    def identity(self) -> str:
        """That of the encodings, and a digest of the centroids."""
        return f"{self.plain.identity} {digest_of({'': self.product.centroids})}"

    @property
    def at_once(self) -> int:
        """See :class:`~.proxies.Proxy`."""
        return self.plain.at_once

    def documents(self, tokens: Tokens, threads: int) -> Bytes:
        """See :class:`~.proxies.Proxy`; the codes are (n, size) uint8."""
        directions, lengths = _directions(self.plain, tokens, threads)
        codes: Array = np.empty((len(directions), self.size), np.uint8)

        def task(first: int, last: int) -> Callable[[], None]:
            def work() -> None:
                codes[first:last] = self.product.encode(directions[first:last])

            return work

        run([task(first, last) for first, last in shares(len(codes), threads)])
        return Bytes(codes, lengths)

    def queries(self, queries: TokenVectors) -> Tabled:
        """See :class:`~.proxies.Proxy`; not rounded."""
        return Tabled(_whole(self.plain.asked(queries)), self.product)

    def as_json(self) -> JsonObject:
        """See :class:`~.proxies.Proxy`."""
        return self.plain.as_json() | {"size": self.size, "codes": "pq"}

    def arrays(self) -> dict[str, Array]:
        """The centroids, and what the encodings keep."""
        return self.plain.arrays() | {"proxy_centroids": self.product.centroids}

    def is_of(self, made: Bytes, kept: Bytes) -> bool:
        """To the last bit, like the encodings."""
        return self.plain.is_of(made, kept)


def trained(plain: FdeProxy, tokens: Tokens, threads: int) -> Coded:
    """Centroids for the encodings of these documents, 256 or more, learned from some of them."""
    n = tokens.n_documents
    wanted = min(n, LEARNED, max(CENTROIDS, _NUMBERS // plain.size))
    drawn = np.sort(np.random.Generator(np.random.Philox(SEED)).permutation(n)[:wanted])
    sample = np.empty((wanted, -(-plain.size // GROUP) * GROUP), np.float32)
    step = min(_AT_ONCE, plain.at_once)
    for first in range(0, wanted, step):
        cuts = [tokens.starts[place : place + 2].tolist() for place in drawn[first : first + step]]
        starts = np.cumsum([0, *(end - begin for begin, end in cuts)])
        held = np.concatenate([tokens.widened(begin, end) for begin, end in cuts])
        sample[first : first + step] = _directions(plain, tokens_of(held, starts), threads)[0]
    return Coded(plain, product_quantiser(sample, GROUP, seed=SEED))


def _directions(plain: FdeProxy, tokens: Tokens, threads: int) -> tuple[Float32Array, Float32Array]:
    """Encodings of length 1, or of zeros, and how long they were."""
    encodings = _whole(plain.encoded(tokens, threads))
    lengths = np.empty(len(encodings), np.float32)
    for number, own in enumerate(encodings):  # one after the other: the same bits on any machine
        lengths[number] = np.sqrt(np.cumsum(np.square(own, dtype=np.float64))[-1])
    divisors = np.where(lengths > 0, lengths, 1).astype(np.float32)
    return encodings / divisors[:, None], lengths


def _whole(encodings: Float32Array) -> Float32Array:
    """With zeros at the end, so that there are whole groups."""
    missing = -encodings.shape[1] % GROUP
    return np.pad(encodings, ((0, 0), (0, missing))) if missing else encodings


def problems_of(arrays: Mapping[str, Array], groups: int) -> list[str]:
    """Arrays that are no product codes of so many groups."""
    centroids = arrays.get("proxy_centroids")
    if centroids is None or centroids.dtype != np.float32:
        return ["the proxy's centroids are not there"]
    if centroids.shape != (groups, CENTROIDS, GROUP):
        return ["the proxy's centroids do not fit its codes"]
    if not np.isfinite(centroids).all():
        return ["the proxy's centroids are not finite"]
    return []
