"""Exact top-k of BM25 in numba.

A document that has some query terms once each scores ``(sum of their weights) / (1 + norm)``.
Documents are numbered by length, so a stretch of them has one norm, nearly; what is left to find
is which documents gather most weight:

1. Weights are rounded up to small integers and added in one byte per document: a frequent term's
   64 documents at a time from its bitmap, a rare term's document by document. A term that occurs
   f times in a document adds another ``norm * (f - 1) / (f + norm)`` of its weight.
2. Of each block of documents, the largest byte in each of 64 lanes is noted. The k-th largest of
   these, by what it makes of a score, guesses the bar that a hit must reach.
3. Where a block reaches the bar, its documents that do go through a heap, highest bound first, and
   get their true score from their own terms, until the next bound is under the k-th best score.
   Some k + 10 documents are scored.
4. Had the bar been guessed too high, 3 goes on below it, down to the k-th best score.

Later segments and windows start with a bar that k documents reach already. There the frequent
terms of least weight that together cannot lift a document over it are left out of 1 (MaxScore:
Turtle & Flood 1995), and looked up for the few documents of 3.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from . import heaps, lanes
from . import sums as bounds
from .codes import CODES, gains_of_codes
from .lanes import pointer
from .layout import (
    Best,
    Float32Array,
    Float64Array,
    Int64Array,
    Postings,
    Queries,
    Saturation,
    UInt8Array,
    UInt64Array,
    words,
)
from .scoring import (
    Source,
    Table,
    enter,
    first_from,
    gain,
    leave,
    norm_of,
    queries_of,
    score,
    score_document,
    source_of,
    table_for,
)
from .sums import BLOCK_WORDS, MOST, blocks, byte

__all__ = ["score", "search"]

WINDOW = 1 << 18
"""Documents whose bytes are kept at a time: 256 KiB, which a core's second cache holds."""
GUESS = 0.9
"""The k-th best score is seldom so far below the k-th largest bound."""
SLACK = 0.3
"""How much of the bar the terms left out may weigh: more leaves out more terms, and lets more
documents come near it."""
GROUP = 16
"""Documents whose terms are fetched at a time, so that memory answers for all at once."""

UNBOUNDED = 1e300
MARGIN = 1e-5
"""Relative, between a bound and the bar: more than the rounding of either."""

count_words = njit(nogil=True, cache=True)(words)


class Scratch(NamedTuple):
    """Room for one query at a time."""

    sums: UInt8Array
    peaks: UInt8Array
    heights: Float64Array
    gains: Float32Array
    repeat_steps: UInt8Array
    steps: UInt8Array
    next_place: Int64Array
    next_repeat: Int64Array
    by_weight: Int64Array
    used_rows: Int64Array
    used_steps: UInt8Array
    near_bounds: Float32Array
    near: Int64Array


@njit(nogil=True, cache=True)
def scratch_for(postings: Postings, saturation: Saturation, n_terms: int, k: int) -> Scratch:
    """Room for queries of at most n_terms terms."""
    n_words = count_words(min(len(postings.lengths), WINDOW))
    return Scratch(
        np.empty(64 * n_words, np.uint8),
        np.empty(64 * blocks(n_words), np.uint8),
        bounds.heights_of(postings.word_lengths, saturation),
        gains_of_codes(postings.lengths, saturation),
        np.empty(CODES, np.uint8),
        np.empty(n_terms, np.uint8),
        np.empty(n_terms, np.int64),
        np.empty(n_terms, np.int64),
        np.empty(n_terms, np.int64),
        np.empty(n_terms, np.int64),
        np.empty(n_terms, np.uint8),
        np.empty(max(4 * k, 256), np.float32),
        np.empty(max(4 * k, 256), np.int64),
    )


@njit(forceinline=True)
def bar_of(threshold: np.float32, constant: float) -> float:
    """What a document's sum must reach to rank as high as ``threshold``, less a margin."""
    return threshold - constant - MARGIN * (abs(threshold) + abs(constant))


@njit(nogil=True, cache=True)
def search(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    allowed: UInt64Array,
    best: Best,
) -> None:
    """Push the best documents of each query onto ``best``; see the package."""
    if len(postings.lengths) > 0 and best.rows.shape[1] > 0:
        table = table_for(queries.offsets)
        scratch = scratch_for(postings, saturation, len(table.terms), best.rows.shape[1])
        search_with(postings, queries, saturation, allowed, best, table, scratch)


