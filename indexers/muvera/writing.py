"""The arrays of a multi-vector segment, from encodings or from other segments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import Array, ArraySink, BoolArray, Int64Array
from ...documents import Chunk, JsonObject
from . import lists, proxy, reaching
from .choosing import Learning, chosen, measured
from .coded import trained
from .proxies import FdeProxy, Proxy
from .segment import TokenSegment, spread, stretches
from .settings import Muvera
from .threads import threads
from .vectors import begins_of, heads_of, parts_of, stored_tokens, unpack_into

_GROWN = 8
"""Times the documents that a proxy learned from, from which on it learns, and is chosen, again."""


class _Written(NamedTuple):
    """The arrays of a segment but for its proxy, and where what each row has begins."""

    rows: Int64Array
    arrays: Mapping[str, Array]
    begins: Mapping[str, Int64Array]
    cut: BoolArray
    dim: int


class _Kept(NamedTuple):
    """A proxy that a segment had, what chose it, the vectors that are there already, its lists."""

    proxy: Proxy
    tried: JsonObject | None
    known: list[proxy.Known]
    old: lists.Old | None = None


def build(chunks: Iterable[Chunk], settings: Muvera, sink: ArraySink) -> JsonObject:
    """One segment over chunks that carry their encodings, rows ascending; returns its summary."""
    rows, encodings = [], []
    for chunk in chunks:
        rows.append(chunk.row)
        encodings.append(chunk.encoding)
    heads = heads_of(encodings, settings.storage, settings.learns)
    arrays = _create(settings, heads.begins, heads.dim, sink)
    unpack_into(encodings, heads, settings.storage, arrays)
    sink.put("rows", np.array(rows, np.int64))
    written = _Written(np.array(rows, np.int64), arrays, heads.begins, heads.cut, heads.dim)
    return _finish(written, settings, sink, None)


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
    cut = np.zeros(len(rows), np.bool_)
    counts = {name: np.zeros(len(rows), np.int64) for name in ("token", "asked")}
    for segment, places, where in zip(segments, kept, into, strict=True):
        cut[where] = segment.cut[places]
        for name in counts:
            if name in segment.begins:
                counts[name][where] = np.diff(segment.begins[name])[places]
    starts, asked_starts = (np.concatenate([[0], np.cumsum(own)]) for own in counts.values())
    begins = begins_of(starts, asked_starts)
    dim = max((segment.dim for segment in segments), default=0)
    arrays = _create(settings, begins, dim, sink)
    for segment, places, where in zip(segments, kept, into, strict=True):
        for first, last in stretches(np.diff(segment.starts)[places]):
            _copy(segment, places[first:last], where[first:last], begins, arrays, settings)
    sink.put("rows", rows[order])
    written = _Written(rows[order], arrays, begins, cut, dim)
    return _finish(written, settings, sink, _kept(segments, keep, kept, into, settings))


def _create(
    settings: Muvera, begins: Mapping[str, Int64Array], dim: int, sink: ArraySink
) -> dict[str, Array]:
    return {
        part.name: sink.create(part.name, part.dtype, part.shape(int(begins[part.per][-1])))
        for part in parts_of(settings.storage, dim, settings.learns)
    }


def _copy(
    segment: TokenSegment,
    places: Int64Array,
    where: Int64Array,
    begins: Mapping[str, Int64Array],
    arrays: Mapping[str, Array],
    settings: Muvera,
) -> None:
    """What some rows of a segment have, as it is; centroids are numbered anew."""
    old = {name: spread(own, places) for name, own in segment.begins.items()}
    new = {name: spread(own, where) for name, own in begins.items()}
    for part in parts_of(settings.storage, segment.dim, settings.learns):
        if not len(old[part.per]):
            continue
        values = segment.arrays[part.name][old[part.per]]
        if part.name == "owners":
            moved = begins["centroid"][where] - segment.begins["centroid"][places]
            values = values + np.repeat(moved, np.diff(segment.starts)[places])
        arrays[part.name][new[part.per]] = values


def _kept(
    segments: Sequence[TokenSegment],
    keep: Sequence[BoolArray | None],
    kept: Sequence[Int64Array],
    into: Sequence[Int64Array],
    settings: Muvera,
) -> _Kept | None:
    """The proxy of the largest segment that has one, with the vectors that are its already.

    None where there is none, its parameters are not those wanted, or it was trained, or chosen, on
    so few documents that it is time for another. So one network, mean or set of centroids is kept
    while a collection grows eightfold: vectors of documents are made again a few times at most.
    """
    having = [number for number, one in enumerate(segments) if one.proxy is not None]
    if not having:
        return None
    number = max(having, key=lambda one: len(segments[one].rows))
    largest = segments[number]
    summary, own = largest.summary["proxy"], largest.proxy
    assert own is not None
    if summary["kind"] == "fde" and summary["fde"] != proxy.facts_of(settings, largest.dim):
        return None
    if settings.fitted and sum(map(len, kept)) > _GROWN * summary["chosen_on"]:
        return None
    known = [
        proxy.Known(segment.codes, segment.code_scales, places, where)
        for segment, places, where in zip(segments, kept, into, strict=True)
        if segment.proxy is not None
        and segment.proxy.identity == own.identity
        and segment.codes is not None
        and segment.code_scales is not None
    ]
    old = None if largest.listed is None else lists.Old(largest.listed, keep[number])
    return _Kept(own, {name: summary[name] for name in ("chosen_on", "tried")}, known, old)


def _finish(written: _Written, settings: Muvera, sink: ArraySink, kept: _Kept | None) -> JsonObject:
    """Write the proxy where it pays off, and measure it; returns the summary."""
    starts, dim = written.begins["token"], written.dim
    sink.put("starts", starts)
    sink.put("cut", written.cut)
    if settings.learns:
        sink.put("asked_starts", written.begins["asked"])
    n = len(starts) - 1
    summary: JsonObject = {
        "n_rows": n,
        "n_tokens": int(starts[-1]),
        "n_empty": int(np.count_nonzero(np.diff(starts) == 0)),
        "n_cut": int(np.count_nonzero(written.cut)),
    }
    if settings.target_recall is None or not sink.lasting or n < settings.proxy_rows or not dim:
        return summary
    tokens = stored_tokens(written.arrays, starts, settings.storage)
    if kept is None:
        asked = written.arrays.get("asked")
        choice = chosen(Learning(tokens, asked, written.begins.get("asked")), settings)
        own = choice.proxy
        if settings.codes == "pq" and isinstance(own, FdeProxy):
            own = trained(own, tokens, threads())
        kept = _Kept(own, {"chosen_on": n, "tried": choice.tried}, [])
    assert kept.tried is not None
    vectors = proxy.write(kept.proxy, tokens, sink, kept.known, threads())
    for name, values in kept.proxy.arrays().items():
        sink.put(name, values)
    facts = kept.proxy.as_json() | kept.tried
    target, candidates = settings.target_recall, settings.candidates
    if settings.spann is None:
        effort = measured(kept.proxy, tokens, vectors, target, candidates)
    else:
        listed = lists.write(written.rows, vectors, settings.spann, sink, kept.old)
        facts |= {"spann": listed.summary["spann"]}
        effort = reaching.measure(tokens, listed, kept.proxy, target, candidates, threads())
    summary["proxy"] = facts | {"measured": effort}
    return summary
