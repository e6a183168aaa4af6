"""Which proxy a segment gets: as asked, or what needs fewer candidates on samples."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ...contracts import Array, Float32Array
from ...documents import JsonObject
from ...kernels.fde import Bytes
from ...kernels.maxsim import Tokens
from ...vectors import TokenVectors
from . import lemur, proxy, tuning
from .proxies import FDE, LEMUR, FdeProxy, Proxy
from .settings import Muvera
from .threads import threads

_TRIED = 8192
"""Documents on which proxies are compared."""
SEED = 10


class Learning(NamedTuple):
    """What there is to choose and to learn from: documents, and tokens of queries if there are."""

    tokens: Tokens
    asked: Array | None


class Chosen(NamedTuple):
    """A proxy; and where it was chosen, the candidates that each needed, by its name."""

    proxy: Proxy
    tried: JsonObject | None


def chosen(learning: Learning, settings: Muvera) -> Chosen:
    """The proxy for documents; trains a network where one is asked for, or may be the better."""
    proxies = dict(_proxies(learning, settings))
    if len(proxies) == 1:
        return Chosen(next(iter(proxies.values())), None)
    assert settings.target_recall is not None
    some = learning.tokens._replace(starts=learning.tokens.starts[: _TRIED + 1])
    tried = {}
    for name, one in proxies.items():
        vectors = proxy.write(one, some, _Memory(), [], threads())
        tried[name] = measured(one, some, vectors, settings.target_recall, None)["10"]["candidates"]
    return Chosen(proxies[min(tried, key=tried.__getitem__)], tried)


def measured(
    one: Proxy, tokens: Tokens, vectors: Bytes, target: float, candidates: int | None
) -> JsonObject:
    """How far to go down the proxy's list."""

    def products(queries: TokenVectors) -> Float32Array:
        return proxy.products(*vectors, one.queries(queries))

    return tuning.measure(tokens, products, target, candidates, threads())


def _proxies(learning: Learning, settings: Muvera) -> Iterator[tuple[str, Proxy]]:
    """By name; of those that need equally many the first is taken."""
    if settings.proxy != LEMUR:
        fde = proxy.fde_of(settings, learning.tokens.dim)
        if settings.fill is not False:
            yield "fde filled", FdeProxy(fde, True)
        if settings.fill is not True:
            yield FDE, FdeProxy(fde, False)
    if settings.proxy != FDE:
        learned = learned_of(learning)
        yield LEMUR, lemur.fit(learning.tokens, learned, settings.features, SEED, threads())


def learned_of(learning: Learning) -> Float32Array:
    """Tokens to learn from: of queries, as many as there are, and else of documents.

    No document that samples are taken from is among the latter: the measure would flatter.
    """
    random = np.random.Generator(np.random.Philox(SEED))
    asked = np.zeros((0, learning.tokens.dim), np.float32)
    if learning.asked is not None and len(learning.asked):
        drawn = np.sort(random.permutation(len(learning.asked))[: lemur.LEARNED])
        asked = np.asarray(learning.asked[drawn], np.float32)
    tokens = learning.tokens
    free = np.ones(len(tokens.vectors), np.bool_)
    for some in (tokens, tokens._replace(starts=tokens.starts[: _TRIED + 1])):
        for place in tuning.sources(some).tolist():
            free[tokens.starts[place] : tokens.starts[place + 1]] = False
    places = random.permutation(np.flatnonzero(free))[: lemur.LEARNED - len(asked)]
    held = [tokens.widened(place, place + 1) for place in np.sort(places).tolist()]
    return np.concatenate([asked, *held])


class _Memory:
    """Where proxies go that are only tried."""

    lasting = False

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array."""
        return np.zeros(shape, dtype)

    def put(self, name: str, values: Array) -> None:
        """Nothing."""
