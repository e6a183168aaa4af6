"""The replicas of one shard as the router sees them: which answer, how fast, and what they have.

The story of a write: it has a number that no other write of the shard has, and goes to every
replica in step, one write after the other. Where one fails and another does not, the one that
failed is out of step: that is noted in the cluster's catalog before the write is acknowledged, and
it is not read again before it was repaired. Where all refuse alike (the documents cannot be used),
nothing was written anywhere. Where all fail, each is asked what it has: those that have less than
the best of them are out of step, and the caller gets the error. One that has not answered in time
may yet do it: it counts as failed where another has done the write; where none has, no other write
follows before one has or all have answered; then they are asked what they have.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ...documents import JsonObject
from ...errors import DeadlineError, InputError, ShardUnavailableError, StorageError
from .executor import Worker
from .limits import Limits
from .shard import Status

HEDGE_QUANTILE = 0.95
"""A second replica is asked when the first takes longer than this share of the last calls took."""
LATENCIES_KEPT = 256
LATENCIES_NEEDED, LATENCIES_RENEWED = 20, 10
"""Answers before a quantile is taken, and after how many more it is taken anew."""
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
    limits: Limits = Limits()
    metrics: Metrics = field(default_factory=Metrics)
    _latencies: dict[str, deque[float]] = field(default_factory=dict)
    _answers: dict[str, int] = field(default_factory=dict)
    _hedges: dict[str, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _turn: int = 0
    _attempted: int = 0
    _unsettled: list[tuple[Replica, Future[Any]]] = field(default_factory=list)
    """A write that no replica has done in time."""

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
        return self._hedges.get(method, HEDGE_SECONDS_AT_FIRST)

    def answered(self, method: str, seconds: float) -> None:
        """Count an answer."""
        with self._lock:
            self.metrics.calls += 1
            self.metrics.seconds += seconds
            known = self._latencies.setdefault(method, deque(maxlen=LATENCIES_KEPT))
            known.append(seconds)
            self._answers[method] = count = self._answers.get(method, 0) + 1
            if count >= LATENCIES_NEEDED and count % LATENCIES_RENEWED == 0:
                usual = float(np.quantile(known, HEDGE_QUANTILE))
                self._hedges[method] = max(HEDGE_SECONDS_LEAST, usual)

    def failed(self, replica: Replica, error: BaseException) -> None:
        """Count a failure; a replica that died is not asked again."""
        with self._lock:
            self.metrics.failures += 1
        if isinstance(error, ShardUnavailableError):
            replica.alive = False

    def notice_deaths(self) -> None:
        """Ask every replica for a sign of life; one that does not end a write counts as dead."""
        for replica in self.members:
            worker = replica.worker
            if replica.readable and worker is not None:
                try:
                    worker.call("status").result(STATUS_SECONDS)
                except (ShardUnavailableError, StorageError) as error:
                    self.failed(replica, error)
                except TimeoutError as error:
                    self.failed(replica, error)
                    replica.alive = False
        for replica, future in self._unsettled:
            replica.alive &= future.done()
        self.settle()

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
        """What the first replica that answers says of its latest version.

        Raises :class:`~cormorant.errors.DeadlineError` where none does so in time.
        """
        seconds = None if method in _UNLIMITED else self.limits.read_seconds
        until = None if seconds is None else time.monotonic() + seconds
        problem: StorageError | DeadlineError | None = None
        there = self.readable()
        for place, replica in enumerate(there):
            worker = replica.worker
            if worker is None:  # stopped since, to be repaired
                continue
            future = worker.call(method, *args)
            left = None if until is None else (until - time.monotonic()) / (len(there) - place)
            if wait([future], left).not_done:
                future.cancel()
                self.failed(replica, TimeoutError())
                problem = problem or self._late(method)
                continue
            try:
                return future.result()
            except ShardUnavailableError as error:
                self.failed(replica, error)
            except StorageError as error:
                self.failed(replica, error)
                problem = error
        raise problem or self.unavailable()

    def ask_each(self, method: str, *args: Any) -> list[tuple[Replica, Any]]:
        """What every replica that is up answers."""
        calls = self.called(method, *args)
        seconds = None if method in _UNLIMITED else self.limits.read_seconds
        if wait([future for _, future in calls], seconds).not_done:
            raise self._late(method)
        answers = []
        for replica, future in calls:
            error = future.exception()
            if isinstance(error, ShardUnavailableError):
                self.failed(replica, error)
            else:
                answers.append((replica, future.result()))
        if not answers:
            raise self.unavailable()
        return answers

    def called(self, method: str, *args: Any) -> list[tuple[Replica, Future[Any]]]:
        """Every replica that is up, and its answer to come."""
        return [
            (replica, worker.call(method, *args))
            for replica in self.members
            if replica.readable and (worker := replica.worker) is not None
        ]

    def look_after(self, method: str) -> list[tuple[Replica, Future[Any]]]:
        """Ask for what changes no document."""
        calls = self.called(method)
        for replica, future in calls:  # a death counts at once: later it may be started anew
            future.add_done_callback(partial(self._ended, replica))
        return calls

    def _ended(self, replica: Replica, future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            self.failed(replica, error)

    def looked_after(self, calls: list[tuple[Replica, Future[Any]]]) -> None:
        """Wait for the end of what changes no document: a replica that dies at it is missing none.

        Raises what went wrong elsewhere, and
        :class:`~cormorant.errors.ShardUnavailableError` where none is left.
        """
        errors = [future.exception() for _, future in calls]
        for error in errors:
            if error is not None and not isinstance(error, ShardUnavailableError):
                raise error
        if all(error is not None for error in errors):
            raise self.unavailable()

    def _late(self, method: str) -> DeadlineError:
        return DeadlineError(
            f"shard {self.shard} has not answered {method!r} within {self.limits.read_seconds:g} "
            "s; see what holds its machine up, or let cluster.repair() start it anew"
        )

    # -- writing ----------------------------------------------------------------------------

    def write_to_all(self, method: str, *args: Any) -> Any:
        """Run a numbered write everywhere; one at a time, and the caller notes the outcome.

        Afterwards ``write`` and the members' ``in_step`` say what is true; they do so after an
        error too. Raises what all replicas raised,
        :class:`~cormorant.errors.ShardUnavailableError`, or
        :class:`~cormorant.errors.DeadlineError` where none was done in time.
        """
        self._attempted = max(self._attempted, self.write) + 1
        return self._on_all(method, (self._attempted, *args))

    def run_on_all(self, method: str, *args: Any) -> Any:
        """The same for what has no number: a change of the indexes."""
        return self._on_all(method, args)

    def _on_all(self, method: str, args: tuple[Any, ...]) -> Any:
        if not self.settle():
            raise DeadlineError(
                f"shard {self.shard} is not done with an earlier write, and was not given this one"
            )
        calls = self.called(method, *args)
        asked, futures = [replica for replica, _ in calls], [future for _, future in calls]
        seconds = None if method in _UNLIMITED else self.limits.write_seconds
        late = wait(futures, seconds).not_done
        errors = [TimeoutError() if each in late else each.exception() for each in futures]
        for replica, error in zip(asked, errors, strict=True):
            if error is not None:
                self.failed(replica, error)
        fine = [place for place, error in enumerate(errors) if error is None]
        if not fine:
            if late:
                self._unsettled = calls
                raise DeadlineError(
                    f"shard {self.shard} was not done within {seconds:g} s: whether it will have "
                    "its part is not known"
                )
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

    def settle(self) -> bool:
        """See what became of a write that was late; False where that is not known yet."""
        calls = self._unsettled
        late = [replica for replica, future in calls if replica.alive and not future.done()]
        ended = [(replica, future) for replica, future in calls if future.done()]
        if late and not any(item.readable and not future.exception() for item, future in ended):
            return False
        if calls:
            self._unsettled = []
            for replica in late:  # another has done it
                replica.in_step = False
            self._compare([replica for replica in self.members if replica.readable])
        return True

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
_UNLIMITED = frozenset({"add_index", "backup", "check"})
"""What takes as long as there are documents, and has no limit."""