@njit(nogil=True, cache=True)
def search_with(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    allowed: UInt64Array,
    best: Best,
    table: Table,
    scratch: Scratch,
) -> None:
    """The same, given room."""
    source, asked = source_of(postings, table, saturation), queries_of(queries)
    terms, weights = source.table.terms, source.table.weights
    word_lengths = pointer(postings.word_lengths, 0)
    frequencies = pointer(postings.document_frequencies, 0)
    lists, listed = pointer(postings.lists, 0), pointer(postings.listed, 0)
    bitmaps = pointer(postings.bitmaps, 0)
    repeat_offsets, repeat_documents = source.repeat_offsets, source.repeat_documents
    repeat_codes = pointer(postings.repeat_codes, 0)
    sums, peaks = pointer(scratch.sums, 0), pointer(scratch.peaks, 0)
    gains, n_gains = pointer(scratch.gains, 0), len(scratch.gains)
    repeat_steps, steps = pointer(scratch.repeat_steps, 0), pointer(scratch.steps, 0)
    next_place, next_repeat = pointer(scratch.next_place, 0), pointer(scratch.next_repeat, 0)
    by_weight = pointer(scratch.by_weight, 0)
    used_rows, used_steps = pointer(scratch.used_rows, 0), pointer(scratch.used_steps, 0)
    near_bounds, near = pointer(scratch.near_bounds, 0), pointer(scratch.near, 0)
    room = len(scratch.near)
    n_documents, k = len(postings.lengths), best.rows.shape[1]
    n_all_words = count_words(n_documents)

    for query in range(len(queries.constants)):
        n = enter(source.table, asked, query)
        if n == 0:
            continue
        constant, size = asked.constants[query], best.sizes[query]
        best_rows, best_scores = pointer(best.rows, query * k), pointer(best.scores, query * k)
        bar = bar_of(best_scores[0], constant) if size == k else -np.inf

        total = 0.0
        for i in range(n):
            total += max(0.0, weights[i])
        scale = (250.0 - n if n < 150 else 100.0) / total if total > 0.0 else 1.0
        unit = 1.0 / scale
        n_dense, most = 0, 0
        for i in range(n):
            term = terms[i]
            # The integer above the weight, and never 0, which says that no term is there.
            steps[i] = max(0.0, weights[i]) * scale + 1.0
            most += steps[i]
            next_repeat[i] = repeat_offsets[term]
            lanes.prefetch(repeat_documents, next_repeat[i])
            lanes.prefetch(repeat_codes, next_repeat[i])
            if lists[term] >= 0:
                next_place[i] = lists[term]
                lanes.prefetch(listed, next_place[i])
                lanes.prefetch(listed, next_place[i] + 16)
            else:
                place = n_dense
                while place > 0 and weights[by_weight[place - 1]] > weights[i]:
                    by_weight[place] = by_weight[place - 1]
                    place -= 1
                by_weight[place] = i
                n_dense += 1

        for start in range(0, n_documents, WINDOW):
            stop = min(n_documents, start + WINDOW)
            first_word, n_words = start >> 6, count_words(stop - start)
            n_blocks = blocks(n_words)
            heights = pointer(scratch.heights, first_word // BLOCK_WORDS)

            left_out, n_left = 0.0, 0
            while n_left < n_dense:
                weight = max(0.0, weights[by_weight[n_left]])
                if not left_out + weight < SLACK * bar * heights[0]:
                    break
                left_out += weight
                n_left += 1
            for place in range(n_left, n_dense):
                i = by_weight[place]
                used_rows[place - n_left] = ~lists[terms[i]] * n_all_words + first_word
                used_steps[place - n_left] = steps[i]
            bounds.set_bitmaps(sums, n_words, bitmaps, used_rows, used_steps, n_dense - n_left)
            for i in range(n):
                term = terms[i]
                if lists[term] >= 0:
                    begin, end = next_place[i], lists[term] + frequencies[term]
                    if stop < n_documents:
                        end = first_from(listed, begin, end, stop)
                    next_place[i] = end
                    bounds.add_list(sums, start, listed, begin, end, steps[i], most > MOST)
            for i in range(n):
                begin, end = next_repeat[i], repeat_offsets[terms[i] + 1]
                if begin < end and weights[i] > 0.0:
                    if stop < n_documents:
                        end = first_from(repeat_documents, begin, end, stop)
                    next_repeat[i] = end
                    bounds.add_repeats(
                        sums, start, repeat_documents, repeat_codes, begin, end,
                        weights[i] * scale, gains, n_gains, repeat_steps,
                    )  # fmt: skip
            bounds.note_peaks(sums, n_words, allowed, first_word, peaks)

            floor, ceiling = bar, np.inf
            if n_left == 0:
                floor = bounds.guess_bar(peaks, heights, n_blocks, scale, bar, k)
                floor = max(bar, floor * GUESS if floor > bar else floor)
            while True:
                n_near = 0
                for block in range(n_blocks):
                    least = lanes.splat(byte((floor * heights[block] - left_out) * scale))
                    if not lanes.at_least(lanes.load(peaks, 64 * block), least):
                        continue
                    first = block * BLOCK_WORDS
                    for word in range(first, min(n_words, first + BLOCK_WORDS)):
                        hits = lanes.at_least(lanes.load(sums, 64 * word), least)
                        while hits:
                            lane = lanes.lowest_one(hits)
                            hits &= hits - np.uint64(1)
                            found = sums[64 * word + lane]
                            bound = UNBOUNDED
                            if found < MOST:
                                bound = found * unit
                                for place in range(n_left):
                                    i = by_weight[place]
                                    bits = ~lists[terms[i]] * n_all_words + first_word + word
                                    if bitmaps[bits] >> np.uint64(lane) & np.uint64(1):
                                        bound += max(0.0, weights[i])
                                norm = norm_of(word_lengths[first_word + word], saturation)
                                bound *= gain(1.0, norm, saturation)
                            if bound < floor or bound >= ceiling:
                                continue
                            if n_near == room:
                                size = settle(
                                    source, constant, near_bounds, near, n_near,
                                    best_scores, best_rows, size, k,
                                )  # fmt: skip
                                n_near = 0
                                if size == k:
                                    bar = max(bar, bar_of(best_scores[0], constant))
                                    floor = max(bar, floor)
                            document = start + 64 * word + lane
                            lanes.prefetch(source.document_offsets, document)
                            lanes.prefetch(source.lengths, document)
                            lanes.prefetch(source.positions, document)
                            n_near = heaps.push(
                                near_bounds, near, n_near, room, np.float32(-bound), document
                            )
                size = settle(
                    source, constant, near_bounds, near, n_near, best_scores, best_rows, size, k
                )
                if size == k:
                    bar = max(bar, bar_of(best_scores[0], constant))
                if floor <= bar:
                    break
                ceiling, floor = floor, bar
        best.sizes[query] = size
        leave(source.table, n)


@njit(nogil=True, cache=True)
def settle(
    source: Source,
    constant: float,
    near_bounds: Float32Array,
    near: Int64Array,
    n_near: int,
    best_scores: Float32Array,
    best_rows: Int64Array,
    size: int,
    k: int,
) -> int:
    """Score the documents that came near, highest bound first, while one can still be a hit."""
    while n_near > 0:
        if size == k and -near_bounds[0] < bar_of(best_scores[0], constant):
            break
        first = n_near
        while n_near > max(0, first - GROUP):
            n_near = heaps.pop(near_bounds, near, n_near)
        for place in range(n_near, first):
            begin = source.document_offsets[near[place]]
            lanes.prefetch(source.document_terms, begin)
            lanes.prefetch(source.document_terms, begin + 16)
            lanes.prefetch(source.rows, np.int64(source.positions[near[place]]))
        for place in range(first - 1, n_near - 1, -1):
            if size == k and -near_bounds[place] < bar_of(best_scores[0], constant):
                break
            total, _ = score_document(source, near[place])
            value = np.float32(constant + total)
            if size < k or value >= best_scores[0]:
                row = source.rows[source.positions[near[place]]]
                size = heaps.push(best_scores, best_rows, size, k, value, row)
    return size
