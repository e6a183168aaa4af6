"""The proxy: one vector a passage, whose inner products guess which passages have a high MaxSim.

Both sides are rounded to a byte a number, so that a product is a sum of integers, exact whatever
computes it and in whatever batch: the candidates of a query do not depend on its neighbours. Where
documents are product codes a query is not rounded, and sums go group by group in any batch.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Array, ArraySink, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.fde import Bytes, Fde
from ...kernels.maxsim import Tokens
from ...ranking import NO_ROW
from . import coded, lemur, tuning
from .coded import Coded, Tabled
from .proxies import FDE, LEMUR, FdeProxy, Proxy
from .settings import Muvera

_BLOCK = 16_384
"""Documents scored at a time: their scores stay small beside the codes,"""
_BYTES = 1 << 26
"""as long as their codes are no more bytes than this."""
_COLUMNS = (1 << 17) - 1
"""Products of two bytes whose sum is within 32 bits, whatever they are."""
_TOKENS = 1 << 14
"""Tokens whose mean is taken at a time."""
_QUERIES = 64
_PRODUCT, _COPY = 20, 30
"""What a code costs beside one query's arithmetic: to be read where it lies, and to be copied. Of
16,384 codes of 2,560 bytes one query takes 2.3 ms where they lie, and 1.9, 4.4 and 8 ms by copies
of a third, half and all; 64 queries 16 ms, and 5, 10 and 20."""


class Known(NamedTuple):
    """Codes that are there already: the documents ``places`` of these become ``into``."""

    codes: Array
    scales: Float32Array
    places: Int64Array
    into: Int64Array


def fde_of(settings: Muvera, dim: int) -> Fde:
    """The parameters of the encoding for tokens of ``dim`` numbers.

    Raises InputError where it would have too many; see ``Muvera.check_width``.
    """
    d_proj = settings.d_proj
    if d_proj is None:
        settings.check_width(dim)
    elif d_proj >= dim:
        d_proj = None  # would make a token longer, not shorter
    return Fde(
        dim=dim,
        k_sim=settings.k_sim,
        r_reps=settings.r_reps,
        d_proj=d_proj,
        d_final=settings.d_final,
    )


def facts_of(settings: Muvera, dim: int) -> JsonObject:
    """The same as a segment's summary says them."""
    return asdict(fde_of(settings, dim))


def encodings_of(settings: Muvera, tokens: Tokens) -> dict[str, FdeProxy]:
    """By name those that are to be tried; of equally good ones the first is taken."""
    fde = fde_of(settings, tokens.dim)
    fills = (True, False) if settings.fill is None else (settings.fill,)
    centres = (False, True) if settings.centre is None else (settings.centre,)
    mean = mean_of(tokens) if True in centres else None
    return {
        f"{FDE}{' filled' if filled else ''}{' centred' if centred else ''}": FdeProxy(
            fde, filled, mean if centred else None
        )
        for centred in centres
        for filled in fills
    }


def mean_of(tokens: Tokens) -> Float32Array:
    """The mean of all tokens of some documents: (dim,) float32."""
    total = np.zeros(tokens.dim)
    first, last = int(tokens.starts[0]), int(tokens.starts[-1])
    for begin in range(first, last, _TOKENS):
        total += tokens.widened(begin, min(last, begin + _TOKENS)).sum(axis=0, dtype=np.float64)
    mean: Float32Array = (total / max(1, last - first)).astype(np.float32)
    return mean


def write(
    proxy: Proxy, tokens: Tokens, sink: ArraySink, known: Sequence[Known], threads: int
) -> Bytes:
    """Write ``proxy_codes`` and ``proxy_scales`` of all documents, a bounded number at a time."""
    n = tokens.n_documents
    codes = sink.create("proxy_codes", _type_of(isinstance(proxy, Coded)), (n, proxy.size))
    scales = sink.create("proxy_scales", np.float32, (n,))
    missing = np.ones(n, np.bool_)
    for old in known:
        for first in range(0, len(old.places), proxy.at_once):
            own = slice(first, first + proxy.at_once)
            codes[old.into[own]] = old.codes[old.places[own]]
        scales[old.into] = old.scales[old.places]
        missing[old.into] = False
    for first, last in _runs(missing):
        for begin in range(first, last, proxy.at_once):
            end = min(last, begin + proxy.at_once)
            some = tokens._replace(starts=tokens.starts[begin : end + 1])
            codes[begin:end], scales[begin:end] = proxy.documents(some, threads)
    return Bytes(codes, scales)


