"""Texts -> the arrays of one segment."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice

import numpy as np

from ...contracts import Array, ArraySink
from ...documents import Chunk, JsonObject
from ...kernels.bm25 import build as kernel
from ...kernels.bm25 import terms
from ...kernels.bm25.codes import code_repeats
from ..analysis import Lexicon
from .writing import offsets_of, prepare, summary_of

BATCH = 4096


def build(chunks: Iterable[Chunk], lexicon: Lexicon, sink: ArraySink) -> JsonObject:
    """Write one segment over ``chunks``, rows ascending; holds four bytes a token until the end."""
    rows: list[Array] = [np.empty(0, np.int64)]
    tokens: list[Array] = [np.empty(0, np.int32)]
    lengths: list[Array] = [np.empty(0, np.int64)]
    remaining = iter(chunks)
    while batch := list(islice(remaining, BATCH)):
        batch_tokens, batch_offsets = lexicon.encode([chunk.indexed_text for chunk in batch])
        rows.append(np.array([chunk.row for chunk in batch], np.int64))
        tokens.append(batch_tokens)
        lengths.append(np.diff(batch_offsets))
    all_rows, all_lengths = np.concatenate(rows), np.concatenate(lengths)
    all_tokens = np.concatenate(tokens)
    del tokens

    packed, packed_offsets = lexicon.packed_terms()
    order = terms.order(packed, packed_offsets)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    offsets = offsets_of(all_lengths)
    distinct, frequencies, repeats = kernel.count_terms(all_tokens, offsets, ranks)
    postings = prepare(
        sink,
        all_rows,
        all_lengths,
        distinct,
        frequencies,
        repeats,
        *terms.take(packed, packed_offsets, order),
    )
    kernel.invert(all_tokens, offsets, ranks, postings)
    code_repeats(postings)
    return summary_of(postings)
