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


def choose_merge(segments: Sequence[SegmentSize], most_rows: int | None = None) -> list[int]:
    """The numbers of the segments to merge next; empty when none should be.

    Segments of one level (each level is MERGE_WIDTH times the one below) are merged when there are
    MERGE_WIDTH of them, so that a row is rewritten O(log n) times and a search meets O(log n)
    segments. A segment a quarter of whose rows are deleted is rewritten alone. Where a merge may
    write ``most_rows`` only, no more than fit are merged.
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
            ordered = sorted(levels[level])
            for group in in_groups([one.rows - one.dead for one in ordered], most_rows):
                if len(group) > 1:
                    return [ordered[place].number for place in group]
    for segment in segments:
        if segment.dead and segment.dead >= DEAD_SHARE * segment.rows:
            return [segment.number]
    return []


def in_groups(rows: Sequence[int], most_rows: int | None) -> list[list[int]]:
    """Places of segments of so many rows, in groups of ``most_rows`` at most, one segment at least.

    In the order given, each in the first group that has room for it.
    """
    groups: list[list[int]] = []
    left: list[float] = []
    for place, count in enumerate(rows):
        fits = next((i for i, room in enumerate(left) if count <= room), len(groups))
        if fits == len(groups):
            groups.append([])
            left.append(float("inf") if most_rows is None else most_rows)
        groups[fits].append(place)
        left[fits] -= count
    return groups
