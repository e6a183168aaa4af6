"""Keys and values in slots: rows of a batch accept different numbers of tokens and nothing moves.

Keys are stored with their position turned in, so the slot that holds one does not matter: a mask
says which slots a token sees. A rejected token's slots are simply free again, in the middle of a
row too, and the next tokens take the first free ones; so a row never has more slots than it had
tokens at once, and there are no holes to close. What is moved at all: packed prompts go to their
rows once, a row that ended gives its place to the last one, and buffers double when they are full.
That time is counted.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ....contracts import BoolArray, Int64Array


class Slots:
    """Which slots of which rows hold what, for all layers; and the layers' buffers."""

    def __init__(self, rows: int, capacity: int) -> None:
        self.rows = rows
        self.visible = np.zeros((rows, capacity), np.bool_)
        self.positions = np.zeros((rows, capacity), np.int64)
        self.writing: Int64Array = np.zeros((rows, 0), np.int64)
        self.used = 0
        self.moving_seconds = 0.0
        self.layers: list[SlotLayer] = []
        self.cache = self._cache()

    @property
    def capacity(self) -> int:
        """How many tokens a row holds before its buffers grow."""
        return self.visible.shape[1]

    @property
    def writing_positions(self) -> Int64Array:
        """(rows, n): the positions of the next tokens."""
        return np.take_along_axis(self.positions[: self.rows], self.writing, axis=1)

    def _cache(self) -> Any:
        """What a model of transformers takes as its cache; it asks for layers as it meets them."""
        from transformers import Cache
        from transformers.cache_utils import CacheLayerMixin

        CacheLayerMixin.register(SlotLayer)
        return Cache(layer_class_to_replicate=self._layer)

    def _layer(self) -> SlotLayer:
        self.layers.append(SlotLayer(self))
        return self.layers[-1]

    def reserve(self, positions: Int64Array) -> None:
        """Choose the slots of the next tokens, at ``positions`` (rows, n) of their texts."""
        count = positions.shape[1]
        fullest = int(self.visible[: self.rows].sum(axis=1).max(initial=0))
        if fullest + count > self.capacity:
            self._grow(fullest + count)
        free = [np.flatnonzero(~row)[:count] for row in self.visible[: self.rows]]
        self.writing = np.stack(free)
        np.put_along_axis(self.positions[: self.rows], self.writing, positions, axis=1)
        held = np.flatnonzero(self.visible[: self.rows].any(axis=0))
        self.used = 1 + max(int(self.writing.max()), int(held[-1]) if len(held) else 0)

    def seen(self, ancestors: BoolArray) -> BoolArray:
        """(rows, n, used): what is held already, and ``ancestors`` (rows, n, n) of what is new."""
        rows, count = self.writing.shape
        held = self.visible[:rows, None, : self.used]
        result = np.repeat(held, count, axis=1)
        np.put_along_axis(
            result, np.broadcast_to(self.writing[:, None], ancestors.shape), ancestors, axis=2
        )
        return result

    def holds(self) -> NDArray[np.int8]:
        """(rows, used): -1 what is held already, the number of what is new, -2 nothing."""
        result = np.where(self.visible[: self.rows, : self.used], -1, -2).astype(np.int8)
        new = np.arange(self.writing.shape[1], dtype=np.int8)
        np.put_along_axis(result, self.writing, new[None], axis=1)
        return result

    def keep(self, row: int, new: Sequence[int]) -> None:
        """Those of the last tokens written to a row that stand, by their number."""
        self.visible[row, self.writing[row, list(new)]] = True

    def drop(self, row: int) -> None:
        """A row has ended; the last one takes its place."""
        last = self.rows - 1
        if row < last:
            began = time.perf_counter()
            self.visible[row] = self.visible[last]
            self.positions[row] = self.positions[last]
            for layer in self.layers:
                layer.keys[row] = layer.keys[last]
                layer.values[row] = layer.values[last]
            self.moving_seconds += time.perf_counter() - began
        self.rows = last

    def copy(self, row: int, source: Slots, source_row: int, begin: int, count: int) -> None:
        """Take over ``count`` tokens of another cache, behind those that the row holds."""
        began = time.perf_counter()
        first = int(self.visible[row].sum())
        here, there = slice(first, first + count), slice(begin, begin + count)
        self.visible[row, here] = True
        self.positions[row, here] = source.positions[source_row, there]
        for number, other in enumerate(source.layers):
            if number == len(self.layers):
                self.layers.append(SlotLayer(self))
                self.cache.layers.append(self.layers[number])
            self.layers[number].copy(row, here, other, source_row, there)
        self.moving_seconds += time.perf_counter() - began

    def _grow(self, needed: int) -> None:
        began = time.perf_counter()
        more = max(needed, 2 * self.capacity) - self.capacity
        self.visible = np.pad(self.visible, ((0, 0), (0, more)))
        self.positions = np.pad(self.positions, ((0, 0), (0, more)))
        for layer in self.layers:
            layer.grow(more)
        self.moving_seconds += time.perf_counter() - began


class SlotLayer:
    """One layer's keys and values, (rows, heads, capacity, width): a cache layer of transformers.

    It is registered as one and not derived, so that transformers is not loaded with this module.
    """

    is_sliding = False
    is_croppable = False
    is_compileable = False

    def __init__(self, slots: Slots) -> None:
        self._slots = slots
        self.keys: Any = None
        self.values: Any = None

    def update(self, keys: Any, values: Any, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Write new ones (rows, heads, n, width) to the reserved slots; all that are in use."""
        import torch

        slots = self._slots
        self._make_room(keys, values)
        where = torch.from_numpy(slots.writing).to(keys.device)
        rows = torch.arange(len(where), device=keys.device)[:, None]
        self.keys[rows, :, where] = keys.transpose(1, 2)
        self.values[rows, :, where] = values.transpose(1, 2)
        used = slice(0, slots.used)
        return self.keys[: slots.rows, :, used], self.values[: slots.rows, :, used]

    def copy(self, row: int, here: slice, source: SlotLayer, source_row: int, there: slice) -> None:
        """See :meth:`Slots.copy`."""
        self._make_room(source.keys, source.values)
        self.keys[row, :, here] = source.keys[source_row, :, there]
        self.values[row, :, here] = source.values[source_row, :, there]

    def grow(self, more: int) -> None:
        """Room for ``more`` tokens a row."""
        import torch

        self.keys = torch.nn.functional.pad(self.keys, (0, 0, 0, more))
        self.values = torch.nn.functional.pad(self.values, (0, 0, 0, more))

    def get_seq_length(self) -> int:
        """How many slots are in use."""
        return self._slots.used

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """The mask's width and where it begins."""
        return self._slots.used, 0

    def get_max_length(self) -> int:
        """No maximum."""
        return -1

    def _make_room(self, keys: Any, values: Any) -> None:
        if self.keys is None:
            rows, capacity = self._slots.visible.shape
            self.keys = keys.new_zeros((rows, keys.shape[1], capacity, keys.shape[3]))
            self.values = values.new_zeros((rows, values.shape[1], capacity, values.shape[3]))
