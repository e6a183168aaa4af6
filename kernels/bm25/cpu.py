"""Exact top-k of BM25 in numba.

A document that has some query terms once each scores ``(sum of their weights) / (1 + norm)``.
Documents are numbered by length, so a stretch of them has one norm, nearly; what is left to find
is which documents gather most weight:

1. Weights are rounded up to small integers and added in one byte per document: a rare term's
   document by document, a frequent term's 64 documents at a time from its bitmap. A term that
   occurs f times in a document adds another ``norm * (f - 1) / (f + norm)`` of its weight.
2. The largest byte in each of 64 lanes of each block of documents: of these the k-th largest, by
   what it makes of a score, guesses the bar that a hit must reach.
3. Where a block's bytes reach the bar, its documents go through a heap, highest bound first, and
   get their true score from their own terms, until the next bound is under the k-th best score.
   Some k + 10 documents are scored.
4. Had the bar been guessed too high, 3 goes on below it, down to the k-th best score.

Later segments and windows start with a bar that k documents reach already. There the frequent
terms of least weight that together cannot lift a document over it are left out of 1 (MaxScore:
Turtle & Flood 1995), and looked up for the few documents of 3.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import heaps, lanes
from .codes import gains_of_codes
from .layout import (
    Best,
    Float32Array,
    Float64Array,
    Int32Array,
    Int64Array,
    Postings,
    Queries,
    Saturation,
    UInt8Array,
    UInt32Array,
    UInt64Array,
    words,
)
from .scoring import ONE, first_from, gain, put_query, room_for, score, score_document, take_query

__all__ = ["score", "search"]

WINDOW = 1 << 18
"""Documents whose bytes are kept at a time: 256 KiB, which a core's second cache holds."""
BLOCK_WORDS = 64
"""A block is 64 words of 64 documents."""
GUESS = 0.9
"""The k-th best score is seldom so far below the k-th largest bound."""
SLACK = 0.3
"""How much of the bar the terms left out may weigh: more leaves out more terms, and lets more
documents come near it."""
GROUP = 16
"""Documents whose terms are fetched at a time, so that memory answers for all at once."""
HALVINGS = 7

MOST = 255
UNBOUNDED = 1e300
MARGIN = 1e-5
"""Relative, between a bound and the bar: more than the rounding of either."""

count_words = njit(nogil=True, cache=True)(words)


@njit(forceinline=True)
def window_blocks(n_documents: int) -> int:
    """How many blocks a window of so many documents has."""
    return (n_documents + 64 * BLOCK_WORDS - 1) // (64 * BLOCK_WORDS)


@njit(forceinline=True)
def bar_of(threshold: np.float32, constant: float) -> float:
    """What a document's sum must reach to rank as high as ``threshold``, less a margin."""
    return threshold - constant - MARGIN * (abs(threshold) + abs(constant))


@njit(forceinline=True)
def byte(value: float) -> np.uint8:
    """A byte that no sum that reaches ``value`` is below, and at least 1: some term is there."""
    return np.uint8(min(float(MOST), max(1.0, value - 1e-4)))


@njit(nogil=True, cache=True)
def heights_of(word_lengths: UInt32Array, saturation: Saturation) -> Float64Array:
    """What each block's bounds are divided by: one over the gain in its shortest document."""
    heights = np.empty((len(word_lengths) + BLOCK_WORDS - 1) // BLOCK_WORDS)
    for block in range(len(heights)):
        length = word_lengths[block * BLOCK_WORDS]
        norm = saturation.norm_base + saturation.norm_slope * length
        heights[block] = 1.0 / gain(1.0, norm, saturation.linear, saturation.share)
    return heights


@njit(nogil=True, cache=True)
def set_bitmaps(
    sums: UInt8Array, bitmaps: UInt64Array, rows: Int64Array, steps: UInt8Array
) -> None:
    """Make the sums those of some bitmaps: ``rows`` say where in ``bitmaps`` each begins."""
    n_words = len(sums) // 64
    if len(rows) == 0:
        # Not memset, which may write around the caches.
        nothing = lanes.splat(np.uint8(0))
        for word in range(n_words):
            lanes.store(sums, 64 * word, nothing)
    for group in range(0, len(rows), 4):
        size = min(4, len(rows) - group)
        a = bitmaps[rows[group] :]
        b = bitmaps[rows[group + min(1, size - 1)] :]
        c = bitmaps[rows[group + min(2, size - 1)] :]
        d = bitmaps[rows[group + size - 1] :]
        for_a, for_b = lanes.splat(steps[group]), lanes.splat(steps[group + min(1, size - 1)])
        for_c = lanes.splat(steps[group + min(2, size - 1)])
        for_d = lanes.splat(steps[group + size - 1])
        value = lanes.splat(np.uint8(0))
        if size == 4:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, a[word], for_a)
                more = lanes.add_where(more, b[word], for_b)
                more = lanes.add_where(more, c[word], for_c)
                lanes.store(sums, 64 * word, lanes.add_where(more, d[word], for_d))
        elif size == 3:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, a[word], for_a)
                more = lanes.add_where(more, b[word], for_b)
                lanes.store(sums, 64 * word, lanes.add_where(more, c[word], for_c))
        elif size == 2:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, a[word], for_a)
                lanes.store(sums, 64 * word, lanes.add_where(more, b[word], for_b))
        else:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                lanes.store(sums, 64 * word, lanes.add_where(value, a[word], for_a))


