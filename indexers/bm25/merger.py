"""Segments -> one segment of the documents to keep, as if it had been built of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import ArraySink, BoolArray, Int64Array
from ...documents import JsonObject
from ...kernels.bm25 import build as kernel
from ...kernels.bm25 import terms
from ...kernels.bm25.codes import code_repeats
from .segment import BM25Segment, View
from .writing import prepare, summary_of

Vocabulary: TypeAlias = tuple[NDArray[np.uint8], Int64Array]


def merge(
    segments: Sequence[BM25Segment], keep: Sequence[BoolArray | None], sink: ArraySink
) -> JsonObject:
    """Write one segment of the rows of several that ``keep`` lets through; terms left by all go."""
    old = [segment.postings for segment in segments]
    kept = [
        np.arange(len(p.rows)) if mask is None else np.flatnonzero(mask)
        for p, mask in zip(old, keep, strict=True)
    ]
    numbers = [p.numbers[positions] for p, positions in zip(old, kept, strict=True)]
    rows = _joined([p.rows[positions] for p, positions in zip(old, kept, strict=True)])
    lengths = _joined(
        [p.lengths[some].astype(np.int64) for p, some in zip(old, numbers, strict=True)]
    )
    distinct = _joined(
        [np.diff(p.document_offsets)[some] for p, some in zip(old, numbers, strict=True)]
    )
    in_row_order = np.argsort(rows)

    counts = [kernel.count_kept(p, some) for p, some in zip(old, numbers, strict=True)]
    vocabulary = _union(
        [
            terms.take(p.vocabulary, p.vocabulary_offsets, np.flatnonzero(frequencies))
            for p, (frequencies, _) in zip(old, counts, strict=True)
        ]
    )
    prefixes = terms.prefixes(*vocabulary)
    new_terms = [terms.find(p.vocabulary, p.vocabulary_offsets, *vocabulary, prefixes) for p in old]
    frequencies, repeats = np.zeros(len(prefixes), np.int32), np.zeros(len(prefixes), np.int64)
    for places, (own_frequencies, own_repeats) in zip(new_terms, counts, strict=True):
        known = places >= 0
        frequencies[places[known]] += own_frequencies[known]
        repeats[places[known]] += own_repeats[known]

    new = prepare(
        sink,
        rows[in_row_order],
        lengths[in_row_order],
        distinct[in_row_order],
        frequencies,
        repeats,
        *vocabulary,
    )
    new_numbers = np.empty(len(rows), np.int64)
    new_numbers[in_row_order] = new.numbers
    next_place, next_repeat = new.lists.copy(), new.repeat_offsets[:-1].copy()
    start = 0
    for p, some, places in zip(old, numbers, new_terms, strict=True):
        renumbered = np.full(len(p.rows), -1, np.int64)
        renumbered[some] = new_numbers[start : start + len(some)]
        start += len(some)
        kernel.copy_kept(p, renumbered, places, new, next_place, next_repeat)
    kernel.sort_lists(new)
    code_repeats(new)
    return summary_of(new)


def all_terms(segments: Sequence[BM25Segment]) -> Vocabulary:
    """Every term of any segment, ascending: UTF-8, and where each term begins and ends."""
    return _union([(s.postings.vocabulary, s.postings.vocabulary_offsets) for s in segments])


def all_frequencies(segments: Sequence[BM25Segment], views: Sequence[View]) -> Int64Array:
    """In how many documents in view each term of any segment is, in the order of the terms."""
    old = [segment.postings for segment in segments]
    vocabulary = all_terms(segments)
    prefixes = terms.prefixes(*vocabulary)
    frequencies = np.zeros(len(prefixes), np.int64)
    for p, view in zip(old, views, strict=True):
        own = view.document_frequencies(np.arange(len(p.lists)))
        frequencies[terms.find(p.vocabulary, p.vocabulary_offsets, *vocabulary, prefixes)] += own
    return frequencies


def _union(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    nothing = np.empty(0, np.uint8), np.zeros(1, np.int64)
    return reduce(lambda a, b: terms.union(*a, *b), vocabularies, nothing)


def _joined(parts: Sequence[Int64Array]) -> Int64Array:
    return np.concatenate([np.empty(0, np.int64), *parts])
