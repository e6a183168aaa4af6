"""What can be wrong inside a segment whose files are intact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...contracts import Array
from ...documents import JsonObject
from ...errors import CormorantError
from ...kernels.lists import Lists
from ...kernels.rabitq import MAX_BITS, record_bytes
from .segment import SpannSegment
from .settings import Spann
from .space import SEED, Space
from .writing import fill

_SAMPLES = 64
"""Lists whose codes are made again."""


def check_lists(arrays: Mapping[str, Array], summary: JsonObject, settings: Spann) -> None:
    """Refuse arrays whose types, shapes or offsets would send a kernel beyond their end."""
    if "spann" not in summary:
        return
    n, dim = arrays["vectors"].shape
    facts = summary["spann"]
    bits, m = facts["bits"], facts["lists"]
    width = Space(settings.similarity, dim, facts["bound"]).width
    groups = facts.get("groups", 0)
    for name, (dtype, shape) in _wanted(facts, n, width).items():
        found = arrays.get(name)
        fits = found is not None and found.ndim == len(shape) and found.dtype.str == dtype
        if (
            not fits
            or found is None
            or any(
                size is not None and size != own
                for size, own in zip(shape, found.shape, strict=True)
            )
        ):
            what = "nothing" if found is None else f"{found.dtype}{found.shape}"
            raise CormorantError(f"is no spann segment: {name} is {what}")
    if facts["seed"] != SEED:
        raise CormorantError(f"was rotated by seed {facts['seed']}; this version uses {SEED}")
    if not 1 <= bits <= MAX_BITS:
        raise CormorantError(f"is no spann segment: codes of {bits} bits")
    offsets, counts = arrays["spann_offsets"], arrays["spann_counts"].astype(np.int64)
    ends = offsets + counts * record_bytes(1, width, bits)
    size = len(arrays["spann_postings"])
    if m == 0 or counts.min() < 0 or offsets.min() < 0 or ends.max() > size or np.any(offsets % 8):
        raise CormorantError("is no spann segment: a list is outside its file")
    for name, column, limit in (
        ("spann_homes", arrays["spann_homes"], m),
        ("spann_copies", arrays["spann_copies"][:, 0], n),
        ("spann_copies", arrays["spann_copies"][:, 1], m),
    ):
        if len(column) and not 0 <= column.min() <= column.max() < limit:
            raise CormorantError(f"is no spann segment: {name} points nowhere")
    _check_places(arrays, offsets, counts, n)
    if facts.get("laid") and not _each_once(arrays["spann_slots"]):
        raise CormorantError("is no spann segment: spann_slots does not name each vector once")
    if groups and not _is_grouped(arrays["spann_group_starts"], m):
        raise CormorantError("is no spann segment: its groups do not hold each list once")


def _wanted(facts: JsonObject, n: int, width: int) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    """The type and the shape of each array."""
    m, groups = facts["lists"], facts.get("groups", 0)
    wanted: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "spann_centroids": ("|i1", (m, width)),
        "spann_scales": ("<f4", (m,)),
        "spann_counts": ("<i4", (m,)),
        "spann_offsets": ("<i8", (m,)),
        "spann_heat": ("<f4", (m,)),
        "spann_postings": ("|u1", (None,)),
        "spann_homes": ("<i4", (n,)),
        "spann_copies": ("<i4", (None, 2)),
    }
    if facts.get("laid"):
        wanted["spann_slots"] = ("<i4", (n,))
    if groups:
        wanted |= {
            "spann_group_centroids": ("|i1", (groups, width)),
            "spann_group_scales": ("<f4", (groups,)),
            "spann_group_starts": ("<i4", (groups + 1,)),
        }
    return wanted


def _is_grouped(starts: Array, m: int) -> bool:
    """Whether each of m lists is in one group, and no group begins beyond the end."""
    ascending = bool(np.all(np.diff(starts.astype(np.int64)) >= 0))
    return ascending and starts[0] == 0 and starts[-1] == m


def _each_once(slots: Array) -> bool:
    """Whether they are 0 to n - 1 in some order."""
    if len(slots) and not 0 <= slots.min() <= slots.max() < len(slots):
        return False
    return bool(np.bincount(slots, minlength=len(slots)).max(initial=1) == 1)


def _check_places(arrays: Mapping[str, Array], offsets: Array, counts: Array, n: int) -> None:
    for first, count in zip(offsets.tolist(), counts.tolist(), strict=True):
        places = arrays["spann_postings"][first : first + 4 * count].view(np.int32)
        if count and not 0 <= places.min() <= places.max() < n:
            raise CormorantError("is no spann segment: a list names a row that is not there")


def problems_of(segment: SpannSegment, settings: Spann) -> list[str]:
    """Empty when nothing is wrong: each row stands in the lists it should, some codes are right."""
    lists = segment.lists
    if lists is None:
        return []
    problems = []
    m, n = len(lists.counts), len(segment.rows)
    homes, copies = segment.arrays["spann_homes"], segment.arrays["spann_copies"]
    places = [_places(lists, number) for number in range(m)]
    stands = np.repeat(np.arange(m), lists.counts) * n + np.concatenate(places)
    wanted = np.concatenate(
        [
            homes.astype(np.int64) * n + np.arange(n),
            copies[:, 1].astype(np.int64) * n + copies[:, 0],
        ]
    )
    if len(np.unique(stands)) != len(stands):
        problems.append("a row stands twice in one list")
    if not np.array_equal(np.sort(stands), np.sort(wanted)):
        reached = np.zeros(n, np.bool_)
        reached[np.concatenate(places)] = True
        lost = int(np.count_nonzero(~reached))
        problems.append(
            f"{lost:,} rows are in no list" if lost else "rows do not stand where they should"
        )
    if not problems:
        problems += _stale(segment, lists, places)
    segment.vector_pages.drop_all()
    return problems


def _places(lists: Lists, number: int) -> Array:
    first, count = int(lists.offsets[number]), int(lists.counts[number])
    return lists.paged[first : first + 4 * count].view(np.int32).astype(np.int64)


def _stale(segment: SpannSegment, lists: Lists, places: list[Array]) -> list[str]:
    """Whether the codes are those of the vectors, on some lists."""
    width, bits = segment.space.width, lists.bits
    for number in range(0, len(places), max(1, len(places) // _SAMPLES)):
        count, first = int(lists.counts[number]), int(lists.offsets[number])
        centroid = lists.centroids[number].astype(np.float32) * lists.scales[number]
        record = np.zeros(record_bytes(count, width, bits), np.uint8)
        fill(record, segment.points, segment.space, places[number], centroid, bits)
        held = lists.paged[first : first + len(record)]
        if not np.array_equal(record, held):
            return [f"the codes of list {number} are not those of its vectors"]
    return []
