"""Which proxy a segment gets: as asked, or what needs fewer candidates on samples."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from ...contracts import Array, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.fde import Bytes
from ...kernels.maxsim import Tokens
from ...vectors import TokenVectors
from . import lemur, proxy, tuning
from .proxies import LEMUR, Proxy
from .settings import Muvera
from .threads import threads

_TRIED = 8192
"""Documents on which proxies are compared."""
SEED = 10


class Learning(NamedTuple):
    """What there is to choose and to learn from: documents, and tokens of queries if there are.

    ``asked``: (n, dim), and ``asked_starts`` (n_documents + 1,): where those begin that were taken
    out of each document. Without starts they are taken out of no document among these.
    """

    tokens: Tokens
    asked: Array | None = None
    asked_starts: Int64Array | None = None


class Chosen(NamedTuple):
    """A proxy; the candidates that each one tried needed, by its name, or why it was not tried."""

    proxy: Proxy
    tried: JsonObject | None


def chosen(learning: Learning, settings: Muvera) -> Chosen:
    """The proxy for documents; trains a network where one is asked for, or may be the better.

    With fewer than ``lemur.LEAST`` tokens to learn from it is an encoding, whatever was asked for.
    """
    learned = learned_of(learning) if settings.learns else None
    learns = learned is not None and len(learned) >= lemur.LEAST
    proxies: dict[str, Proxy] = {}
    if settings.proxy != LEMUR or not learns:
        proxies |= proxy.encodings_of(settings, learning.tokens)
    tried: JsonObject = {}
    if learned is not None and learns:
        made = lemur.fit(learning.tokens, learned, settings.features, SEED, threads())
        proxies[LEMUR] = made
    elif learned is not None:
        tried[LEMUR] = f"not tried: {len(learned)} tokens to learn from, {lemur.LEAST} needed"
    if len(proxies) == 1:
        return Chosen(next(iter(proxies.values())), tried or None)
    assert settings.target_recall is not None
    some = learning.tokens._replace(starts=learning.tokens.starts[: _TRIED + 1])
    needed: dict[str, int] = {}
    for name, one in proxies.items():
        vectors = proxy.write(one, some, _Memory(), [], threads())
        found = measured(one, some, vectors, settings.target_recall, None)
        needed[name] = found["10"]["candidates"]
    return Chosen(proxies[min(needed, key=needed.__getitem__)], needed | tried)


def measured(
    one: Proxy, tokens: Tokens, vectors: Bytes, target: float, candidates: int | None
) -> JsonObject:
    """How far to go down the proxy's list."""

    def products(queries: TokenVectors) -> Float32Array:
        return proxy.products(*vectors, one.queries(queries))

    return tuning.measure(tokens, products, target, candidates, threads())


def learned_of(learning: Learning) -> Float32Array:
    """Tokens to learn from: of queries, as many as there are, and else of documents.

    None of either kind is out of a document that samples are taken from: the measure would flatter.
    """
    random = np.random.Generator(np.random.Philox(SEED))
    tokens = learning.tokens
    free = np.ones(tokens.n_documents, np.bool_)
    for some in (tokens, tokens._replace(starts=tokens.starts[: _TRIED + 1])):
        free[tuning.sources(some)] = False
    asked = np.zeros((0, tokens.dim), np.float32)
    if learning.asked is not None:
        starts, of = learning.asked_starts, free
        if starts is None:
            starts, of = np.array([0, len(learning.asked)]), np.ones(1, np.bool_)
        drawn = _drawn(starts, of, lemur.LEARNED, random)
        asked = np.asarray(learning.asked[drawn], np.float32)
    places = _drawn(tokens.starts, free, lemur.LEARNED - len(asked), random)
    held = [tokens.widened(place, place + 1) for place in places.tolist()]
    return np.concatenate([asked, *held])


def _drawn(starts: Int64Array, free: Array, wanted: int, random: np.random.Generator) -> Int64Array:
    """Tokens of the documents that are ``free``, ascending, no more than wanted: (m,) int64.

    Memory is some bytes a document and some a token that is drawn, however many tokens there are.
    """
    ends = np.cumsum(np.where(free, np.diff(starts), 0))
    total = int(ends[-1]) if len(ends) else 0
    ranks = np.sort(random.choice(total, min(wanted, total), replace=False, shuffle=False))
    owners = np.searchsorted(ends, ranks, side="right")
    drawn: Int64Array = starts[owners + 1] - ends[owners] + ranks
    return drawn


class _Memory:
    """Where proxies go that are only tried."""

    lasting = False

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array."""
        return np.zeros(shape, dtype)

    def put(self, name: str, values: Array) -> None:
        """Nothing."""
