"""A segment whose vectors and lists stay on disk, but for what memory has room for."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Allowed, Array, BoolArray, Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Groups, Lists, grouped, opened
from ...kernels.rabitq import record_bytes
from ..dense.segment import DenseSegment, Passing
from ..remembered import Remembered
from .pages import Pages
from .rows import Laid, Rows, Scaled
from .settings import Spann
from .space import Space
from .writing import GROUPED, memory_bytes


class View(NamedTuple):
    """What a filter lets through: a mask over places, and how many vectors of each list."""

    mask: BoolArray
    counts: NDArray[np.int32]


EVERY = View(np.zeros(0, np.bool_), np.zeros(0, np.int32))


class SpannSegment(DenseSegment):
    """Rows, their vectors, and lists of codes; ``lists`` is None where it is searched exactly."""

    def __init__(self, arrays: Mapping[str, Array], summary: JsonObject, settings: Spann) -> None:
        super().__init__(arrays, summary)
        self.vector_pages = Pages(self.vectors, copied=True)
        self.posting_pages: Pages | None = None
        self.lists: Lists | None = None
        self.slots: NDArray[np.int32] | None = None
        """Where the vectors of places lie in their file; None: in the order of the places."""
        self.sizes: Int64Array = np.zeros(0, np.int64)
        """Bytes of each list."""
        self._first_row = int(self.rows[0]) if len(self.rows) else 0
        self._no_gaps = bool(len(self.rows)) and self.rows[-1] - self._first_row < len(self.rows)
        self._counts = Remembered[NDArray[np.int32]]()
        if "spann" in summary:
            self._open_lists(settings)
        self._pages = {name: Pages(array) for name, array in arrays.items()}

    def _open_lists(self, settings: Spann) -> None:
        arrays, facts = self.arrays, self.summary["spann"]
        dim = self.vectors.shape[1]
        self.space = Space(settings.similarity, dim, facts["bound"])
        self.signs: Float32Array = self.space.signs()
        counts: NDArray[np.int32] = np.array(arrays["spann_counts"])
        bits, width = facts["bits"], self.space.width
        self.sizes = counts.astype(np.int64) * record_bytes(1, width, bits)
        self.posting_pages = Pages(arrays["spann_postings"], copied=True)
        if facts.get("laid"):
            self.slots = np.array(arrays["spann_slots"])
        lists = opened(
            np.array(arrays["spann_centroids"]),
            np.array(arrays["spann_scales"]),
            counts,
            np.array(arrays["spann_offsets"]),
            arrays["spann_postings"],
            bits,
            self._groups() if facts.get("groups") else None,
        )
        room = memory_bytes(settings, self.vectors) - self.sizes.nbytes
        room -= sum(array.nbytes for array in (*lists[:5], lists.offsets, *lists.groups))
        room -= 0 if self.slots is None else self.slots.nbytes
        self.lists = _kept(lists, self.sizes, np.array(arrays["spann_heat"]), room)

    def _groups(self) -> Groups:
        return grouped(*(np.array(self.arrays[f"spann_group_{name}"]) for name in GROUPED))

    @property
    def points(self) -> Rows:
        """What the lists were made of: the vectors, with their ``scales`` where they have some."""
        if self.slots is not None:
            return Laid(self.vectors, self.slots)
        scales = self.arrays.get("scales")
        return self.vectors if scales is None else Scaled(self.vectors, scales)

    def slots_at(self, places: Int64Array) -> Int64Array:
        """Where the vectors of places lie in their file."""
        return places if self.slots is None else self.slots[places].astype(np.int64)

    def vectors_at(self, places: Int64Array) -> Array:
        """The vectors of places: (n, dim), in the numbers they are kept in."""
        slots = self.slots_at(places)
        self.vector_pages.begin(slots)
        return self.vector_pages.rows(slots)

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
        """Bytes of memory that centroids, tables, kept lists and masks take."""
        tables: list[Array | None] = [self.slots]
        tables += [passing.mask for passing in self._passing.values()]
        tables += self._counts.values()
        if self.lists is not None:
            tables += [*self.lists[:6], self.lists.offsets, self.sizes, *self.lists.groups]
        return sum(array.nbytes for array in tables if array is not None)

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
        """What a filter lets through; kept as long as its mask."""
        mask = passing.mask
        if mask is None:
            return EVERY
        passed = self._counts.get(mask)
        if passed is None:
            assert self.lists is not None
            m = len(self.lists.counts)
            counts = np.bincount(self.arrays["spann_homes"][mask], minlength=m)
            copies = self.arrays["spann_copies"]
            counts += np.bincount(copies[mask[copies[:, 0]], 1], minlength=m)
            self._drop("spann_homes", "spann_copies")
            passed = counts.astype(np.int32)
            self._counts.put(passed, mask)
        return View(mask, passed)

    def _through(self, allowed: Allowed) -> BoolArray:
        through = super()._through(allowed)
        self._drop("rows")
        return through

    def _drop(self, *names: str) -> None:
        for name in names:
            self._pages[name].drop_all()


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