@njit(forceinline=True)
def add_list(
    sums: UInt8Array,
    start: int,
    documents: UInt32Array,
    begin: int,
    end: int,
    step: int,
    may_overflow: bool,
) -> None:
    """Add a step to the sums of the documents of a list."""
    first = np.uint64(start)
    if may_overflow:
        for document in documents[begin:end]:
            place = np.uint64(document) - first
            sums[place] = min(MOST, np.int64(sums[place]) + step)
    else:
        for document in documents[begin:end]:
            sums[np.uint64(document) - first] += step


@njit(forceinline=True)
def add_repeats(
    sums: UInt8Array,
    start: int,
    documents: UInt32Array,
    codes: UInt8Array,
    begin: int,
    end: int,
    weight: float,
    gains: Float32Array,
    steps: UInt8Array,
) -> None:
    """Add what the documents of a list of repeats gain by them."""
    for code in range(len(gains)):
        steps[code] = min(np.float32(MOST), np.float32(weight) * gains[code] + np.float32(1.0))
    own_documents, own_codes = documents[begin:end], codes[begin:end]
    first = np.uint64(start)
    for i in range(len(own_documents)):
        place = np.uint64(own_documents[i]) - first
        sums[place] = min(MOST, np.int64(sums[place]) + steps[own_codes[i]])


