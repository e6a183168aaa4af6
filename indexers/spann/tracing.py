"""What a search did, for ``explain``."""

from __future__ import annotations

import mmap
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ...contracts import Float32Array, Int64Array
from ...documents import JsonObject
from ...kernels.lists import Lists, Rule, distances
from ...timing import Timed

CAUSES = ("too_far", "group_too_far", "over_the_cap", "no_allowed_row")


@dataclass
class Trace:
    """Sums over the queries of one search of one segment.

    ``explained``: whether it is to be said why a list was not read, which takes another look at
    every centroid.
    """

    explained: bool = False
    considered: int = 0
    read: int = 0
    kept: int = 0
    codes: int = 0
    vectors: int = 0
    bytes_read: int = 0
    pruned: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CAUSES, 0))
    milliseconds: dict[str, float] = field(default_factory=dict)

    def timed(self, what: str) -> Timed:
        """A block whose time is added to a part."""
        return Timed(self.milliseconds, what)

    def note_lists(
        self,
        lists: Lists,
        query: Float32Array,
        rule: Rule,
        chosen: NDArray[np.int32],
        allowed: NDArray[np.int32],
    ) -> None:
        """Which lists a query reads, and why it reads no other: each has one cause."""
        self.considered += len(lists.counts)
        self.read += len(chosen)
        if not self.explained:
            return
        skipped = np.ones(len(lists.counts), np.bool_)
        skipped[chosen] = False
        if len(allowed):
            self.pruned["no_allowed_row"] += int(np.count_nonzero(skipped & (allowed == 0)))
            skipped &= allowed > 0
        apart = distances(lists, query)
        far = apart > rule.bound(float(apart.min()))
        self.pruned["too_far"] += int(np.count_nonzero(skipped & far))
        # Nearer than one that is read, and not read: it was not compared.
        missed = skipped & ~far
        if len(chosen) >= rule.most:
            missed &= apart < apart[chosen].max(initial=0.0)
        self.pruned["group_too_far"] += int(np.count_nonzero(missed))
        self.pruned["over_the_cap"] += int(np.count_nonzero(skipped & ~far & ~missed))

    def note_pages(self, spans: Int64Array) -> None:
        """Stretches of pages that are asked of the disk, or of what the kernel caches of it."""
        self.bytes_read += int((spans[:, 1] - spans[:, 0]).sum())

    def as_json(self) -> JsonObject:
        """For a person."""
        return {
            "postings": self.considered,
            "postings_pruned": self.pruned,
            "postings_read": self.read,
            "cache_hits": self.kept,
            "codes_scanned": self.codes,
            "vectors_reranked": self.vectors,
            "pages": self.bytes_read // mmap.PAGESIZE,
            "bytes_read": self.bytes_read,
            "milliseconds": {name: round(ms, 4) for name, ms in self.milliseconds.items()},
        }
