"""Masks over rows, from a filter and from labels: which documents exist for a searcher.

Finding the rows of a filter takes SQLite its time, and indexes keep what they derive from a mask by
its identity. So the masks of the newest version are kept, and the same question to the same version
gets the same objects.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

from ..contracts import Allowed, BoolArray
from .arguments import checked_labels
from .filters import filter_mask, label_mask, parse_filter
from .reader import Pinned

_MASKS_KEPT = 32


class Masks:
    """Makes and keeps the masks of one collection; any number of threads may ask."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[int, str], BoolArray] = OrderedDict()
        self._lock = Lock()

    def allowed(
        self,
        pinned: Pinned,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
    ) -> Allowed:
        """The masks of a search; the same objects for the same question to the same version."""
        visible = pinned.snapshot.live
        n_rows = pinned.snapshot.state.next_row
        commit = pinned.snapshot.commit
        if as_labels is not None:
            labels = checked_labels(as_labels)
            live = visible

            def visible_rows() -> BoolArray:
                mask = label_mask(pinned.connection, labels, n_rows)
                return mask if live is None else mask & live

            visible = self._mask((commit, f"labels {json.dumps(labels)}"), visible_rows)
        selected = None
        if filter is not None:
            condition = parse_filter(filter)
            selected = self._mask(
                (commit, f"filter {condition!r}"),
                lambda: filter_mask(pinned.connection, condition, n_rows),
            )
        return Allowed(visible, selected)

    def _mask(self, key: tuple[int, str], compute: Callable[[], BoolArray]) -> BoolArray:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        mask = compute()  # not under the lock: other questions need not wait for it
        mask.flags.writeable = False
        with self._lock:
            self._kept[key] = mask
            for stale in [old for old in self._kept if old[0] < key[0]]:
                del self._kept[stale]
            while len(self._kept) > _MASKS_KEPT:
                self._kept.popitem(last=False)
        return mask