@njit(nogil=True, cache=True)
def note_peaks(sums: UInt8Array, allowed: UInt64Array, peaks: UInt8Array) -> None:
    """Clear the sums of documents that are not allowed; note each block's largest in each lane."""
    n_words = len(sums) // 64
    for begin in range(0, n_words, BLOCK_WORDS):
        peak = lanes.splat(np.uint8(0))
        for word in range(begin, min(n_words, begin + BLOCK_WORDS)):
            value = lanes.load(sums, 64 * word)
            if len(allowed) > 0:
                value = lanes.keep_where(value, allowed[word])
                lanes.store(sums, 64 * word, value)
            peak = lanes.larger(peak, value)
        lanes.store(peaks, begin // BLOCK_WORDS * 64, peak)


@njit(nogil=True, cache=True)
def guess_bar(peaks: UInt8Array, heights: Float64Array, scale: float, bar: float, k: int) -> float:
    """A bar that some k peaks or more reach, close below the k-th largest, or ``bar`` if higher."""
    low, high = max(bar, 0.0), (MOST + 1.0) / (scale * heights[0])
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        n = 0
        for block in range(len(heights)):
            least = lanes.splat(byte(middle * heights[block] * scale))
            n += lanes.count_ones(lanes.at_least(lanes.load(peaks, 64 * block), least))
        if n >= k:
            low = middle
        else:
            high = middle
    return low if low > 0.0 else bar


@njit(nogil=True, cache=True)
def search(
    postings: Postings,
    queries: Queries,
    saturation: Saturation,
    allowed: UInt64Array,
    best: Best,
) -> None:
    """Push the best documents of each query onto ``best``; see the package."""
    rows, positions, lengths = postings.rows, postings.positions, postings.lengths
    word_lengths, frequencies = postings.word_lengths, postings.document_frequencies
    document_offsets, document_terms = postings.document_offsets, postings.document_terms
    lists, listed, bitmaps = postings.lists, postings.listed, postings.bitmaps
    repeat_offsets = postings.repeat_offsets
    repeat_documents, repeat_counts = postings.repeat_documents, postings.repeat_counts
    repeat_codes = postings.repeat_codes
    offsets, all_terms, all_weights = queries.offsets, queries.terms, queries.weights
    constants = queries.constants
    norm_base, norm_slope = saturation.norm_base, saturation.norm_slope
    linear, share = saturation.linear, saturation.share
    heap_rows, heap_scores, heap_sizes = best.rows, best.scores, best.sizes

    n_documents, k = len(lengths), heap_rows.shape[1]
    n_words = count_words(n_documents)
    table = room_for(offsets)
    terms, weights = table.terms, table.weights
    slot_terms, slot_weights = table.slot_terms, table.slot_weights
    longest = len(terms)
    steps = np.empty(longest, np.uint8)
    next_place = np.empty(longest, np.int64)
    next_repeat = np.empty(longest, np.int64)
    repeat_steps = np.empty(256, np.uint8)
    by_weight = np.empty(longest, np.int64)
    used_rows = np.empty(longest, np.int64)
    used_steps = np.empty(longest, np.uint8)

    window_words = count_words(min(n_documents, WINDOW))
    window_sums = np.empty(64 * window_words, np.uint8)
    peaks = np.empty(64 * window_blocks(min(n_documents, WINDOW)), np.uint8)
    room = max(4 * k, 256)
    near_bounds = np.empty(room, np.float32)
    near = np.empty(room, np.int64)
    gains = gains_of_codes(lengths, saturation)
    all_heights = heights_of(word_lengths, saturation)

    for query in range(len(offsets) - 1):
        n = put_query(
            terms,
            weights,
            slot_terms,
            slot_weights,
            all_terms,
            all_weights,
            offsets[query],
            offsets[query + 1],
        )
        if n == 0:
            continue
        constant = constants[query]
        best_rows, best_scores = heap_rows[query], heap_scores[query]
        size = heap_sizes[query]
        bar = bar_of(best_scores[0], constant) if size == k else -np.inf

        total = 0.0
        for i in range(n):
            total += max(0.0, weights[i])
        scale = (250.0 - n if n < 150 else 100.0) / total if total > 0.0 else 1.0
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
            first_word = start >> 6
            sums = window_sums[: 64 * count_words(stop - start)]
            heights = all_heights[first_word // BLOCK_WORDS :][: window_blocks(stop - start)]

            left_out, n_left = 0.0, 0
            while n_left < n_dense:
                weight = max(0.0, weights[by_weight[n_left]])
                if not left_out + weight < SLACK * bar * heights[0]:
                    break
                left_out += weight
                n_left += 1
            n_used = 0
            for place in range(n_left, n_dense):
                i = by_weight[place]
                used_rows[n_used] = ~lists[terms[i]] * n_words + first_word
                used_steps[n_used] = steps[i]
                n_used += 1
            set_bitmaps(sums, bitmaps, used_rows[:n_used], used_steps[:n_used])
            for i in range(n):
                term = terms[i]
                if lists[term] >= 0:
                    begin, end = next_place[i], lists[term] + frequencies[term]
                    if stop < n_documents:
                        end = first_from(listed, begin, end, stop)
                    next_place[i] = end
                    add_list(sums, start, listed, begin, end, np.int64(steps[i]), most > MOST)
            for i in range(n):
                begin, end = next_repeat[i], repeat_offsets[terms[i] + 1]
                if begin < end and weights[i] > 0.0:
                    if stop < n_documents:
                        end = first_from(repeat_documents, begin, end, stop)
                    next_repeat[i] = end
                    add_repeats(
                        sums, start, repeat_documents, repeat_codes, begin, end,
                        weights[i] * scale, gains, repeat_steps,
                    )  # fmt: skip
            note_peaks(sums, allowed[first_word:], peaks)

            floor, ceiling = bar, np.inf
            if n_left == 0:
                floor = guess_bar(peaks, heights, scale, bar, k)
                floor = max(bar, floor * GUESS if floor > bar else floor)
            while True:
                n_near = 0
                for block in range(len(heights)):
                    least = lanes.splat(byte((floor * heights[block] - left_out) * scale))
                    if not lanes.at_least(lanes.load(peaks, 64 * block), least):
                        continue
                    first = block * BLOCK_WORDS
                    for word in range(first, min(len(sums) // 64, first + BLOCK_WORDS)):
                        hits = lanes.at_least(lanes.load(sums, 64 * word), least)
                        while hits:
                            lane = lanes.lowest_one(hits)
                            hits &= hits - np.uint64(1)
                            found = sums[64 * word + lane]
                            bound = UNBOUNDED
                            if found < MOST:
                                bound = found / scale
                                for place in range(n_left):
                                    i = by_weight[place]
                                    bitmap = ~lists[terms[i]] * n_words + first_word + word
                                    if bitmaps[bitmap] >> np.uint64(lane) & np.uint64(1):
                                        bound += max(0.0, weights[i])
                                norm = norm_base + norm_slope * word_lengths[first_word + word]
                                bound *= gain(1.0, norm, linear, share)
                            if bound < floor or bound >= ceiling:
                                continue
                            if n_near == room:
                                size = settle(
                                    rows, positions, lengths, document_offsets, document_terms,
                                    repeat_offsets, repeat_documents, repeat_counts,
                                    slot_terms, slot_weights, norm_base, norm_slope, linear,
                                    share, constant, near_bounds, near, n_near,
                                    best_scores, best_rows, size,
                                )  # fmt: skip
                                n_near = 0
                                if size == k:
                                    bar = max(bar, bar_of(best_scores[0], constant))
                                    floor = max(bar, floor)
                            document = start + 64 * word + lane
                            lanes.prefetch(document_offsets, document)
                            lanes.prefetch(lengths, document)
                            lanes.prefetch(positions, document)
                            n_near = heaps.push(
                                near_bounds, near, n_near, room,
                                np.float32(-bound), document,
                            )  # fmt: skip
                size = settle(
                    rows, positions, lengths, document_offsets, document_terms,
                    repeat_offsets, repeat_documents, repeat_counts,
                    slot_terms, slot_weights, norm_base, norm_slope, linear, share,
                    constant, near_bounds, near, n_near, best_scores, best_rows, size,
                )  # fmt: skip
                if size == k:
                    bar = max(bar, bar_of(best_scores[0], constant))
                if floor <= bar:
                    break
                ceiling, floor = floor, bar
        heap_sizes[query] = size
        take_query(terms, slot_terms, slot_weights, n)


@njit(nogil=True, cache=True)
def settle(
    rows: Int64Array,
    positions: UInt32Array,
    lengths: UInt32Array,
    document_offsets: Int64Array,
    document_terms: UInt32Array,
    repeat_offsets: Int64Array,
    repeat_documents: UInt32Array,
    repeat_counts: Int32Array,
    slot_terms: UInt32Array,
    slot_weights: Float64Array,
    norm_base: float,
    norm_slope: float,
    linear: bool,
    share: float,
    constant: float,
    near_bounds: Float32Array,
    near: Int64Array,
    n_near: int,
    best_scores: Float32Array,
    best_rows: Int64Array,
    size: int,
) -> int:
    """Score the documents that came near, highest bound first, while one can still be a hit."""
    k = len(best_rows)
    while n_near > 0:
        if size == k and -near_bounds[0] < bar_of(best_scores[0], constant):
            break
        first = n_near
        while n_near > max(0, first - GROUP):
            n_near = heaps.pop(near_bounds, near, n_near)
        for place in range(np.uint64(n_near), np.uint64(first)):
            begin = document_offsets[np.uint64(near[place])]
            lanes.prefetch(document_terms, begin)
            lanes.prefetch(document_terms, begin + 16)
            lanes.prefetch(rows, np.int64(positions[np.uint64(near[place])]))
        place = np.uint64(first)
        while place > np.uint64(n_near):
            place -= ONE
            if size == k and -near_bounds[place] < bar_of(best_scores[0], constant):
                break
            document = np.uint64(near[place])
            norm = norm_base + norm_slope * lengths[document]
            total, _ = score_document(
                document, norm, linear, share, document_offsets, document_terms,
                repeat_offsets, repeat_documents, repeat_counts, slot_terms, slot_weights,
            )  # fmt: skip
            value = np.float32(constant + total)
            if size < k or value >= best_scores[0]:
                row = rows[positions[document]]
                size = heaps.push(best_scores, best_rows, size, k, value, row)
    return size
