"""Which shards a search of an index need ask, by where their lists lie.

The story: every version that a search pins says of each index what its lists are made of
(:class:`Listed`), or that it has rows which stand in no list: such a shard is always asked. What
the router does not hold yet of the others it fetches, what it holds of another version it drops,
and then it applies the index's own rule to all lists together
(:mod:`cormorant.indexers.spann.reach`). A version of the same write has the same rows, whichever
replica it is of and however its segments are cut; one of another write has them where its segments
are the same and about as many rows live.

Looking through all centroids has its price. Where it hardly ever spares a shard, as with documents
placed by hash, one search in :data:`LOOK_EVERY` goes on looking, and the others ask everyone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import xxhash

from ...contracts import Allowed, Float32Array, Int64Array
from ...documents import JsonObject
from ..snapshot import IndexView

CENTROID_BYTES = 64 << 20
"""Of an index: one whose centroids take more is asked in every shard."""
LOOK_EVERY = 16
_PAYS = 0.9
"""At a larger share of shards asked, looking does not pay."""
_QUERIES_NEEDED = 64
_QUERIES_KEPT = 4096


class Listed(NamedTuple):
    """What a shard's lists of an index are made of (a checksum), and what their centroids take."""

    key: str
    size: int


def listed(view: IndexView, allowed: Allowed) -> Listed | None:
    """Of one shard's index; None where it has rows in no list, or no lists at all."""
    size_of = getattr(view.index, "reach_bytes", None)
    size = None if size_of is None or view.rows_behind else size_of(view.segments)
    if size is None:
        return None
    live = allowed.visible
    percent = 100 if live is None else 100 * np.count_nonzero(live) // len(live)
    made_of = "".join(item.files_json for item in view.stored)
    return Listed(xxhash.xxh3_64_hexdigest(f"{percent} {made_of}".encode()), size)


@dataclass(slots=True)
class _Map:
    """What is held of one index. ``made_of``: by shard the key, and the write it was made at."""

    index: Any
    pool: Any = None
    made_of: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    searches: int = 0
    queries: int = 0
    asked: int = 0
    shards: int = 0

    def pays(self) -> bool:
        """Whether this search is to look."""
        self.searches += 1
        known = self.queries >= _QUERIES_NEEDED
        return not known or self.asked <= _PAYS * self.shards or not self.searches % LOOK_EVERY

    def note(self, queries: int, asked: int, shards: int) -> None:
        """Count queries, and shards asked of all; what is long ago weighs less."""
        if self.queries > _QUERIES_KEPT:
            self.queries, self.asked, self.shards = (
                value // 2 for value in (self.queries, self.asked, self.shards)
            )
        self.queries += queries
        self.asked += asked
        self.shards += shards * queries


class Routing:
    """The centroids of one collection's indexes; any number of threads may ask."""

    def __init__(self) -> None:
        self._maps: dict[str, _Map] = {}
        self._lock = threading.Lock()

    def likely(
        self,
        name: str,
        index: Any,
        queries: Float32Array,
        k: int,
        versions: Mapping[int, tuple[int, Listed | None]],
        fetch: Callable[[Collection[int]], Mapping[int, Any]],
    ) -> dict[int, Int64Array] | None:
        """By shard the queries that it is to be asked; None: all of them, of every shard.

        ``versions``: the write that each shard is seen at, and its lists. ``fetch`` brings what
        shards say of their lists, None of one that cannot say.
        """
        with self._lock:
            held = self._maps.get(name)
            if held is None or held.index is not index:  # one of that name was dropped
                held = self._maps[name] = _Map(index)
            pool, made_of = held.pool, held.made_of
            if made_of.keys() - versions.keys() or not held.pays():
                return None  # or a shard was left out, and others' lists are nearer than they seem
        wanted = {}
        sure = set()
        for shard, (write, own) in versions.items():
            key, made_at = made_of.get(shard, ("", -1))
            if write == made_at or (own is not None and own.key == key):
                sure.add(shard)
            elif write < made_at:
                return None  # this search began before what is known
            elif own is not None:
                wanted[shard] = own
        parts = {shard: pool.parts[shard] for shard in sure}
        fetched: dict[int, Any] = {}
        if wanted:
            size = sum(part.nbytes for part in parts.values())
            if size + sum(own.size for own in wanted.values()) > CENTROID_BYTES:
                return None
            fetched = {shard: reach for shard, reach in fetch(wanted).items() if reach is not None}
        if fetched or len(sure) < len(made_of):
            # Lists that a shard has no more may lie nearer than those where the answer is: they go.
            parts |= fetched
            pool = index.pool(parts) if parts else None
            new = {shard: (wanted[shard].key, versions[shard][0]) for shard in fetched}
            with self._lock:
                held.pool, held.made_of = pool, {shard: made_of[shard] for shard in sure} | new
            sure |= fetched.keys()
        if not sure:
            return None
        found = pool.likely(queries, k)
        every = np.arange(len(queries))
        places = {
            shard: np.flatnonzero(found[shard]) if shard in sure else every for shard in versions
        }
        with self._lock:
            held.note(len(queries), sum(map(len, places.values())), len(versions))
        return places

    def keep(self, names: Collection[str]) -> None:
        """Forget every index but these."""
        with self._lock:
            self._maps = {name: own for name, own in self._maps.items() if name in names}

    def describe(self, name: str) -> JsonObject:
        """What is held of an index, and of how many shards looking through it spares a query."""
        with self._lock:
            held = self._maps.get(name)
            if held is None or held.pool is None:
                return {}
            size = sum(part.nbytes for part in held.pool.parts.values())
            return {"centroid_bytes": size, "shards_asked": held.asked / max(1, held.queries)}
