"""The arrays of a multi-vector segment, from encodings or from other segments."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
from numpy.typing import DTypeLike

from ...contracts import Array, ArraySink, BoolArray, Float32Array, Int64Array
from ...documents import Chunk, JsonObject
from ...kernels.fde import Fde
from ...kernels.maxsim import Tokens, tokens_of
from ...vectors import TokenVectors
from . import proxy, tuning
from .segment import TokenSegment, spread
from .settings import Muvera
from .threads import threads
from .vectors import DTYPES, heads_of, unpack_into

_TOKENS = 1 << 16
"""Tokens copied at a time when segments are merged."""
_QUERIES = 16
_TRIED = 8192
"""Documents on which is tried whether to fill empty cells."""


def build(chunks: Iterable[Chunk], settings: Muvera, sink: ArraySink) -> JsonObject:
    """One segment over chunks that carry their encodings, rows ascending; returns its summary."""
    rows, encodings = [], []
    for chunk in chunks:
        rows.append(chunk.row)
        encodings.append(chunk.encoding)
    heads = heads_of(encodings, settings.storage)
    arrays = _create(settings, int(heads.starts[-1]), heads.dim, sink)
    unpack_into(encodings, heads, arrays["vectors"], arrays.get("scales"))
    sink.put("rows", np.array(rows, np.int64))
    sink.put("starts", heads.starts)
    sink.put("cut", heads.cut)
    return _finish(arrays, heads.starts, heads.cut, settings, sink, None)


def merge(
    segments: Sequence[TokenSegment],
    keep: Sequence[BoolArray | None],
    settings: Muvera,
    sink: ArraySink,
) -> JsonObject:
    """One segment of several, in row order; vectors and proxies are copied, recall is measured."""
    kept = [
        np.arange(len(segment.rows)) if mask is None else np.flatnonzero(mask)
        for segment, mask in zip(segments, keep, strict=True)
    ]
    rows = np.concatenate([s.rows[places] for s, places in zip(segments, kept, strict=True)])
    order = np.argsort(rows, kind="stable")
    target = np.empty(len(rows), np.int64)  # where each row, as concatenated, goes
    target[order] = np.arange(len(rows))
    ends = np.cumsum([len(places) for places in kept])
    into = np.split(target, ends[:-1])
    lengths, cut = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.bool_)
    for segment, places, where in zip(segments, kept, into, strict=True):
        lengths[where] = np.diff(segment.starts)[places]
        cut[where] = segment.cut[places]
    starts = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=starts[1:])
    arrays = _create(settings, int(starts[-1]), max((s.dim for s in segments), default=0), sink)
    for segment, places, where in zip(segments, kept, into, strict=True):
        for first, last in _blocks(np.diff(segment.starts)[places]):
            old, new = spread(segment.starts, places[first:last]), spread(starts, where[first:last])
            if len(old):
                arrays["vectors"][new] = segment.vectors[old]
                if segment.scales is not None:
                    arrays["scales"][new] = segment.scales[old]
    sink.put("rows", rows[order])
    sink.put("starts", starts)
    sink.put("cut", cut)
    return _finish(arrays, starts, cut, settings, sink, _known(segments, kept, into, settings))


def _create(settings: Muvera, n_tokens: int, dim: int, sink: ArraySink) -> dict[str, Array]:
    arrays = {"vectors": sink.create("vectors", DTYPES[settings.storage], (n_tokens, dim))}
    if settings.storage == "int8":
        arrays["scales"] = sink.create("scales", np.float32, (n_tokens,))
    return arrays


def _blocks(lengths: Int64Array) -> Iterator[tuple[int, int]]:
    """Texts to copy together, from, to: of a bounded number of tokens, but at least one."""
    ends = np.cumsum(lengths)
    first = 0
    while first < len(lengths):
        before = ends[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _TOKENS, side="right")))
        yield first, last
        first = last


def _known(
    segments: Sequence[TokenSegment],
    kept: Sequence[Int64Array],
    into: Sequence[Int64Array],
    settings: Muvera,
) -> tuple[list[proxy.Known], bool] | None:
    """The proxies' vectors that segments have already, and whether they were filled.

    Only those made with these parameters, and like those of the largest such segment.
    """
    dim = max((segment.dim for segment in segments), default=0)
    wanted = proxy.fde_of(settings, dim) if dim else None
    having = [segment for segment in segments if segment.fde is not None and segment.fde == wanted]
    if not having:
        return None
    filled: bool = max(having, key=lambda one: len(one.rows)).summary["proxy"]["filled"]
    known = [
        proxy.Known(segment.codes, segment.code_scales, places, where)
        for segment, places, where in zip(segments, kept, into, strict=True)
        if segment in having
        and segment.summary["proxy"]["filled"] == filled
        and segment.codes is not None
        and segment.code_scales is not None
    ]
    return known, filled


def _finish(
    arrays: dict[str, Array],
    starts: Int64Array,
    cut: BoolArray,
    settings: Muvera,
    sink: ArraySink,
    begun: tuple[list[proxy.Known], bool] | None,
) -> JsonObject:
    """Write the proxy where it pays off, and measure it; returns the summary."""
    n, dim = len(starts) - 1, arrays["vectors"].shape[1]
    summary: JsonObject = {
        "n_rows": n,
        "n_tokens": int(starts[-1]),
        "n_empty": int(np.count_nonzero(np.diff(starts) == 0)),
        "n_cut": int(np.count_nonzero(cut)),
    }
    if settings.target_recall is None or not sink.lasting or n < settings.proxy_rows or not dim:
        return summary
    vectors = arrays["vectors"].view(np.ndarray)
    tokens = tokens_of(vectors, starts, scales=arrays.get("scales"))
    fde = proxy.fde_of(settings, dim)
    known, filled = begun or ([], _chosen_fill(fde, tokens, settings))
    written = proxy.write(fde, tokens, sink, known, filled, threads())
    summary["proxy"] = {
        "kind": "fde",
        "size": fde.size,
        "fde": dataclasses.asdict(fde),
        "filled": filled,
        "measured": _measured(fde, tokens, written),
    }
    return summary


def _chosen_fill(fde: Fde, tokens: Tokens, settings: Muvera) -> bool:
    """Whether to fill empty cells: as asked, or what needs fewer candidates on some documents."""
    if settings.fill is not None:
        return settings.fill
    assert settings.target_recall is not None
    some = tokens._replace(starts=tokens.starts[: _TRIED + 1])
    needed = []
    for filled in (True, False):
        written = proxy.write(fde, some, _Memory(), [], filled, threads())
        measured = _measured(fde, some, written)
        needed.append(tuning.effort_of_all(measured, 10, settings.target_recall, None).candidates)
    return needed[0] <= needed[1]


class _Memory:
    """Where proxies go that are only tried."""

    lasting = False

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array."""
        return np.zeros(shape, dtype)

    def put(self, name: str, values: Array) -> None:
        """Nothing."""


def _measured(fde: Fde, tokens: Tokens, written: dict[str, Array]) -> JsonObject:
    ranks = partial(_ranks, fde, written["proxy_codes"], written["proxy_scales"])
    return tuning.measure(tokens, ranks, threads())


def _ranks(
    fde: Fde, codes: Array, scales: Float32Array, queries: TokenVectors, places: Int64Array
) -> Int64Array:
    """How many documents the proxy puts before each of a query's places: (n_queries, m)."""
    asked = proxy.encoded(fde, queries)
    ranks = np.zeros(places.shape, np.int64)
    for first in range(0, len(asked), _QUERIES):
        scores = proxy.products(codes, scales, asked[first : first + _QUERIES])
        for number, own in enumerate(scores, first):
            wanted = own[places[number]]
            ranks[number] = len(own) - np.searchsorted(np.sort(own), wanted, side="right")
    return ranks
