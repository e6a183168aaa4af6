"""The replicas of one shard as the router sees them: which answer, how fast, and what they have.

The story of a write: it has a number that no other write of the shard has, and goes to every
replica in step, one write after the other. Where one fails and another does not, the one that
failed is out of step: that is noted in the cluster's catalog before the write is acknowledged, and
it is not read again before it was repaired. Where all refuse alike (the documents cannot be used),
nothing was written anywhere. Where all fail, each is asked what it has: those that have less than
the best of them are out of step, and the caller gets the error.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...documents import JsonObject
from ...errors import InputError, ShardUnavailableError, StorageError
from .executor import Worker
from .shard import Status

HEDGE_QUANTILE = 0.95
"""A second replica is asked when the first takes longer than this share of the last calls took."""
LATENCIES_KEPT = 256
LATENCIES_NEEDED = 20
HEDGE_SECONDS_AT_FIRST = 0.1
HEDGE_SECONDS_LEAST = 0.002
STATUS_SECONDS = 30.0


@dataclass(slots=True)
class Metrics:
    """What a shard was asked, in numbers. ``seconds`` are those of calls that were answered."""

    calls: int = 0
    seconds: float = 0.0
    failures: int = 0
    hedges: int = 0

    def as_json(self) -> JsonObject:
        """As one JSON object."""
        return {
            "calls": self.calls,
            "seconds": round(self.seconds, 6),
            "failures": self.failures,
            "hedges": self.hedges,
        }


@dataclass(slots=True)
class Replica:
    """One replica; ``worker`` is None where none could be started."""

    number: int
    worker: Worker | None
    in_step: bool
    alive: bool = True

    @property
    def readable(self) -> bool:
        """Whether it may be asked."""
        return self.worker is not None and self.in_step and self.alive


@dataclass(slots=True)
class Replicas:
    """All replicas of one shard. ``write``: the number of the last write that is in all in step."""

    shard: int
    members: list[Replica]
    write: int
    metrics: Metrics = field(default_factory=Metrics)
    _latencies: dict[str, deque[float]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turn: int = 0
    _attempted: int = 0

    # -- reading ----------------------------------------------------------------------------

    def readable(self) -> list[Replica]:
        """Those that may be asked, the one whose turn it is first."""
        there = [replica for replica in self.members if replica.readable]
        with self._lock:
            self._turn += 1
            turn = self._turn
        place = turn % len(there) if there else 0
        return [*there[place:], *there[:place]]

    def hedge_seconds(self, method: str) -> float:
        """How long the first replica has before another is asked."""
        with self._lock:
            known = list(self._latencies.get(method, ()))
        if len(known) < LATENCIES_NEEDED:
            return HEDGE_SECONDS_AT_FIRST
        return max(HEDGE_SECONDS_LEAST, float(np.quantile(known, HEDGE_QUANTILE)))

    def answered(self, method: str, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self.metrics.calls += 1
            self.metrics.seconds += seconds
            self._latencies.setdefault(method, deque(maxlen=LATENCIES_KEPT)).append(seconds)

    def failed(self, replica: Replica, error: BaseException) -> None:
        """Count a failure; a replica that died is not asked again."""
        with self._lock:
            self.metrics.failures += 1
        if isinstance(error, ShardUnavailableError):
            replica.alive = False

    def notice_deaths(self) -> None:
        """Ask every replica for a sign of life."""
        for replica in self.members:
            worker = replica.worker
            if replica.readable and worker is not None:
                try:
                    worker.call("status").result(STATUS_SECONDS)
                except (ShardUnavailableError, StorageError, TimeoutError) as error:
                    self.failed(replica, error)

    def hedged(self) -> None:
        """Count a second request."""
        with self._lock:
            self.metrics.hedges += 1

    def unavailable(self) -> ShardUnavailableError:
        """The error that names this shard."""
        states = ", ".join(
            f"replica {item.number} "
            + ("is out of step" if not item.in_step else "is up" if item.readable else "is down")
            for item in self.members
        )
        return ShardUnavailableError(
            f"shard {self.shard} does not answer ({states}); bring its machine back and call "
            "cluster.repair(), or search with partial=True"
        )

    def ask(self, method: str, *args: Any) -> Any:
        """What the first replica that answers says of its latest version."""
        damage: StorageError | None = None
        for replica in self.readable():
            worker = replica.worker
            if worker is None:  # stopped since, to be repaired
                continue
            try:
                return worker.call(method, *args).result()
            except ShardUnavailableError as error:
                self.failed(replica, error)
            except StorageError as error:
                self.failed(replica, error)
                damage = error
        raise damage or self.unavailable()

    def ask_each(self, method: str, *args: Any) -> list[tuple[Replica, Any]]:
        """What every replica that is up answers."""
        futures = []
        for replica in self.members:
            if replica.readable and replica.worker is not None:
                futures.append((replica, replica.worker.call(method, *args)))
        return [(replica, future.result()) for replica, future in futures]

    # -- writing ----------------------------------------------------------------------------

    def write_to_all(self, method: str, *args: Any) -> Any:
        """Run a numbered write everywhere; one at a time, and the caller notes the outcome.

        Afterwards ``write`` and the members' ``in_step`` say what is true; they do so after an
        error too. Raises what all replicas raised, or
        :class:`~cormorant.errors.ShardUnavailableError`.
        """
        self._attempted = max(self._attempted, self.write) + 1
        return self._on_all(method, (self._attempted, *args))

    def run_on_all(self, method: str, *args: Any) -> Any:
        """The same for what has no number: a change of the indexes, or care."""
        return self._on_all(method, args)

    def _on_all(self, method: str, args: tuple[Any, ...]) -> Any:
        asked = [replica for replica in self.members if replica.readable]
        futures: list[Future[Any]] = []
        for replica in asked:
            assert replica.worker is not None
            futures.append(replica.worker.call(method, *args))
        wait(futures)
        errors = [future.exception() for future in futures]
        for replica, error in zip(asked, errors, strict=True):
            if error is not None:
                self.failed(replica, error)
        fine = [place for place, error in enumerate(errors) if error is None]
        if not fine:
            self._compare(asked)
            refused = [error for error in errors if isinstance(error, InputError)]
            for error in (*refused, *errors):
                if error is not None and not isinstance(error, ShardUnavailableError):
                    raise error
            raise self.unavailable()
        # Who failed, or was down all along, has missed this; who did it and died since has not.
        done = {asked[place].number for place in fine}
        for replica in self.members:
            replica.in_step &= replica.number in done
        if method in _NUMBERED:
            self.write = args[0]
        return futures[fine[0]].result()

    def _compare(self, asked: list[Replica]) -> None:
        """After a failure of all: who has the most is right, and the others are out of step."""
        statuses: dict[int, Status] = {}
        for replica in asked:
            try:
                assert replica.worker is not None
                statuses[replica.number] = replica.worker.call("status").result(STATUS_SECONDS)
            except Exception as error:  # noqa: BLE001 - whoever cannot say what it has is not read
                self.failed(replica, error)
        if not statuses:
            return
        self.write = max(status.write for status in statuses.values())
        for replica in asked:
            status = statuses.get(replica.number)
            replica.in_step = status is not None and status.write == self.write


_NUMBERED = frozenset({"add", "add_moved", "delete"})
