"""The index from rows to ids: what turns a ranking into hits without asking SQLite for each.

It is built, merged and checked like every other index, under the reserved name ``ids``, and answers
no query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..contracts import Array, ArraySink, BoolArray, Int64Array
from ..documents import Chunk, JsonObject
from ..ranking import NO_ROW

IDS = "ids"
_FEW = 32


@dataclass(frozen=True, slots=True)
class IdSegment:
    """Rows and what they belong to.

    ``documents[i]`` is the first row of the document of ``rows[i]``; its id is
    ``text[offsets[i]:offsets[i + 1]]`` in UTF-8.
    """

    rows: Int64Array
    documents: Int64Array
    offsets: Int64Array
    text: Array


class IdIndex:
    """Row -> (document's first row, id)."""

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write rows, documents, offsets and the ids' bytes."""
        rows, documents, lengths = [], [], [0]
        text = bytearray()
        for chunk in chunks:
            rows.append(chunk.row)
            documents.append(chunk.document)
            text += chunk.id.encode()
            lengths.append(len(text))
        sink.put("rows", np.array(rows, np.int64))
        sink.put("documents", np.array(documents, np.int64))
        sink.put("offsets", np.array(lengths, np.int64))
        sink.put("text", np.frombuffer(bytes(text), np.uint8))
        return {"n_rows": len(rows)}

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> IdSegment:
        """A segment from its arrays."""
        return IdSegment(arrays["rows"], arrays["documents"], arrays["offsets"], arrays["text"])

    def merge(
        self, segments: Sequence[IdSegment], keep: Sequence[BoolArray | None], sink: ArraySink
    ) -> JsonObject:
        """Write one segment of several, in row order."""
        kept = [
            np.arange(len(segment.rows)) if mask is None else np.flatnonzero(mask)
            for segment, mask in zip(segments, keep, strict=True)
        ]
        rows = np.concatenate([s.rows[k] for s, k in zip(segments, kept, strict=True)])
        order = np.argsort(rows, kind="stable")
        documents = np.concatenate([s.documents[k] for s, k in zip(segments, kept, strict=True)])
        lengths = np.concatenate(
            [np.diff(s.offsets)[k] for s, k in zip(segments, kept, strict=True)]
        )
        # Where each kept id starts in the segments' texts laid end to end.
        shift = np.cumsum([0, *(len(s.text) for s in segments)])[:-1]
        starts = np.concatenate(
            [s.offsets[:-1][k] + by for s, k, by in zip(segments, kept, shift, strict=True)]
        )
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(lengths[order], out=offsets[1:])
        text = np.concatenate([s.text for s in segments])
        positions = np.repeat(starts[order] - offsets[:-1], lengths[order])
        positions += np.arange(offsets[-1])
        sink.put("rows", rows[order])
        sink.put("documents", documents[order])
        sink.put("offsets", offsets)
        sink.put("text", text[positions])
        return {"n_rows": len(rows)}

    def check(self, segment: IdSegment) -> list[str]:
        """What is inconsistent in a segment."""
        problems = []
        if np.any(np.diff(segment.rows) <= 0):
            problems.append("rows do not ascend")
        if np.any(segment.documents > segment.rows):
            problems.append("a row comes before its document")
        if segment.offsets[0] != 0 or segment.offsets[-1] != len(segment.text):
            problems.append("offsets do not span the text")
        if np.any(np.diff(segment.offsets) <= 0):
            problems.append("an id is empty")
        return problems

    def describe(self, segments: Sequence[IdSegment]) -> JsonObject:
        """How many rows it knows."""
        return {"rows": sum(len(segment.rows) for segment in segments)}


def look_up(segments: Sequence[IdSegment], rows: Int64Array) -> tuple[Int64Array, list[str]]:
    """(documents (n,) int64, ids) of rows (n,), in their order; NO_ROW where nobody holds one."""
    documents = np.full(len(rows), NO_ROW, np.int64)
    ids = [""] * len(rows)
    for segment in segments:
        places, here = _places(segment.rows, rows)
        if not len(here):
            continue
        documents[here] = segment.documents[places]
        names = _texts(segment, places)
        if len(here) == len(rows):
            return documents, names
        for place, name in zip(here.tolist(), names, strict=True):
            ids[place] = name
    return documents, ids


def _places(known: Int64Array, rows: Int64Array) -> tuple[Int64Array, Int64Array]:
    """(where in ``known``, which of ``rows``) for the rows that are known."""
    if not len(known):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    if known[-1] - known[0] == len(known) - 1:  # without gaps, a row's place is a subtraction
        places = rows - known[0]
        here = np.flatnonzero((places >= 0) & (places < len(known)))
        return places[here], here
    places = np.searchsorted(known, rows)
    places[places == len(known)] = 0
    here = np.flatnonzero(known[places] == rows)
    return places[here], here


def _texts(segment: IdSegment, places: Int64Array) -> list[str]:
    """The ids at places: their bytes are gathered and decoded in one go."""
    if len(places) <= _FEW:
        text, offsets = segment.text.data, segment.offsets
        return [str(text[offsets[p] : offsets[p + 1]], "utf-8") for p in places.tolist()]
    starts = segment.offsets[places]
    lengths = segment.offsets[places + 1] - starts
    ends = np.cumsum(lengths)
    gathered = segment.text[np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1])]
    raw = gathered.tobytes()
    cuts = [0, *ends.tolist()]
    if raw.isascii():
        text = raw.decode("ascii")
        return [text[a:b] for a, b in pairwise(cuts)]
    return [raw[a:b].decode() for a, b in pairwise(cuts)]
