"""A segment whose vectors and lists stay on disk, but for what memory has room for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from threading import Lock
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Array, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Lists, opened
from ...kernels.rabitq import record_bytes
from ..dense.segment import DenseSegment, Passing
from .pages import Pages
from .rows import Laid, Rows, Scaled
from .settings import Spann
from .space import Space
from .writing import memory_bytes

_VIEWS_KEPT = 4


class View(NamedTuple):
    """What a filter lets through: a mask over places, and how many vectors of each list."""

    mask: BoolArray
    counts: NDArray[np.int32]


EVERY = View(np.zeros(0, np.bool_), np.zeros(0, np.int32))


class SpannSegment(DenseSegment):
    """Rows, their vectors, and lists of codes; ``lists`` is None where it is searched exactly."""

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject, settings: Spann) -> None:
        super().__init__(arrays, summary)
        self.vector_pages = Pages(self.vectors)
        self.posting_pages: Pages | None = None
        self.lists: Lists | None = None
        self.slots: NDArray[np.int32] | None = None
        """Where the vectors of places lie in their file; None: in the order of the places."""
        self.sizes: Int64Array = np.zeros(0, np.int64)
        """Bytes of each list."""
        self._first_row = int(self.rows[0]) if len(self.rows) else 0
        self._no_gaps = bool(len(self.rows)) and self.rows[-1] - self._first_row < len(self.rows)
        self._views: list[tuple[Passing, View]] = []
        self._views_lock = Lock()
        if "spann" in summary:
            self._open_lists(settings)
        for array in arrays.values():
            Pages(array)

    def _open_lists(self, settings: Spann) -> None:
        arrays, facts = self.arrays, self.summary["spann"]
        dim = self.vectors.shape[1]
        self.space = Space(settings.similarity, dim, facts["bound"])
        self.signs: Float32Array = self.space.signs()
        counts: NDArray[np.int32] = np.array(arrays["spann_counts"])
        bits, width = facts["bits"], self.space.width
        self.sizes = counts.astype(np.int64) * record_bytes(1, width, bits)
        self.posting_pages = Pages(arrays["spann_postings"])
        if facts.get("laid"):
            self.slots = np.array(arrays["spann_slots"])
        lists = opened(
            np.array(arrays["spann_centroids"]),
            np.array(arrays["spann_scales"]),
            counts,
            np.array(arrays["spann_offsets"]),
            arrays["spann_postings"],
            bits,
        )
        room = memory_bytes(settings, self.vectors) - self.sizes.nbytes
        room -= sum(array.nbytes for array in (*lists[:5], lists.offsets))
        room -= 0 if self.slots is None else self.slots.nbytes
        self.lists = _kept(lists, self.sizes, np.array(arrays["spann_heat"]), room)

    @property
    def points(self) -> Rows:
        """What the lists were made of: the vectors, with their ``scales`` where they have some."""
        if self.slots is not None:
            return Laid(self.vectors, self.slots)
        scales = self.arrays.get("scales")
        return self.vectors if scales is None else Scaled(self.vectors, scales)

    def vectors_at(self, places: Int64Array) -> Array:
        """The vectors of places: (n, dim), in the numbers they are kept in."""
        return self.vectors[places if self.slots is None else self.slots[places]]

    @cached_property
    def all_kept(self) -> bool:
        """Whether no list has to be read from disk."""
        return self.lists is not None and bool(((self.lists.slots >= 0) | (self.sizes == 0)).all())

    @property
    def n_kept(self) -> int:
        """Lists kept in memory."""
        return 0 if self.lists is None else int(np.count_nonzero(self.lists.slots >= 0))

    @property
    def kept_bytes(self) -> int:
        """Bytes of memory that centroids, tables and kept lists take."""
        if self.lists is None:
            return 0
        tables = (*self.lists[:6], self.lists.offsets, self.sizes)
        slots = 0 if self.slots is None else self.slots.nbytes
        return slots + sum(array.nbytes for array in tables)

    def rows_at(self, places: Int64Array) -> Int64Array:
        """The rows of places; where none is missing between them no page is read for it."""
        rows: Int64Array = places + self._first_row if self._no_gaps else self.rows[places]
        return rows

    def check_files(self) -> None:
        """Raises :class:`~cormorant.errors.StorageError` where what is on disk was cut short."""
        self.vector_pages.check()
        if self.posting_pages is not None:
            self.posting_pages.check()

    def view(self, passing: Passing) -> View:
        """What a filter lets through; kept for the filters asked for last."""
        if passing.places is None:
            return EVERY
        with self._views_lock:
            for known, view in self._views:
                if known is passing:
                    return view
        assert self.lists is not None
        m = len(self.lists.counts)
        mask = np.zeros(len(self.rows), np.bool_)
        mask[passing.places] = True
        counts = np.bincount(self.arrays["spann_homes"][mask], minlength=m)
        copies = self.arrays["spann_copies"]
        counts += np.bincount(copies[mask[copies[:, 0]], 1], minlength=m)
        view = View(mask, counts.astype(np.int32))
        with self._views_lock:
            self._views = [(passing, view), *self._views[: _VIEWS_KEPT - 1]]
        return view


def _kept(lists: Lists, sizes: Int64Array, heat: Float32Array, room: int) -> Lists:
    """The lists with as many of them in memory as there is room for, the most read first."""
    order = np.lexsort((np.arange(len(sizes)), -heat / np.maximum(sizes, 1)))
    held = order[np.cumsum(sizes[order]) <= room]
    held = np.sort(held[sizes[held] > 0])
    slots = np.full(len(sizes), -1, np.int64)
    slots[held] = np.cumsum(sizes[held]) - sizes[held]
    kept = np.empty(int(sizes[held].sum()), np.uint8)
    pages = Pages(lists.paged)
    for number in held.tolist():
        first, size, slot = lists.offsets[number], sizes[number], slots[number]
        kept[slot : slot + size] = lists.paged[first : first + size]
    pages.drop_all()
    return lists._replace(slots=slots, kept=kept)
