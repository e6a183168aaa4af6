"""Top-k of impacts in numba, exact or with less effort.

The score to beat decides which postings are worth adding: as they lie in a run by impact, those of
less than some impact are left out by stopping early. What they weigh together bounds what a sum can
lack. Documents are looked at in blocks whose sums, a byte each, stay in a core's first cache:

1. The impacts worth it, rounded up, are added, document by document; or, where most of a frequent
   term are, 64 documents at a time from its row.
2. In a first block the largest of every 32 sums are noted; the k-th largest guesses the bar that a
   hit must reach.
3. Documents whose sums reach the bar get their true score from their own weights and go through a
   heap. A few dozen are scored.
4. Had the bar been guessed too high, 3 goes on below it.

An exact search beats the k-th best score so far, and its bar is that less what sums can lack. With
less effort the score to beat is foretold: a share of s of the documents should hold k s of the k
best, so the score of that rank among them is near the one that the k-th will have. In the first
block it is guessed, and the block is done again where that was too high. Where fewer than k are
found the search is done again, exact.

Where few documents are allowed, or a query has thousands of terms, all documents are scored.

Leaving out what cannot matter: Turtle & Flood 1995 (MaxScore); lists by impact: Anh & Moffat 2006.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..bm25.lanes import count_ones, lowest_one, pointer, prefetch
from . import lanes
from .collecting import HIGHEST, Block, Hits, collect, push, score_to_beat
from .layout import (
    BLOCK,
    EXACT,
    LANES,
    LIST_STEPS,
    ROW_STEPS,
    STEPS,
    Best,
    Effort,
    Float64Array,
    Impacts,
    Queries,
    UInt64Array,
)
from .room import Room, held, room_for
from .scoring import ALL, View, score, score_document, view_of

__all__ = ["score", "search"]

FINE = 240
"""Steps of a sum that the score to beat is, or is guessed to be; 255 stands for all above."""
MANY_TERMS = 2_000
ROW_SPEED = 20
"""So many documents of a row are added while one of a list is."""
SCORING_COST = 100
"""And a true score takes as long as so many of a list."""
FIRST_GUESS = 0.5
"""The score to beat is guessed to be this much of what all terms at their largest weigh."""
LARGEST_SHARE = 0.25
"""Postings that add so much of it are added whatever the effort."""
CLOSE = 0.8
"""A guess is good enough when the score that follows is at least so much of it."""


@njit(nogil=True, cache=True)
def search(
    impacts: Impacts, queries: Queries, effort: Effort, allowed: UInt64Array, best: Best
) -> None:
    """Push the best documents of each query onto ``best``; see the package."""
    if len(impacts.rows) > 0 and best.rows.shape[1] > 0:
        room = room_for(len(impacts.rows), queries.offsets)
        asked = np.zeros(max(1, len(impacts.frequencies)))
        search_with(impacts, queries, effort, allowed, best, asked, room)


@njit(nogil=True, cache=True)
def search_with(
    impacts: Impacts,
    queries: Queries,
    effort: Effort,
    allowed: UInt64Array,
    best: Best,
    asked: Float64Array,
    arrays: Room,
) -> None:
    """The same, given room and a table of zeros (v,), whose owner outlives what points to them."""
    k, view, room = best.rows.shape[1], view_of(impacts, asked), held(arrays)
    n_documents = len(impacts.rows)
    n_allowed = count_allowed(allowed, 0, n_documents)
    for query in range(len(queries.offsets) - 1):
        n, cost = 0, 0
        for place in range(queries.offsets[query], queries.offsets[query + 1]):
            term = queries.terms[place]
            if term >= 0 and impacts.frequencies[term] > 0:
                asked[term] = queries.weights[place]
                room.terms[n] = term
                n += 1
                cost += min(impacts.frequencies[term], n_documents // ROW_SPEED + 1)
        if n == 0:
            continue
        rows, scores = pointer(best.rows, query * k), pointer(best.scores, query * k)
        hits = Hits(scores, rows, k)
        size = best.sizes[query]
        if n > MANY_TERMS or n_allowed * SCORING_COST < cost:
            size = score_all(view, allowed, hits, size)
        else:
            own = EXACT if 0 < size < k else effort
            found = search_blocks(view, own, allowed, n_allowed, room, n, hits, size)
            if found < k and size == 0 and effort.bar > 0.0:  # what is left out may be a hit
                found = search_blocks(view, EXACT, allowed, n_allowed, room, n, hits, 0)
            size = found
        best.sizes[query] = size
        for i in range(n):
            asked[room.terms[i]] = 0.0


@njit(nogil=True, cache=True)
def prepare(view: View, room: Room, n: int) -> float:
    """Make a query's n terms ready to be added; returns what all weigh at their largest."""
    terms, ceilings, worths = room.terms, room.ceilings, room.worths
    order = room.order
    total = 0.0
    for i in range(n):
        ceilings[i] = view.asked[terms[i]] * np.float64(view.largest[terms[i]])
        total += ceilings[i]
    for i in range(n):
        cost = float(view.frequencies[terms[i]])
        if view.row_numbers[terms[i]] >= 0:
            cost = min(cost, view.n_documents / ROW_SPEED)
        room.next_run[i] = view.run_starts[terms[i]]
        # What costs most for the little it can weigh comes first.
        worths[i] = ceilings[i] / cost
        place = i
        while place > 0 and worths[order[place - 1]] > worths[i]:
            order[place] = order[place - 1]
            place -= 1
        order[place] = i
    return total


