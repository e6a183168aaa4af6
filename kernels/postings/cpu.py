"""Top-k of impacts in numba, exact or with less effort.

Documents are looked at in blocks whose sums, 16 bits each, stay in a core's caches:

1. Impacts, rounded up, are added: of a frequent term 64 documents at a time from its row, of a rare
   one document by document. Once k documents are known, so is the score to beat, and the terms that
   cost most for the little they can weigh are left out (MaxScore: Turtle & Flood 1995) as long as
   all of them together weigh less than ``slack`` of that score.
2. In a first block the largest of every 32 sums are noted; the k-th largest guesses the bar that a
   hit must reach.
3. Documents whose sums reach the bar, less what the terms left out may weigh, get their true score
   from their own weights and go through a heap. A few dozen are scored.
4. Had the bar been guessed too high, 3 goes on below it, down to the k-th best score.

Where few documents are allowed, or a query has thousands of terms, all documents are scored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from ..bm25 import heaps
from ..bm25.lanes import count_ones, lowest_one, pointer, prefetch
from . import lanes
from .layout import (
    BLOCK,
    GROUP,
    LANES,
    LIST_STEPS,
    ROW_STEPS,
    Best,
    BoolArray,
    Effort,
    Float32Array,
    Float64Array,
    Impacts,
    Int64Array,
    Queries,
    UInt16Array,
    UInt64Array,
)
from .scoring import Source, score, score_document, source_of

__all__ = ["score", "search"]

HIGHEST = 65_000
"""What no sum exceeds before its addends are rounded up, each by less than 16."""
MANY_TERMS = 2_000
ROW_COST = BLOCK // 32
"""Adding a block of a row takes as long as so many documents of a list."""
SCORING_COST = 100
"""And a true score as long as so many."""
PEAK_LANES = 32
"""A peak is the largest of so many sums."""
HALVINGS = 10
GATHERED = 32
"""Documents whose weights are fetched at a time, so that memory answers for all at once."""
MARGIN = 1e-6
"""Relative, between a bound and a score: more than the rounding of either."""


class Scratch(NamedTuple):
    """Room for one query at a time."""

    sums: UInt16Array
    peaks: UInt16Array
    asked: Float64Array
    terms: Int64Array
    ceilings: Float64Array
    worths: Float64Array
    factors: UInt16Array
    next_run: Int64Array
    order: Int64Array
    skipped: BoolArray
    near: Int64Array


@njit(nogil=True, cache=True)
def scratch_for(n_documents: int, n_terms: int, offsets: Int64Array) -> Scratch:
    """Room for queries over an index of n_terms."""
    longest = 1
    for query in range(len(offsets) - 1):
        longest = max(longest, offsets[query + 1] - offsets[query])
    room = (min(n_documents, BLOCK) + GROUP - 1) // GROUP * GROUP
    return Scratch(
        np.zeros(room, np.uint16),
        np.empty((room // LANES + PEAK_LANES - 1) // PEAK_LANES * LANES, np.uint16),
        np.zeros(max(1, n_terms)),
        np.empty(longest, np.int64),
        np.empty(longest),
        np.empty(longest),
        np.empty(longest, np.uint16),
        np.empty(longest, np.int64),
        np.empty(longest, np.int64),
        np.empty(longest, np.bool_),
        np.empty(GATHERED, np.int64),
    )


@njit(nogil=True, cache=True)
def search(
    impacts: Impacts, queries: Queries, effort: Effort, allowed: UInt64Array, best: Best
) -> None:
    """Push the best documents of each query onto ``best``; see the package."""
    if len(impacts.rows) > 0 and best.rows.shape[1] > 0:
        scratch = scratch_for(len(impacts.rows), len(impacts.frequencies), queries.offsets)
        search_with(impacts, queries, effort, allowed, best, scratch)


@njit(nogil=True, cache=True)
def search_with(
    impacts: Impacts,
    queries: Queries,
    effort: Effort,
    allowed: UInt64Array,
    best: Best,
    scratch: Scratch,
) -> None:
    """The same, given room."""
    k, asked = best.rows.shape[1], scratch.asked
    source = source_of(impacts, asked)
    n_documents = len(impacts.rows)
    n_allowed = n_documents
    if len(allowed) > 0:
        n_allowed = 0
        for word in allowed:
            n_allowed += count_ones(word)
    for query in range(len(queries.offsets) - 1):
        n, cost = 0, 0
        for place in range(queries.offsets[query], queries.offsets[query + 1]):
            term = queries.terms[place]
            if term >= 0 and impacts.frequencies[term] > 0:
                asked[term] = queries.weights[place]
                scratch.terms[n] = term
                n += 1
                is_row = impacts.row_numbers[term] >= 0
                cost += n_documents // 32 if is_row else impacts.frequencies[term]
        if n == 0:
            continue
        rows, scores = pointer(best.rows, query * k), pointer(best.scores, query * k)
        size = best.sizes[query]
        if n > MANY_TERMS or n_allowed * SCORING_COST < cost:
            size = score_all(source, n_documents, allowed, scores, rows, size, k)
        else:
            size = search_blocks(
                impacts, source, effort, allowed, scratch, n, scores, rows, size, k
            )
        best.sizes[query] = size
        for i in range(n):
            asked[scratch.terms[i]] = 0.0


@njit(nogil=True, cache=True)
def prepare(impacts: Impacts, scratch: Scratch, n: int) -> float:
    """Make a query's n terms ready to be added; returns how many steps of a sum a score of 1 is."""
    terms, ceilings, worths = scratch.terms, scratch.ceilings, scratch.worths
    order = scratch.order
    n_blocks = (len(impacts.rows) + BLOCK - 1) // BLOCK
    total = 0.0
    for i in range(n):
        ceilings[i] = scratch.asked[terms[i]] * np.float64(impacts.largest[terms[i]])
        total += ceilings[i]
    scale = (HIGHEST - 16.0 * n) / total
    for i in range(n):
        if impacts.row_numbers[terms[i]] >= 0:
            scratch.factors[i] = np.ceil(ceilings[i] * scale / ROW_STEPS)
            cost = float(ROW_COST)
        else:
            scratch.factors[i] = np.ceil(ceilings[i] * scale * 256.0 / LIST_STEPS)
            cost = impacts.frequencies[terms[i]] / n_blocks
        scratch.next_run[i] = impacts.run_starts[terms[i]]
        # What costs most for the little it can weigh comes first.
        worths[i] = ceilings[i] / cost
        place = i
        while place > 0 and worths[order[place - 1]] > worths[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return scale


@njit(nogil=True, cache=True)
def search_blocks(
    impacts: Impacts,
    source: Source,
    effort: Effort,
    allowed: UInt64Array,
    scratch: Scratch,
    n: int,
    scores: Float32Array,
    rows: Int64Array,
    size: int,
    k: int,
) -> int:
    """Search all blocks for a query of n terms; returns the size of its heap."""
    scale = prepare(impacts, scratch, n)
    sums, peaks = pointer(scratch.sums, 0), pointer(scratch.peaks, 0)
    n_documents = len(impacts.rows)
    for start in range(0, n_documents, BLOCK):
        n_here = min(BLOCK, n_documents - start)
        n_vectors = (n_here + GROUP - 1) // GROUP * 2
        left_out = leave_out(scratch, n, effort.slack * scores[0] if size == k else 0.0)
        add_terms(impacts, scratch, n, start // BLOCK, n_vectors // 2)
        if len(allowed) > 0:
            keep_allowed(sums, n_vectors, allowed, start >> 6)
        left_out *= effort.belief
        bar = bar_of(scores, size, k, left_out, scale, effort.ahead)
        floor, ceiling = bar, 1 << 16
        if size < k:
            note_peaks(sums, n_vectors, peaks)
            floor = guess_bar(peaks, n_vectors, k)
        while True:
            least, n_near = lanes.splat(np.uint16(floor)), 0
            for vector in range(n_vectors):
                hits = lanes.at_least(lanes.load(sums, LANES * vector), least)
                while hits:
                    lane = lowest_one(hits)
                    hits &= hits - np.uint64(1)
                    found = np.int64(sums[LANES * vector + lane])
                    if found < floor or found >= ceiling:
                        continue
                    document = start + LANES * vector + lane
                    prefetch(source.starts, document)
                    prefetch(source.rows, document)
                    scratch.near[n_near] = document
                    n_near += 1
                    if n_near == GATHERED:
                        size = settle(source, scratch.near, n_near, scores, rows, size, k)
                        n_near = 0
                        bar = bar_of(scores, size, k, left_out, scale, effort.ahead)
                        if bar > floor:
                            floor = bar
                            least = lanes.splat(np.uint16(floor))
            size = settle(source, scratch.near, n_near, scores, rows, size, k)
            bar = bar_of(scores, size, k, left_out, scale, effort.ahead)
            if floor <= bar:
                break
            ceiling, floor = floor, bar
        scratch.sums[: LANES * n_vectors] = 0
    return size


@njit(forceinline=True)
def bar_of(
    scores: Float32Array, size: int, k: int, left_out: float, scale: float, ahead: float
) -> int:
    """The sum without which no document is a hit; at least 1, which says that it shares a term."""
    if size < k:
        return 1
    least = (np.float64(scores[0]) * ahead * (1.0 - MARGIN) - left_out) * scale
    return np.int64(min(65_535.0, max(1.0, least)))


@njit(nogil=True, cache=True)
def leave_out(scratch: Scratch, n: int, room: float) -> float:
    """Choose the terms not to add, which weigh less than ``room``; returns what they may weigh."""
    left_out = 0.0
    for place in range(n):
        i = scratch.order[place]
        skip = left_out + scratch.ceilings[i] < room
        scratch.skipped[i] = skip
        if skip:
            left_out += scratch.ceilings[i]
    return left_out


@njit(nogil=True, cache=True)
def add_terms(impacts: Impacts, scratch: Scratch, n: int, block: int, n_groups: int) -> None:
    """Add the impacts of the terms that are not left out, in one block."""
    row_impacts, sums = pointer(impacts.row_impacts, 0), pointer(scratch.sums, 0)
    listed, values = pointer(impacts.listed, 0), pointer(impacts.impacts, 0)
    width = (len(impacts.rows) + GROUP - 1) // GROUP * LANES
    for i in range(n):
        term, factor = scratch.terms[i], np.uint32(scratch.factors[i])
        row = np.int64(impacts.row_numbers[term])
        if row >= 0:
            if not scratch.skipped[i]:
                begin = row * width + block * (BLOCK // 2)
                for group in range(n_groups):
                    place = begin + LANES * group
                    lanes.add_row(sums, GROUP * group, row_impacts, place, np.uint16(factor))
            continue
        run = scratch.next_run[i]
        if run < impacts.run_starts[term + 1] and impacts.run_blocks[run] == block:
            scratch.next_run[i] = run + 1
            if not scratch.skipped[i]:
                for place in range(impacts.run_begins[run], impacts.run_begins[run + 1]):
                    addend = (np.uint32(values[place]) * factor + np.uint32(255)) >> np.uint32(8)
                    sums[np.int64(listed[place])] += np.uint16(addend)


@njit(nogil=True, cache=True)
def keep_allowed(sums: UInt16Array, n_vectors: int, allowed: UInt64Array, first_word: int) -> None:
    """Clear the sums of documents that are not allowed."""
    for vector in range(n_vectors):
        bits = allowed[first_word + (vector >> 1)] >> np.uint64(LANES * (vector & 1))
        kept = lanes.keep_where(lanes.load(sums, LANES * vector), bits)
        lanes.store(sums, LANES * vector, kept)


@njit(nogil=True, cache=True)
def note_peaks(sums: UInt16Array, n_vectors: int, peaks: UInt16Array) -> None:
    """The largest of every 32 sums, of 32 vectors lane by lane."""
    for first in range(0, n_vectors, PEAK_LANES):
        peak = lanes.splat(np.uint16(0))
        for vector in range(first, min(n_vectors, first + PEAK_LANES)):
            peak = lanes.larger(peak, lanes.load(sums, LANES * vector))
        lanes.store(peaks, first // PEAK_LANES * LANES, peak)


@njit(nogil=True, cache=True)
def guess_bar(peaks: UInt16Array, n_vectors: int, k: int) -> int:
    """A bar that k peaks reach, close below the k-th largest; 1 where there are not so many."""
    low, high = 1, 1 << 16
    for _ in range(HALVINGS):
        middle = (low + high) >> 1
        least, n = lanes.splat(np.uint16(middle)), 0
        for first in range(0, n_vectors, PEAK_LANES):
            n += count_ones(lanes.at_least(lanes.load(peaks, first), least))
        if n >= k:
            low = middle
        else:
            high = middle
    return low


@njit(nogil=True, cache=True)
def settle(
    source: Source,
    near: Int64Array,
    n_near: int,
    scores: Float32Array,
    rows: Int64Array,
    size: int,
    k: int,
) -> int:
    """Score the documents that came near and push them; returns the size of the heap."""
    for i in range(n_near):
        begin, end = source.starts[near[i]], source.starts[near[i] + 1]
        for place in range(begin, end, 32):
            prefetch(source.terms, place)
        for place in range(begin, end, 16):
            prefetch(source.weights, place)
    for i in range(n_near):
        value = np.float32(score_document(source, near[i]))
        if size < k or value >= scores[0]:
            size = heaps.push(scores, rows, size, k, value, source.rows[near[i]])
    return size


@njit(nogil=True, cache=True)
def score_all(
    source: Source,
    n_documents: int,
    allowed: UInt64Array,
    scores: Float32Array,
    rows: Int64Array,
    size: int,
    k: int,
) -> int:
    """Score every document that is allowed; returns the size of the heap."""
    for document in range(n_documents):
        if len(allowed) > 0:
            word = allowed[document >> 6] >> np.uint64(document & 63)
            if word & np.uint64(1) == 0:
                continue
        total = score_document(source, document)
        if total > 0.0:
            value = np.float32(total)
            if size < k or value >= scores[0]:
                size = heaps.push(scores, rows, size, k, value, source.rows[document])
    return size