def best(
    codes: Array, scales: Float32Array, asked: Array | Tabled, n: int, places: Int64Array | None
) -> Int64Array:
    """The n places of the greatest products of each query, greatest first: (n_queries, n) int64.

    ``places``: those that may be found, ascending (None: all); -1 where there are fewer. Of equal
    products the lower place comes first.
    """
    found = np.full((len(asked), n), NO_ROW, np.int64)
    for first in range(0, len(asked), _QUERIES):
        some = asked[first : first + _QUERIES]
        found[first : first + len(some)] = _best(codes, scales, some, n, places)
    return found


def _best(
    codes: Array, scales: Float32Array, asked: Array | Tabled, n: int, places: Int64Array | None
) -> Int64Array:
    none = _Listed(np.zeros(0, np.int64), np.zeros(0, np.float32), -np.inf)
    held = [none] * len(asked)
    for here, sums in _scanned(codes, asked, places):
        for number, new in enumerate(sums * scales[here]):
            held[number] = _with(held[number], here, new, n)
    result = np.full((len(asked), n), NO_ROW, np.int64)
    for number, own in enumerate(held):
        order = np.argsort(-own.scores, kind="stable")  # places ascend
        result[number, : len(order)] = own.places[order]
    return result


def _scanned(
    codes: Array, asked: Array | Tabled, places: Int64Array | None
) -> Iterator[tuple[Int64Array, Float32Array]]:
    """Some places at a time, ascending, and their sums: (m,) int64, (n_queries, m) float32."""
    step = _step(codes)
    if places is None:
        for first in range(0, len(codes), step):
            last = min(len(codes), first + step)
            yield np.arange(first, last), _sums(codes[first:last], asked)
        return
    first = 0
    while first < len(places):
        begin = int(places[first])
        within = int(np.searchsorted(places, begin + step))
        here = places[first:within]
        end = int(here[-1]) + 1
        if _is_worth_it(len(here), min(step, len(codes) - begin), asked):
            sums = _sums(codes[begin:end], asked)
            yield here, sums if len(here) == end - begin else sums[:, here - begin]
            first = within
        else:
            here = places[first : first + step]
            yield here, _sums(codes[here], asked)
            first += step


def _is_worth_it(passing: int, n: int, asked: Array | Tabled) -> bool:
    """Whether to multiply n codes where they lie for those that pass, or to copy these.

    Product codes take longer to look up than to copy.
    """
    if isinstance(asked, Tabled):
        return passing == n
    each = _PRODUCT + len(asked)
    return passing * (each + _COPY) > n * each


class _Listed(NamedTuple):
    """The greatest products of a query until now: places ascend, and ``least`` must be exceeded."""

    places: Int64Array
    scores: Float32Array
    least: float


def _with(held: _Listed, places: Int64Array, scores: Float32Array, n: int) -> _Listed:
    """With those of more places: the n greatest; of those equal to the least, the first."""
    new = np.flatnonzero(scores > held.least)
    places = np.concatenate([held.places, places[new]])
    scores = np.concatenate([held.scores, scores[new]])
    if len(scores) < n or not n:
        return _Listed(places[:n], scores[:n], held.least)
    least = np.partition(scores, len(scores) - n)[len(scores) - n]
    kept = scores > least
    level = np.flatnonzero(scores == least)
    kept[level[: n - np.count_nonzero(kept)]] = True
    return _Listed(places[kept], scores[kept], float(least))


