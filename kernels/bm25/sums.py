"""Upper bounds of scores in one byte per document, in numba.

``sums`` and ``peaks`` are pointers to bytes: a window of whole words of 64 documents, and of each
block of them the largest sum in each of the 64 lanes.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes
from .layout import (
    Float32Array,
    Float64Array,
    Int64Array,
    Saturation,
    UInt8Array,
    UInt32Array,
    UInt64Array,
)
from .scoring import gain, norm_of

BLOCK_WORDS = 64
"""A block is 64 words of 64 documents."""
MOST = 255
HALVINGS = 7


@njit(forceinline=True)
def blocks(n_words: int) -> int:
    """How many blocks so many words are."""
    return (n_words + BLOCK_WORDS - 1) // BLOCK_WORDS


@njit(forceinline=True)
def byte(value: float) -> np.uint8:
    """The byte that sums which reach ``value`` are not below; at least 1, as some term is there."""
    return np.uint8(min(float(MOST), max(1.0, value - 1e-4)))


@njit(nogil=True, cache=True)
def heights_of(word_lengths: UInt32Array, saturation: Saturation) -> Float64Array:
    """By what each block's sums are divided: one over the gain in its shortest document."""
    heights = np.empty(blocks(len(word_lengths)))
    for block in range(len(heights)):
        norm = norm_of(word_lengths[block * BLOCK_WORDS], saturation)
        heights[block] = 1.0 / gain(1.0, norm, saturation)
    return heights


@njit(nogil=True, cache=True)
def set_bitmaps(
    sums: UInt8Array,
    n_words: int,
    bitmaps: UInt64Array,
    rows: Int64Array,
    steps: UInt8Array,
    n: int,
) -> None:
    """Make the sums those of n bitmaps; ``rows`` say where in ``bitmaps`` each begins."""
    value = lanes.splat(np.uint8(0))
    if n == 0:
        for word in range(n_words):
            lanes.store(sums, 64 * word, value)
    for group in range(0, n, 4):
        size = min(4, n - group)
        second, third, last = group + min(1, size - 1), group + min(2, size - 1), group + size - 1
        a, b, c, d = rows[group], rows[second], rows[third], rows[last]
        for_a, for_b = lanes.splat(steps[group]), lanes.splat(steps[second])
        for_c, for_d = lanes.splat(steps[third]), lanes.splat(steps[last])
        if size == 4:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, bitmaps[a + word], for_a)
                more = lanes.add_where(more, bitmaps[b + word], for_b)
                more = lanes.add_where(more, bitmaps[c + word], for_c)
                lanes.store(sums, 64 * word, lanes.add_where(more, bitmaps[d + word], for_d))
        elif size == 3:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, bitmaps[a + word], for_a)
                more = lanes.add_where(more, bitmaps[b + word], for_b)
                lanes.store(sums, 64 * word, lanes.add_where(more, bitmaps[d + word], for_d))
        elif size == 2:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                more = lanes.add_where(value, bitmaps[a + word], for_a)
                lanes.store(sums, 64 * word, lanes.add_where(more, bitmaps[d + word], for_d))
        else:
            for word in range(n_words):
                if group > 0:
                    value = lanes.load(sums, 64 * word)
                lanes.store(sums, 64 * word, lanes.add_where(value, bitmaps[d + word], for_d))


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
    """Add a step to the sums of documents[begin:end]; the sums begin at document ``start``."""
    if may_overflow:
        for place in range(begin, end):
            document = np.int64(documents[place]) - start
            sums[document] = min(MOST, np.int64(sums[document]) + step)
    else:
        for place in range(begin, end):
            sums[np.int64(documents[place]) - start] += step


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
    n_gains: int,
    steps: UInt8Array,
) -> None:
    """Add what documents[begin:end] gain by having a term more than once."""
    for code in range(n_gains):
        steps[code] = min(np.float32(MOST), np.float32(weight) * gains[code] + np.float32(1.0))
    for place in range(begin, end):
        document = np.int64(documents[place]) - start
        sums[document] = min(MOST, np.int64(sums[document]) + steps[codes[place]])


@njit(nogil=True, cache=True)
def note_peaks(
    sums: UInt8Array, n_words: int, allowed: UInt64Array, first_word: int, peaks: UInt8Array
) -> None:
    """Clear the sums of documents that are not allowed, and note the peaks."""
    for begin in range(0, n_words, BLOCK_WORDS):
        peak = lanes.splat(np.uint8(0))
        end = min(n_words, begin + BLOCK_WORDS)
        if len(allowed) > 0:
            for word in range(begin, end):
                value = lanes.keep_where(lanes.load(sums, 64 * word), allowed[first_word + word])
                lanes.store(sums, 64 * word, value)
                peak = lanes.larger(peak, value)
        else:
            for word in range(begin, end):
                peak = lanes.larger(peak, lanes.load(sums, 64 * word))
        lanes.store(peaks, begin // BLOCK_WORDS * 64, peak)


@njit(nogil=True, cache=True)
def guess_bar(
    peaks: UInt8Array, heights: Float64Array, n_blocks: int, scale: float, bar: float, k: int
) -> float:
    """A bar that k peaks reach, close below the k-th largest; ``bar`` where that is higher."""
    low, high = max(bar, 0.0), (MOST + 1.0) / (scale * heights[0])
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        n = 0
        for block in range(n_blocks):
            least = lanes.splat(byte(middle * heights[block] * scale))
            n += lanes.count_ones(lanes.at_least(lanes.load(peaks, 64 * block), least))
        if n >= k:
            low = middle
        else:
            high = middle
    return low if low > 0.0 else bar
