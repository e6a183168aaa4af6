"""The index from rows to ids: what turns a ranking into hits without asking SQLite for each.

It is built, merged and checked like every other index, under the reserved name ``ids``, and answers
no query.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from ..contracts import Array, ArraySink, BoolArray, Int64Array
from ..documents import Chunk, JsonObject
from ..ranking import NO_ROW

IDS = "ids"
_FEW, _BLOCK = 32, 4096
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


class _Part(NamedTuple):
    """What is kept of a segment: places (m,) ascending; None: all of them."""

    segment: IdSegment
    kept: Int64Array | None

    @property
    def size(self) -> int:
        """M."""
        return len(self.segment.rows if self.kept is None else self.kept)

    @property
    def ends(self) -> Int64Array:
        """The first row and the last."""
        ends: Int64Array = self.segment.rows[[0, -1] if self.kept is None else self.kept[[0, -1]]]
        return ends

    def at(self, chosen: slice | Int64Array) -> slice | Int64Array:
        """Where in the segment some of what is kept is."""
        return chosen if self.kept is None else self.kept[chosen]

    def blocks(self) -> Iterator[slice | Int64Array]:
        """All that is kept, a block at a time."""
        for first in range(0, self.size, _BLOCK):
            yield self.at(slice(first, min(first + _BLOCK, self.size)))


class _Block(NamedTuple):
    """Rows that follow each other: places in segments, end to end, and the order to put them in."""

    places: list[tuple[IdSegment, slice | Int64Array]]
    order: Int64Array | slice = slice(None)

    @property
    def rows(self) -> Int64Array:
        """(m,)."""
        rows: Int64Array = np.concatenate([segment.rows[at] for segment, at in self.places])
        return rows[self.order]

    @property
    def back(self) -> Array:
        """(m,)."""
        return np.concatenate([_back(segment, at) for segment, at in self.places])[self.order]

    @property
    def names(self) -> Names:
        """(m,), numbers if all of them are."""
        parts = [_kept(segment.names, at) for segment, at in self.places]
        return parts[0] if len(parts) == 1 else _ordered(parts, self.order)


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
        parts = [
            _Part(segment, None if mask is None else np.flatnonzero(mask))
            for segment, mask in zip(segments, keep, strict=True)
        ]
        return _merged(parts, sink)

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


def _merged(parts: Sequence[_Part], sink: ArraySink) -> JsonObject:
    """Straight into the sink's arrays: beside the blocks, memory holds tables of rows at most."""
    texts = any(isinstance(part.segment.names, Texts) for part in parts)
    farthest, largest, n_bytes = 0, 0, 0
    for segment, at in [(part.segment, at) for part in parts for at in part.blocks()]:
        farthest = max(farthest, int(_back(segment, at).max()))
        if texts:
            n_bytes += _n_bytes(segment.names, at)
        else:
            largest = max(largest, int(segment.names[at].max()))
    n = sum(part.size for part in parts)
    rows = sink.create("rows", np.int64, (n,))
    back = sink.create("back", _kind(farthest), (n if farthest else 0,))
    if texts:
        offsets = sink.create("offsets", _kind(n_bytes), (n + 1,))
        text = sink.create("text", np.uint8, (n_bytes,))
    else:
        numbers = sink.create("numbers", _kind(largest), (n,))
    first = begin = 0
    for block in _in_order(parts):
        own = block.rows
        last = first + len(own)
        rows[first:last] = own
        if farthest:
            back[first:last] = block.back
        if not texts:
            numbers[first:last] = block.names
        else:
            names = _as_texts(block.names)
            end = begin + len(names.text)
            offsets[first + 1 : last + 1] = names.offsets[1:] + begin
            text[begin:end] = names.text
            begin = end
        first = last
    return {"n_rows": n}


def _in_order(parts: Sequence[_Part]) -> Iterator[_Block]:
    """All that is kept, by row."""
    parts = [part for part in parts if part.size]
    after = sorted(parts, key=lambda part: int(part.ends[0]))
    if all(one.ends[1] < next.ends[0] for one, next in pairwise(after)):
        for part in after:
            yield from (_Block([(part.segment, at)]) for at in part.blocks())
        return
    order = np.argsort(
        np.concatenate([part.segment.rows[part.at(slice(None))] for part in parts]), kind="stable"
    )
    ends = np.cumsum([part.size for part in parts])
    for first in range(0, len(order), _BLOCK):
        chosen = order[first : first + _BLOCK]
        owners = np.searchsorted(ends, chosen, side="right")
        each = [np.flatnonzero(owners == number) for number in range(len(parts))]
        places = [
            (part.segment, part.at(chosen[own] - (end - part.size)))
            for part, end, own in zip(parts, ends, each, strict=True)
            if len(own)
        ]
        order_here = np.empty(len(chosen), np.int64)
        order_here[np.concatenate(each)] = np.arange(len(chosen))
        yield _Block(places, order_here)


def _back(segment: IdSegment, at: slice | Int64Array) -> Array:
    return segment.back[at] if len(segment.back) else np.zeros(len(segment.rows[at]), np.uint8)


def _narrowed(values: Array) -> Array:
    """Numbers, not negative, in as few bytes each as hold the largest."""
    return values.astype(_kind(int(values.max(initial=0))))


def _kind(largest: int) -> type[np.integer[Any]]:
    return next(kind for kind in _KINDS if largest <= np.iinfo(kind).max)


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


def _kept(names: Names, places: slice | Int64Array) -> Names:
    """Some of the ids."""
    if not isinstance(names, Texts):
        return names[places]
    if isinstance(places, slice):
        offsets = names.offsets[places.start : places.stop + 1].astype(np.int64)
        return Texts(offsets - offsets[0], names.text[offsets[0] : offsets[-1]])
    starts = names.offsets[:-1][places].astype(np.int64)
    lengths = names.offsets[1:][places].astype(np.int64) - starts
    offsets = np.zeros(len(places) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    text = np.empty(int(offsets[-1]), np.uint8)
    for first in range(0, len(places), _BLOCK):
        block = slice(first, first + _BLOCK)
        begin, end = offsets[first], offsets[min(first + _BLOCK, len(places))]
        positions = np.repeat(starts[block] - offsets[:-1][block], lengths[block])
        positions += np.arange(begin, end)
        text[begin:end] = names.text[positions]
    return Texts(offsets, text)


def _n_bytes(names: Names, at: slice | Int64Array) -> int:
    """What some of the ids take as texts."""
    if not isinstance(names, Texts):
        return len(_as_texts(names[at]).text)
    return int((names.offsets[1:][at] - names.offsets[:-1][at]).sum())


def _as_texts(names: Names) -> Texts:
    return names if isinstance(names, Texts) else _joined(map(str, names.tolist()))


def _ordered(parts: Sequence[Names], order: Int64Array | slice) -> Names:
    """The ids of several, laid end to end and put in an order; numbers if all of them are."""
    numbers = [part for part in parts if not isinstance(part, Texts)]
    if len(numbers) == len(parts):
        return np.concatenate(numbers)[order]
    texts = [_as_texts(part) for part in parts]
    shift = np.cumsum([0, *(len(part.text) for part in texts)])
    offsets = [part.offsets[:-1] + by for part, by in zip(texts, shift, strict=False)]
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
