"""Versions that a shard holds still for searches elsewhere.

A search pins a version in every shard under a token, asks for what it needs, and lets go. A router
that died lets go of nothing: a lease that was not used for :data:`LEASE_SECONDS` is closed when the
shard is next asked for anything. A replica that is asked under a token that it does not know (it is
the second one, or the lease ran out) pins what it has, if that is the write the search saw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Lock, RLock
from typing import Any, NamedTuple

from ...contracts import Allowed
from ...documents import JsonObject
from ...errors import CollectionError
from ...statistics import Statistics
from ..version import LocalVersion

LEASE_SECONDS = 300.0


class Pin(NamedTuple):
    """What a search may see; ``write``: of which write it must be the version, None: any."""

    filter: Mapping[str, Any] | None = None
    as_labels: Sequence[str] | None = None
    write: int | None = None


class Facts(NamedTuple):
    """What a search needs to know of a shard's version.

    ``encoders`` and ``rows_behind`` are by index; ``statistics`` those that were asked for.
    """

    write: int
    commit: int
    n_documents: int
    encoders: Mapping[str, JsonObject | None]
    rows_behind: Mapping[str, int]
    statistics: Mapping[str, Statistics]


class VersionGoneError(CollectionError):
    """A replica no longer has, or does not yet have, the version that a search sees."""


@dataclass(slots=True)
class Lease:
    """A version held for one search. ``lock``: one thread at a time may read its catalog."""

    version: LocalVersion
    allowed: Allowed
    write: int
    stack: ExitStack
    used_at: float
    lock: RLock = field(default_factory=RLock)


class Leases:
    """The leases of one shard; any number of threads may ask."""

    def __init__(self, pin: Callable[[Pin], Lease], clock: Callable[[], float]) -> None:
        self._pin = pin
        self._clock = clock
        self._leases: dict[str, Lease] = {}
        self._lock = Lock()

    def get(self, token: str, pin: Pin) -> Lease:
        """The lease of a token, made now where there is none.

        Raises :class:`VersionGoneError` where the version asked for is not the latest.
        """
        now = self._clock()
        self._expire(now)
        with self._lock:
            lease = self._leases.get(token)
            if lease is not None:
                lease.used_at = now
                return lease
        lease = self._pin(pin)
        if pin.write is not None and lease.write != pin.write:
            lease.stack.close()
            raise VersionGoneError(
                f"the version of write {pin.write} is gone: this replica is at {lease.write}; "
                "search again"
            )
        with self._lock:
            self._leases[token] = lease
        return lease

    def release(self, token: str) -> None:
        """Let go of a version; one that is not held is fine."""
        with self._lock:
            lease = self._leases.pop(token, None)
        if lease is not None:
            with lease.lock:
                lease.stack.close()

    def release_all(self) -> None:
        """Let go of every version."""
        for token in list(self._leases):
            self.release(token)

    def _expire(self, now: float) -> None:
        for token, lease in list(self._leases.items()):
            if now - lease.used_at > LEASE_SECONDS:
                self.release(token)
