"""When to write and merge segments: pure functions of sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BATCH_DOCUMENTS = 20_000
BATCH_CHARACTERS = 16 << 20
"""One transaction of ``add`` holds at most this much."""

ENCODED_DOCUMENTS = 512
ENCODED_CHARACTERS = 1 << 20
"""An encoder is given, and a kill can cost, at most this much at a time: seconds, not minutes."""

SEGMENT_ROWS = 250_000
SEGMENT_CHARACTERS = 64 << 20
"""One build holds at most this much; it bounds the memory of a build of any size."""

TAIL_ROWS = 20_000
"""``add`` writes a segment rather than leave a longer tail to be indexed in memory."""

CLOSE_ROWS = 1_000
"""``close`` writes a segment for a tail that is worth a file."""

MERGE_WIDTH = 4
SMALLEST_LEVEL = 4_096
DEAD_SHARE = 0.25


class SegmentSize(NamedTuple):
    """What the policy looks at."""

    number: int
    rows: int
    dead: int


def choose_merge(segments: Sequence[SegmentSize]) -> list[int]:
    """The numbers of the segments to merge next; empty when none should be.

    Segments of one level (each level is MERGE_WIDTH times the one below) are merged when there are
    MERGE_WIDTH of them, so that a row is rewritten O(log n) times and a search meets O(log n)
    segments. A segment a quarter of whose rows are deleted is rewritten alone.
    """
    levels: dict[int, list[SegmentSize]] = {}
    for segment in segments:
        alive = segment.rows - segment.dead
        level = 0
        while alive >= SMALLEST_LEVEL * MERGE_WIDTH**level:
            level += 1
        levels.setdefault(level, []).append(segment)
    for level in sorted(levels):
        if len(levels[level]) >= MERGE_WIDTH:
            return sorted(segment.number for segment in levels[level])
    for segment in segments:
        if segment.dead and segment.dead >= DEAD_SHARE * segment.rows:
            return [segment.number]
    return []
