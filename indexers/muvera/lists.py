"""Candidates out of short lists on disk: SPANN over the proxy's vectors, not a pass over all.

The proxy's vectors are the lists' vectors, as the segment keeps them: a byte a number. Candidates
come by the estimates of their codes, so that a search reads lists and the token vectors that it
scores, and nothing in between.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...contracts import Array, ArraySink, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.fde import Bytes
from ...ranking import NO_ROW
from ..dense.segment import Passing
from ..spann import checking, merging
from ..spann import writing as spann_writing
from ..spann.recording import Recorded
from ..spann.rows import Scaled
from ..spann.searching import nearest
from ..spann.segment import SpannSegment
from ..spann.settings import Spann
from ..spann.space import Space
from ..spann.stages import Stages
from ..spann.tracing import Trace

_NUMBERS = 1 << 24
"""Numbers of vectors that are widened at a time."""
_FAR = np.float32(4.0)
"""How far out a query is put, in lengths of the longest vector. Queries' proxies are far from all
documents': there the length of a centroid, which says how much a list's vectors are alike, would
decide as much as its direction. From far out a distance is an inner product: of nfcorpus's 83 lists
44 hold .95 of the ten best, 49 from one length out."""


class Old(NamedTuple):
    """Lists that a merge may go on with, and which of their rows are left."""

    listed: SpannSegment
    keep: BoolArray | None


def write(
    rows: Int64Array, vectors: Bytes, settings: Spann, sink: ArraySink, old: Old | None
) -> SpannSegment:
    """Write the lists of the proxy's vectors; ``spann_heat`` is zeros, for who measures to fill."""
    points = Scaled(*vectors)
    space = Space("dot", points.shape[1], _largest_norm(points))

    def begun() -> spann_writing.Begun | None:
        return None if old is None else merging.begun(*old, rows, space, settings)

    recorded = Recorded(sink)
    stages = Stages(sink, len(points), repeatable=False)  # a proxy may be fitted anew
    written = spann_writing.write(points, space, settings, recorded, stages, begun)
    recorded.create("spann_heat", np.float32, (written.facts["lists"],))
    arrays = {**recorded.arrays, "rows": rows}
    arrays |= {"proxy_codes": vectors.codes, "proxy_scales": vectors.scales}
    return opened(arrays, written.facts, settings)


def opened(arrays: Mapping[str, Array], facts: JsonObject, settings: Spann) -> SpannSegment:
    """The lists of a segment."""
    return SpannSegment(_as_vectors(arrays), {"spann": facts}, settings)


def check(arrays: Mapping[str, Array], facts: JsonObject, settings: Spann) -> None:
    """Refuse arrays that would send a kernel beyond their end."""
    checking.check_lists(_as_vectors(arrays), {"spann": facts}, settings)


def best(
    listed: SpannSegment,
    asked: Array,
    k: int,
    length: int,
    passing: Passing,
    lists: int,
    trace: Trace,
) -> Int64Array:
    """Places (n_queries, length) int64, likeliest first, -1 where the lists hold no more.

    To a query of zeros all are alike: it gets the lowest places, as it does without lists.
    """
    listed.check_files()
    found = np.full((len(asked), length), NO_ROW, np.int64)
    some = np.flatnonzero(asked.any(axis=1))
    if len(some) < len(asked):
        lowest = np.arange(passing.size) if passing.places is None else passing.places
        found[~asked.any(axis=1), : len(lowest)] = lowest[:length]
    if not len(some):
        return found
    placed = points_of(listed, asked[some])
    for query, places in zip(
        some, nearest(listed, placed, k, length, passing, lists, trace), strict=True
    ):
        found[query, : len(places)] = places
    return found


def points_of(listed: SpannSegment, asked: Array) -> Float32Array:
    """Queries' proxies, (n, size) int8, in the lists' space."""
    return listed.space.of_queries(asked.astype(np.float32), listed.signs) * _FAR


def _as_vectors(arrays: Mapping[str, Array]) -> dict[str, Array]:
    """The arrays of the lists, and the proxy's vectors as what they are lists of."""
    held = {name: array for name, array in arrays.items() if name.startswith("spann_")}
    names = {"rows": "rows", "vectors": "proxy_codes", "scales": "proxy_scales", "cut": "rows"}
    return held | {name: arrays[of] for name, of in names.items()}


def _largest_norm(points: Scaled) -> float:
    largest, step = 0.0, max(1, _NUMBERS // points.shape[1])
    for first in range(0, len(points), step):
        block = points[first : first + step]
        largest = max(largest, float(np.einsum("nd,nd->n", block, block, dtype=np.float64).max()))
    return math.sqrt(largest)