def products(codes: Array, scales: Float32Array, asked: Array | Tabled) -> Float32Array:
    """All products of a few queries: (n_queries, n_documents) float32."""
    found = np.empty((len(asked), len(codes)), np.float32)
    step = _step(codes)
    for first in range(0, len(codes), step):
        block = slice(first, first + step)
        found[:, block] = _sums(codes[block], asked) * scales[block]
    return found


def _step(codes: Array) -> int:
    """Documents to score at a time."""
    return max(1, min(_BLOCK, _BYTES // max(1, int(codes.shape[1]))))


def _sums(codes: Array, asked: Array | Tabled) -> Float32Array:
    """Exact sums of products of bytes: (n_queries, n_documents) float32, each rounded once."""
    if isinstance(asked, Tabled):
        return asked.products(codes)
    import torch

    left, right = torch.from_numpy(np.ascontiguousarray(asked)), torch.from_numpy(_writable(codes))
    sums: Any = _product(left[:, :_COLUMNS], right[:, :_COLUMNS])
    for first in range(_COLUMNS, codes.shape[1], _COLUMNS):
        own = slice(first, first + _COLUMNS)
        sums = sums.to(torch.int64) + _product(left[:, own], right[:, own])
    rounded: Float32Array = sums.to(torch.float32).numpy()
    return rounded


def _product(left: Any, right: Any) -> Any:
    """Sums of products of bytes: (m, dim) and (n, dim) int8 -> (m, n) int32."""
    import torch

    if _adds_in_32_bits():
        return torch._int_mm(left, right.T)
    halves = right >> 1
    return 2 * torch._int_mm(left, halves.T) + torch._int_mm(left, (right - 2 * halves).T)


@cache
def _adds_in_32_bits() -> bool:
    """Whether torch's products of bytes are those of any bytes.

    An x86 processor without VNNI adds two products in 16 bits, where they saturate. It is exact for
    bytes of the second matrix from -64 to 64.
    """
    import torch

    left = torch.full((2, 512), 127, dtype=torch.int8)
    left[1] = -127
    found = torch._int_mm(left, left.repeat(32, 1).T)
    return bool((found == (left.int() @ left.repeat(32, 1).int().T)).all())


def _type_of(coded: bool) -> type[np.int8 | np.uint8]:
    return np.uint8 if coded else np.int8


def _writable(array: Array) -> Array:
    """A view that torch takes without a warning; nothing writes to it.

    Arrays mapped from files are read-only, which torch has no notion of.
    """
    held = np.ascontiguousarray(array)
    if held.flags.writeable or not held.size:
        return held
    raw: Any = (ctypes.c_int8 * held.size).from_address(held.ctypes.data)
    view: Array = np.frombuffer(raw, np.int8).reshape(held.shape)
    raw._held = held  # the memory lives as long as the view does
    return view


def _runs(mask: BoolArray) -> list[tuple[int, int]]:
    """Stretches of True: from, to."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def problems_of(arrays: Mapping[str, Array], summary: JsonObject, dim: int) -> list[str]:
    """Arrays that do not fit the segment."""
    if summary["measured"].keys() != {str(depth) for depth in tuning.DEPTHS}:
        return ["its proxy was measured in another way by another version: add the index again"]
    codes, scales = arrays.get("proxy_codes"), arrays.get("proxy_scales")
    if codes is None or scales is None:
        return ["the proxy's vectors are not there"]
    n = len(arrays["rows"])
    is_coded = summary.get("codes") == "pq"
    if codes.dtype != _type_of(is_coded) or codes.shape != (n, summary["size"]):
        return ["the proxy's vectors do not fit the rows"]
    if scales.dtype != np.float32 or scales.shape != (n,):
        return ["the proxy's scales do not fit the rows"]
    if summary["kind"] == LEMUR:
        return lemur.problems_of(arrays, summary["size"], dim)
    mean = arrays.get("proxy_mean")
    if summary.get("centred") and (mean is None or mean.dtype != np.float32):
        return ["the proxy's mean is not there"]
    if mean is not None and (mean.shape != (dim,) or not np.isfinite(mean).all()):
        return ["the proxy's mean does not fit the vectors"]
    return coded.problems_of(arrays, summary["size"]) if is_coded else []