@njit(nogil=True, cache=True)
def search_blocks(
    view: View,
    effort: Effort,
    allowed: UInt64Array,
    n_allowed: int,
    room: Room,
    n: int,
    hits: Hits,
    size: int,
) -> int:
    """Search all blocks for a query of n terms; returns the size of its heap.

    How much has been seen is counted in allowed documents, which may lie in a few blocks.
    """
    total = prepare(view, room, n)
    n_documents = view.n_documents
    exact, own = effort.bar == 0.0, size == 0
    passed = 0
    for start in range(0, n_documents, BLOCK):
        n_here = min(BLOCK, n_documents - start)
        n_allowed_here = count_allowed(allowed, start, n_here)
        if n_allowed_here == 0:
            go_on(view, room, n, start // BLOCK)
            continue
        target = score_to_beat(hits, size, passed / n_allowed if own else 1.0, exact)
        seen = max(passed, n_allowed_here) / n_allowed if own else 1.0
        guessed = own and passed == 0 and not exact
        if guessed:
            target = FIRST_GUESS * total
        while True:
            scale = FINE / (target if target > 0.0 else FIRST_GUESS * total)
            left_out = leave_out(view, room, n, effort, target)
            block = Block(start, n_here, scale, left_out, seen)
            add_terms(view, room, n, block)
            if len(allowed) > 0:
                keep_allowed(room, block, allowed)
            size = collect(view, room, n, effort, block, hits, size)
            if not guessed or target == 0.0:
                break
            found = score_to_beat(hits, size, seen, exact)
            if found >= CLOSE * target:
                break
            target, size = found, 0
        go_on(view, room, n, start // BLOCK)
        passed += n_allowed_here
    return size


@njit(nogil=True, cache=True)
def count_allowed(allowed: UInt64Array, start: int, n_here: int) -> int:
    """How many of the documents from ``start``, which begins a word, are allowed."""
    if len(allowed) == 0:
        return n_here
    n = 0
    for word in range(start // LANES, (start + n_here + LANES - 1) // LANES):
        n += count_ones(allowed[word])
    return n


@njit(nogil=True, cache=True)
def leave_out(view: View, room: Room, n: int, effort: Effort, target: float) -> float:
    """Choose the least impact of each term that is added; returns what the others may weigh.

    ``STEPS``: none is; 0: the term's row is.
    """
    exact, slack, n_left = effort.bar == 0.0, effort.slack * target, n
    for place in range(n if exact else 0):
        # Whole terms first; what room is left is for the others alike.
        ceiling = room.ceilings[room.order[place]]
        if ceiling >= slack:
            break
        slack -= ceiling
        n_left -= 1
    share = min(slack / max(1, n_left), LARGEST_SHARE * target)
    left_out, least = 0.0, room.least
    for place in range(n):
        i = room.order[place]
        ceiling, row = room.ceilings[i], np.int64(view.row_numbers[room.terms[i]])
        least[i] = np.int64(max(1.0, min(float(STEPS), np.ceil(share / ceiling * LIST_STEPS))))
        if place < n - n_left:
            least[i] = STEPS
        n_listed = view.row_counts[STEPS * row + least[i]] if row >= 0 and least[i] < STEPS else 0
        if n_listed * ROW_SPEED > view.n_documents:
            least[i] = 0
        left_out += ceiling * (max(1, least[i]) - 1) / LIST_STEPS
    return left_out


@njit(nogil=True, cache=True)
def add_terms(view: View, room: Room, n: int, block: Block) -> None:
    """Add the impacts that are not left out, in one block."""
    row_impacts, sums = view.row_impacts, room.sums
    listed, values = view.listed, view.impacts
    width = (view.n_documents + LANES - 1) // LANES * (LANES // 2)
    number = block.start // BLOCK
    for i in range(n):
        term, least = room.terms[i], room.least[i]
        steps = room.ceilings[i] * block.scale
        if least == 0:
            factor = np.uint16(min(float(HIGHEST), np.ceil(steps / ROW_STEPS)))
            begin = np.int64(view.row_numbers[term]) * width + block.start // 2
            for vector in range((block.n_here + LANES - 1) // LANES):
                place = begin + LANES // 2 * vector
                lanes.add_row(sums, LANES * vector, row_impacts, place, factor)
            continue
        run = room.next_run[i]
        if least == STEPS or run >= view.run_starts[term + 1]:
            continue
        if view.run_blocks[run] != number:
            continue
        times = np.uint32(min(65_536.0, np.ceil(steps * 256.0 / LIST_STEPS)))
        begin = view.run_begins[run]
        end = end_of(view, begin, view.run_begins[run + 1], least)
        for place in range(begin, end):
            addend = (np.uint32(values[place]) * times + np.uint32(255)) >> np.uint32(8)
            at = np.int64(listed[place])
            sums[at] = np.uint8(min(np.uint32(HIGHEST), np.uint32(sums[at]) + addend))
        room.added[i] = end - begin


@njit(forceinline=True)
def end_of(view: View, begin: int, end: int, least: int) -> int:
    """Where the impacts of a run from ``begin`` fall below ``least``."""
    enough = lanes.splat(np.uint8(least))
    while begin + LANES <= end:
        there = lanes.at_least(lanes.load(view.impacts, begin), enough)
        if there != ALL:
            return np.int64(begin + lowest_one(~there))
        begin += LANES
    while begin < end and view.impacts[begin] >= least:
        begin += 1
    return begin


@njit(nogil=True, cache=True)
def go_on(view: View, room: Room, n: int, block: int) -> None:
    """Move each term to its run behind a block, and ask memory for as much as was added of this."""
    for i in range(n):
        run, term = room.next_run[i], room.terms[i]
        if run < view.run_starts[term + 1] and view.run_blocks[run] == block:
            room.next_run[i] = run + 1
            first = view.run_begins[run + 1]
            for place in range(first, first + room.added[i] + 32, 32):
                prefetch(view.listed, place)
            for place in range(first, first + room.added[i] + 64, 64):
                prefetch(view.impacts, place)


@njit(nogil=True, cache=True)
def keep_allowed(room: Room, block: Block, allowed: UInt64Array) -> None:
    """Clear the sums of documents that are not allowed."""
    sums, first = room.sums, block.start // LANES
    for vector in range((block.n_here + LANES - 1) // LANES):
        kept = lanes.keep_where(lanes.load(sums, LANES * vector), allowed[first + vector])
        lanes.store(sums, LANES * vector, kept)


@njit(nogil=True, cache=True)
def score_all(view: View, allowed: UInt64Array, hits: Hits, size: int) -> int:
    """Score every document that is allowed; returns the size of the heap."""
    for document in range(view.n_documents):
        if len(allowed) > 0:
            word = allowed[document >> 6] >> np.uint64(document & 63)
            if word & np.uint64(1) == 0:
                continue
        total = score_document(view, document)
        if total > 0.0:
            size = push(hits, size, total, view.rows[document])
    return size
