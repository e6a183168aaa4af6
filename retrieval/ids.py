"""The index from rows to ids: what turns a ranking into hits without asking SQLite for each.

It is built, merged and checked like every other index, under the reserved name ``ids``, and answers
no query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, TypeAlias

import numpy as np

from ..contracts import Array, ArraySink, BoolArray, Int64Array
from ..documents import Chunk, JsonObject
from ..ranking import NO_ROW

IDS = "ids"
_FEW, _BLOCK = 32, 65_536
_KINDS = (np.uint8, np.uint16, np.uint32, np.int64)
_DIGITS = 18
"""Of a number that is kept as one: it fits 64 bits."""


class Texts(NamedTuple):
    """Ids: the i-th is ``text[offsets[i]:offsets[i + 1]]`` in UTF-8."""

    offsets: Array
    text: Array


Names: TypeAlias = Array | Texts
"""Ids: numbers where every one of them is a number as Python writes it, not negative."""


@dataclass(frozen=True, slots=True)
class IdSegment:
    """Rows (n,), ids, and how many rows before it each row's document begins.

    ``back`` is empty where every row begins its document.
    """

    rows: Int64Array
    back: Array
    names: Names


class IdIndex:
    """Row -> (document's first row, id), in as few bytes as will do: all may stay in memory."""

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write rows, where documents begin, and ids."""
        rows, back, ids = [], [], []
        for chunk in chunks:
            rows.append(chunk.row)
            back.append(chunk.row - chunk.document)
            ids.append(chunk.id)
        numbers = _numbers(ids)
        names = _joined(ids) if numbers is None else numbers
        return _write(sink, np.array(rows, np.int64), np.array(back, np.int64), names)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> IdSegment:
        """A segment from its arrays."""
        names: Names = (
            arrays["numbers"] if "numbers" in arrays else Texts(arrays["offsets"], arrays["text"])
        )
        return IdSegment(arrays["rows"], arrays["back"], names)

    def merge(
        self, segments: Sequence[IdSegment], keep: Sequence[BoolArray | None], sink: ArraySink
    ) -> JsonObject:
        """Write one segment of several, in row order."""
        kept = [
            np.arange(len(segment.rows)) if mask is None else np.flatnonzero(mask)
            for segment, mask in zip(segments, keep, strict=True)
        ]
        pairs = list(zip(segments, kept, strict=True))
        rows = np.concatenate([segment.rows[k] for segment, k in pairs])
        order = np.argsort(rows, kind="stable")
        back = np.concatenate(
            [segment.back[k] if len(segment.back) else np.zeros(len(k)) for segment, k in pairs]
        ).astype(np.int64)
        parts = [_kept(segment.names, k) for segment, k in pairs]
        return _write(sink, rows[order], back[order], _ordered(parts, order))

    def check(self, segment: IdSegment) -> list[str]:
        """What is inconsistent in a segment."""
        problems = []
        if np.any(np.diff(segment.rows) <= 0):
            problems.append("rows do not ascend")
        names, n = segment.names, len(segment.rows)
        n_names = len(names.offsets) - 1 if isinstance(names, Texts) else len(names)
        if n_names != n or len(segment.back) not in (0, n):
            problems.append("there are not as many ids as rows")
        elif len(segment.back) and np.any(segment.back > segment.rows):
            problems.append("a document begins before the first row")
        if not isinstance(names, Texts):
            if np.any(names < 0):
                problems.append("an id is below zero")
            return problems
        if names.offsets[0] != 0 or names.offsets[-1] != len(names.text):
            problems.append("offsets do not span the text")
        if np.any(names.offsets[1:] <= names.offsets[:-1]):
            problems.append("an id is empty")
        return problems

    def describe(self, segments: Sequence[IdSegment]) -> JsonObject:
        """How many rows it knows."""
        return {"rows": sum(len(segment.rows) for segment in segments)}


def _write(sink: ArraySink, rows: Int64Array, back: Int64Array, names: Names) -> JsonObject:
    sink.put("rows", rows)
    sink.put("back", _narrowed(back) if back.any() else np.zeros(0, np.uint8))
    if isinstance(names, Texts):
        sink.put("offsets", _narrowed(names.offsets))
        sink.put("text", names.text)
    else:
        sink.put("numbers", _narrowed(names))
    return {"n_rows": len(rows)}


def _narrowed(values: Array) -> Array:
    """Numbers, not negative, in as few bytes each as hold the largest."""
    largest = int(values.max(initial=0))
    return values.astype(next(kind for kind in _KINDS if largest <= np.iinfo(kind).max))


def _numbers(ids: Sequence[str]) -> Array | None:
    """Ids as numbers; None unless each is what Python writes for one, of 18 digits at most."""
    plain = all(
        id.isascii() and id.isdecimal() and len(id) <= _DIGITS and (id[0] != "0" or id == "0")
        for id in ids
    )
    return np.array([int(id) for id in ids], np.int64) if plain else None


def _joined(ids: Iterable[str]) -> Texts:
    encoded = [id.encode() for id in ids]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(id) for id in encoded], out=offsets[1:])
    return Texts(offsets, np.frombuffer(b"".join(encoded), np.uint8))


def _kept(names: Names, places: Int64Array) -> Names:
    """Some of the ids."""
    if not isinstance(names, Texts):
        return names[places]
    starts = names.offsets[:-1][places].astype(np.int64)
    lengths = names.offsets[1:][places].astype(np.int64) - starts
    offsets = np.zeros(len(places) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    text = np.empty(int(offsets[-1]), np.uint8)
    for first in range(0, len(places), _BLOCK):
        block = slice(first, first + _BLOCK)
        begin, end = offsets[first], offsets[min(first + _BLOCK, len(places))]
        positions = np.repeat(starts[block] - offsets[:-1][block], lengths[block])
        text[begin:end] = names.text[positions + np.arange(begin, end)]
    return Texts(offsets, text)


def _ordered(parts: Sequence[Names], order: Int64Array) -> Names:
    """The ids of several, laid end to end and put in an order; numbers if all of them are."""
    numbers = [part for part in parts if not isinstance(part, Texts)]
    if len(numbers) == len(parts):
        return np.concatenate(numbers)[order]
    texts = [
        part if isinstance(part, Texts) else _joined(map(str, part.tolist())) for part in parts
    ]
    shift = np.cumsum([0, *(len(part.text) for part in texts)])
    offsets = [
        part.offsets[:-1].astype(np.int64) + by for part, by in zip(texts, shift, strict=False)
    ]
    whole = Texts(
        np.concatenate([*offsets, shift[-1:]]), np.concatenate([part.text for part in texts])
    )
    return _kept(whole, order)


def look_up(segments: Sequence[IdSegment], rows: Int64Array) -> tuple[Int64Array, list[str]]:
    """(documents (n,) int64, ids) of rows (n,), in their order; NO_ROW where nobody holds one."""
    documents = np.full(len(rows), NO_ROW, np.int64)
    ids = [""] * len(rows)
    for segment in segments:
        if not len(segment.rows):
            continue
        places, known = _places(segment.rows, rows)
        if known.all():  # as with one segment
            return _documents(segment, rows, places), _texts(segment.names, places)
        here = np.flatnonzero(known)
        documents[here] = _documents(segment, rows[here], places[here])
        for place, name in zip(here.tolist(), _texts(segment.names, places[here]), strict=True):
            ids[place] = name
    return documents, ids


def _documents(segment: IdSegment, rows: Int64Array, places: Int64Array) -> Int64Array:
    """The documents of a segment's rows, which are at these places."""
    if not len(segment.back):
        return rows.copy()
    documents: Int64Array = rows - segment.back[places].astype(np.int64)
    return documents


def _places(known: Int64Array, rows: Int64Array) -> tuple[Int64Array, BoolArray]:
    """Where in ``known``, of which there are some, rows are; and which of them are there."""
    first = known[0]
    if known[-1] - first == len(known) - 1:  # without gaps, a row's place is a subtraction
        places = rows - first
        return places, places.view(np.uint64) < len(known)
    places = np.searchsorted(known, rows)
    places[places == len(known)] = 0
    return places, known[places] == rows


def _texts(names: Names, places: Int64Array) -> list[str]:
    """The ids at places."""
    if not isinstance(names, Texts):
        return list(map(str, names[places].tolist()))
    if len(places) <= _FEW:
        text, offsets = names.text.data, names.offsets
        return [str(text[offsets[p] : offsets[p + 1]], "utf-8") for p in places.tolist()]
    gathered = _kept(names, places)
    assert isinstance(gathered, Texts)
    raw, cuts = gathered.text.tobytes(), gathered.offsets.tolist()
    if raw.isascii():
        text_of = raw.decode("ascii")
        return [text_of[a:b] for a, b in pairwise(cuts)]
    return [raw[a:b].decode() for a, b in pairwise(cuts)]
