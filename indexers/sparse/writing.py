"""The arrays of a sparse segment, from encodings or from other segments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, ArraySink, BoolArray, Int64Array
from ...documents import Chunk, JsonObject
from ...kernels.postings import build as kernel
from ...kernels.postings.layout import NARROW, Impacts
from . import packing, tuning, vocabulary
from .segment import SparseSegment, frozen
from .vocabulary import Vocabulary


def build(chunks: Iterable[Chunk], flat_queries: bool | None, sink: ArraySink) -> JsonObject:
    """One segment over chunks that carry their encodings, rows ascending; returns its summary.

    ``flat_queries``: see :func:`.tuning.measure`.
    """
    rows: list[int] = []

    def encodings() -> Iterable[bytes]:
        for chunk in chunks:
            rows.append(chunk.row)
            yield chunk.encoding

    vectors, words, cut = packing.unpack(encodings())
    if vectors.tokens is not None:
        known, places = vocabulary.of_tokens(vectors.tokens)
        terms = places[vectors.terms]
        word_starts, word_places = np.zeros(len(rows) + 1, np.int64), np.zeros(0, np.int64)
    else:
        spoken = np.zeros(0, np.int64) if words is None else words.terms
        known = vocabulary.of_numbers(np.unique(np.concatenate([vectors.terms, spoken])))
        terms, word_places = known.find(vectors.terms, None), known.find(spoken, None)
        word_starts = np.zeros(len(rows) + 1, np.int64) if words is None else words.starts
    terms, weights = _sorted(vectors.starts, terms, vectors.weights)
    dtype = _dtype(known)
    sink.put("rows", np.array(rows, np.int64))
    sink.put("cut", cut)
    sink.put("word_starts", word_starts)
    sink.put("words", word_places.astype(dtype))
    facts = {
        "rows": np.array(rows, np.int64),
        "starts": vectors.starts,
        "terms": terms.astype(dtype),
        "weights": weights.astype(np.float32),
    }
    for name in ("starts", "terms", "weights"):
        sink.put(name, facts[name])
    return _finish(sink, known, facts, flat_queries, int(np.count_nonzero(cut)))


def _sorted(
    starts: Int64Array, terms: Int64Array, weights: NDArray[np.float32]
) -> tuple[Int64Array, NDArray[np.float32]]:
    """Terms ascending in each document: tokens came in the order they were first seen."""
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    order = np.lexsort((terms, owners))
    return terms[order], weights[order]


def merge(
    segments: Sequence[SparseSegment],
    keep: Sequence[BoolArray | None],
    flat_queries: bool | None,
    sink: ArraySink,
) -> JsonObject:
    """One segment of the rows of several that ``keep`` lets through, in row order."""
    kept = [
        np.arange(len(segment.rows)) if mask is None else np.flatnonzero(mask)
        for segment, mask in zip(segments, keep, strict=True)
    ]
    rows = _joined([s.rows[places] for s, places in zip(segments, kept, strict=True)], np.int64)
    order = np.argsort(rows, kind="stable")
    target = np.empty(len(rows), np.int64)
    target[order] = np.arange(len(rows))
    used = [_used(segment, places) for segment, places in zip(segments, kept, strict=True)]
    known = vocabulary.union(
        [s.vocabulary.taken(terms) for s, terms in zip(segments, used, strict=True)]
    )
    dtype = _dtype(known)
    cut = np.zeros(len(rows), np.bool_)
    lengths, word_lengths = np.zeros(len(rows), np.int64), np.zeros(len(rows), np.int64)
    first = 0
    targets = []
    for segment, places in zip(segments, kept, strict=True):
        into = target[first : first + len(places)]
        first += len(places)
        targets.append(into)
        lengths[into] = np.diff(segment.impacts.starts)[places]
        word_lengths[into] = np.diff(segment.words.starts)[places]
        cut[into] = segment.cut[places]
    starts, word_starts = kernel.offsets_of(lengths), kernel.offsets_of(word_lengths)
    facts = {"rows": rows[order], "starts": starts}
    terms = facts["terms"] = sink.create("terms", dtype, (int(starts[-1]),)).view(np.ndarray)
    weights = facts["weights"] = sink.create("weights", np.float32, terms.shape).view(np.ndarray)
    words = sink.create("words", dtype, (int(word_starts[-1]),)).view(np.ndarray)
    for segment, places, into in zip(segments, kept, targets, strict=True):
        new = vocabulary.places_in(segment.vocabulary, known)
        old = segment.impacts
        kernel.copy(old.starts, old.terms, places, new, starts, terms, into)
        kernel.copy_weights(old.starts, old.weights, places, starts, weights, into)
        kernel.copy(*segment.words, places, new, word_starts, words, into)
    for name, values in (
        ("rows", facts["rows"]),
        ("starts", starts),
        ("word_starts", word_starts),
        ("cut", cut),
    ):
        sink.put(name, values)
    return _finish(sink, known, facts, flat_queries, int(np.count_nonzero(cut)))


def _used(segment: SparseSegment, places: Int64Array) -> Int64Array:
    """The places in the vocabulary of all terms and words of some documents, ascending."""
    there = np.zeros(segment.vocabulary.size, np.bool_)
    kept = np.zeros(len(segment.rows), np.bool_)
    kept[places] = True
    for starts, terms in ((segment.impacts.starts, segment.impacts.terms), segment.words):
        there[terms[np.repeat(kept, np.diff(starts))]] = True
    return np.flatnonzero(there)


def _joined(parts: Sequence[Array], dtype: Any) -> Array:
    return np.concatenate([np.empty(0, dtype), *parts])


def _dtype(known: Vocabulary) -> Any:
    return np.uint16 if known.size <= NARROW else np.uint32


def _finish(
    sink: ArraySink,
    known: Vocabulary,
    facts: dict[str, Array],
    flat_queries: bool | None,
    n_cut: int,
) -> JsonObject:
    """Write the vocabulary and all that is inverted; returns the summary."""
    for name, values in known._asdict().items():
        sink.put(name, values)
    impacts = invert(facts, known.size, sink)
    return {
        "n_rows": len(impacts.rows),
        "n_terms": known.size,
        "n_postings": len(impacts.terms),
        "n_cut": n_cut,
        "n_empty": int(np.count_nonzero(np.diff(impacts.starts) == 0)),
        "terms_are": "tokens" if known.of_tokens else "numbers",
        "recalls": tuning.measure(frozen(impacts), flat_queries) if sink.lasting else [],
    }


def invert(facts: dict[str, Array], n_terms: int, sink: ArraySink) -> Impacts:
    """Write what follows from rows, starts, terms and weights."""
    return kernel.invert(
        facts["rows"], facts["starts"], facts["terms"], facts["weights"], n_terms, sink.create
    )
