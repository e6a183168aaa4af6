"""The arrays of a segment, made ready to be filled: what building and merging have in common."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ...contracts import Array, ArraySink, Int64Array
from ...documents import JsonObject
from ...kernels.bm25 import build as kernel
from ...kernels.bm25 import terms
from ...kernels.bm25.layout import Postings


def prepare(
    sink: ArraySink,
    rows: Int64Array,
    lengths: Int64Array,
    distinct: Int64Array,
    frequencies: NDArray[np.int32],
    repeats: Int64Array,
    vocabulary: NDArray[np.uint8],
    vocabulary_offsets: Int64Array,
) -> Postings:
    """Write all that follows from counts; returns the arrays, those of postings still empty.

    rows, lengths, distinct (n,): of each document, in row order, its row and how many terms it has,
    repeats counted or not; frequencies, repeats (v,): in how many documents each term is, and in
    how many more than once.
    """

    def put(name: str, values: Array) -> Array:
        sink.put(name, values)
        return values

    def create(name: str, dtype: DTypeLike, size: int) -> Array:
        return sink.create(name, dtype, (size,))

    numbers, positions = kernel.number_documents(lengths)
    by_number = lengths[positions].astype(np.uint32)
    document_offsets = offsets_of(distinct[positions])
    repeat_offsets = offsets_of(repeats)
    lists, n_listed, n_bitmap_words = kernel.plan_lists(frequencies, len(rows))
    return Postings(
        rows=put("rows", rows),
        numbers=put("numbers", numbers),
        positions=put("positions", positions),
        lengths=put("lengths", by_number),
        word_lengths=put("word_lengths", by_number[::64].copy()),
        document_offsets=put("document_offsets", document_offsets),
        document_terms=create("document_terms", np.uint32, int(document_offsets[-1])),
        document_frequencies=put("document_frequencies", frequencies),
        lists=put("lists", lists),
        listed=create("listed", np.uint32, n_listed),
        bitmaps=create("bitmaps", np.uint64, n_bitmap_words),
        repeat_offsets=put("repeat_offsets", repeat_offsets),
        repeat_documents=create("repeat_documents", np.uint32, int(repeat_offsets[-1])),
        repeat_counts=create("repeat_counts", np.int32, int(repeat_offsets[-1])),
        repeat_codes=create("repeat_codes", np.uint8, int(repeat_offsets[-1])),
        vocabulary=put("vocabulary", vocabulary),
        vocabulary_offsets=put("vocabulary_offsets", vocabulary_offsets),
        vocabulary_prefixes=put(
            "vocabulary_prefixes", terms.prefixes(vocabulary, vocabulary_offsets)
        ),
    )


def offsets_of(sizes: Int64Array) -> Int64Array:
    """Where things of these sizes begin, one after the other, and where the last ends."""
    offsets = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def summary_of(postings: Postings) -> JsonObject:
    """What the catalog keeps beside the arrays."""
    return {
        "n_documents": len(postings.rows),
        "total_length": int(postings.lengths.sum(dtype=np.int64)),
        "n_terms": len(postings.lists),
        "n_postings": len(postings.document_terms),
    }
