"""Versions that a shard holds still for searches elsewhere.

A search pins a version in every shard under a token, asks for what it needs, and lets go. A router
that died lets go of nothing: a lease that was not used for :data:`LEASE_SECONDS` is closed when the
shard is next asked for anything. A replica that is asked under a token that it does not know (it is
the second one, or the lease ran out) pins what it has, if that is the write the search saw.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, NamedTuple

from ...contracts import Allowed
from ...documents import JsonObject
from ...errors import CollectionError
from ...statistics import Statistics
from ..reader import Pinned
from ..version import LocalVersion
from .routing import Listed

LEASE_SECONDS = 300.0
RELEASED_KEPT = 4096
"""So many tokens are remembered, for a request that comes in, or ends, after its search."""


class Pin(NamedTuple):
    """What a search may see; ``write``: of which write it must be the version, None: any."""

    filter: Mapping[str, Any] | None = None
    as_labels: Sequence[str] | None = None
    write: int | None = None


class Facts(NamedTuple):
    """What a search needs to know of a shard's version.

    ``encoders``, ``rows_behind`` and ``lists`` are by index; ``statistics`` those asked for.
    """

    write: int
    commit: int
    n_documents: int
    encoders: Mapping[str, JsonObject | None]
    rows_behind: Mapping[str, int]
    statistics: Mapping[str, Statistics]
    lists: Mapping[str, Listed | None]


class VersionGoneError(CollectionError):
    """A replica no longer has, or does not yet have, the version that a search sees."""


@dataclass(slots=True)
class Lease:
    """A version held for one search."""

    version: LocalVersion
    allowed: Allowed
    write: int
    stack: ExitStack
    used_at: float
    _lock: Lock = field(default_factory=Lock)
    _closed: bool = False

    @contextmanager
    def reading(self) -> Iterator[Pinned]:
        """Its catalog, for one thread at a time.

        Raises :class:`VersionGoneError` once it was let go of: others use the connection then.
        """
        with self._lock:
            if self._closed:
                raise VersionGoneError("the version was let go of")
            yield self.version.pinned

    def close(self) -> None:
        """Let go of the version, once nobody reads."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.stack.close()


class Leases:
    """The leases of one shard; any number of threads may ask."""

    def __init__(self, pin: Callable[[Pin], Lease], clock: Callable[[], float]) -> None:
        self._pin = pin
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._released: dict[str, None] = {}
        self._lock = Lock()

    def get(self, token: str, pin: Pin) -> Lease:
        """The lease of a token, made now where there is none.

        Raises :class:`VersionGoneError` where the version asked for is not the one it has, and
        for a token that was released.
        """
        self.expire()
        with self._lock:
            lease = self._leases.get(token)
        if lease is None:
            made = self._pin(pin)
            with self._lock:
                over = token in self._released
                lease = made if over else self._leases.setdefault(token, made)
            if over or lease is not made:
                made.close()
            if over:
                raise VersionGoneError("the search that asked is over")
        lease.used_at = self._clock()
        if pin.write is not None and lease.write != pin.write:
            self._drop(token)
            raise VersionGoneError(
                f"the version of write {pin.write} is gone: this replica is at {lease.write}; "
                "search again"
            )
        return lease

    def release(self, token: str) -> None:
        """Let go of a version for good; one that is not held is fine."""
        with self._lock:
            self._released[token] = None
            if len(self._released) > RELEASED_KEPT:
                del self._released[next(iter(self._released))]
        self._drop(token)

    def release_all(self) -> None:
        """Let go of every version."""
        for token in list(self._leases):
            self.release(token)

    def expire(self) -> None:
        """Let go of what nobody used for long."""
        now = self._clock()
        for token, lease in list(self._leases.items()):
            if now - lease.used_at > LEASE_SECONDS:
                self._drop(token)

    def _drop(self, token: str) -> None:
        with self._lock:
            lease = self._leases.pop(token, None)
        if lease is not None:
            lease.close()
