"""One question to many shards: asked at once, of a second replica when the first is slow.

Hedging is from Dean and Barroso, "The Tail at Scale" (CACM 2013): the second request goes out when
the first has taken longer than most do, and whoever answers first is heard.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from ...errors import DeadlineError, ShardUnavailableError, StorageError
from ..deadline import Deadline
from .leases import Facts, Pin, VersionGoneError
from .replicas import Replica, Replicas

SHARD_SECONDS = 60.0
"""A shard that has not answered for so long is given up, whatever time a search has."""
GRACE_SECONDS = 0.25
"""Even a search whose time is over may read the ids of what it found."""


class ShardsLostError(ShardUnavailableError):
    """Shards that did not answer, with the reasons."""

    def __init__(self, reasons: Mapping[int, str]) -> None:
        self.reasons = reasons
        super().__init__("; ".join(reasons.values()))


@dataclass(slots=True)
class Leased:
    """One shard as one search sees it: its replicas, the best first, and the write it saw."""

    replicas: Replicas
    order: list[Replica]
    pin: Pin
    touched: set[int] = field(default_factory=set)


@dataclass(slots=True)
class _Attempt:
    leased: Leased
    method: str
    args: tuple[Any, ...]
    hedge_at: float
    futures: dict[Future[Any], tuple[Replica, float]] = field(default_factory=dict)
    tried: int = 0
    error: BaseException | None = None

    def ask_next(self, token: str) -> bool:
        """Ask the next replica; False where none is left."""
        order = self.leased.order
        while self.tried < len(order):
            replica = order[self.tried]
            self.tried += 1
            worker = replica.worker
            if replica.readable and worker is not None:
                self.leased.touched.add(replica.number)
                future = worker.call(self.method, token, self.leased.pin, *self.args)
                self.futures[future] = replica, time.monotonic()
                return True
        return False

    def cancel(self) -> None:
        """Nobody waits for what is still under way: what has not begun need not begin."""
        for future in self.futures:
            future.cancel()


class Gathering:
    """One search's way to its shards. Every call sees the version that the first one pinned."""

    def __init__(self, shards: Iterable[Replicas], pin: Pin, deadline: Deadline) -> None:
        self.token = secrets.token_hex(16)
        self._deadline = deadline
        self._shards = {item.shard: Leased(item, item.readable(), pin) for item in shards}

    @property
    def shards(self) -> tuple[int, ...]:
        """The shards that are asked."""
        return tuple(self._shards)

    def pin(self, terms: Mapping[str, Sequence[Any]]) -> dict[int, Facts]:
        """Pin a version everywhere; ``terms``: see ``Shard.pin``."""
        facts: dict[int, Facts] = self.each("pin", terms)
        for shard, own in facts.items():
            leased = self._shards[shard]
            leased.pin = leased.pin._replace(write=own.write)
        return facts

    def each(self, method: str, *args: Any) -> dict[int, Any]:
        """What every shard answers."""
        return self.some(method, dict.fromkeys(self._shards, args))

    def some(self, method: str, args: Mapping[int, tuple[Any, ...]]) -> dict[int, Any]:
        """What some shards answer, each to arguments of its own.

        Raises :class:`ShardsLostError`, once all others have answered, or
        :class:`~cormorant.errors.DeadlineError` where the search's time is over and it wants a
        whole answer; and what shards raise.
        """
        until, last = self._until()
        waiting = {}
        for shard, own in args.items():
            leased = self._shards[shard]
            delay = leased.replicas.hedge_seconds(method)
            attempt = _Attempt(leased, method, own, time.monotonic() + delay)
            attempt.ask_next(self.token)
            waiting[shard] = attempt
        answers: dict[int, Any] = {}
        lost: dict[int, str] = {}
        while waiting:
            now = time.monotonic()
            if now >= until:
                self._late(waiting, last)
                lost |= {shard: f"shard {shard} was too late" for shard in waiting}
                break
            self._hedge(waiting.values(), now)
            for shard, attempt in list(waiting.items()):
                answered, answer = self._settle(attempt)
                if answered:
                    answers[shard] = answer
                elif not attempt.futures:
                    lost[shard] = str(attempt.leased.replicas.unavailable())
                else:
                    continue
                del waiting[shard]
            if waiting:
                futures = [future for item in waiting.values() for future in item.futures]
                following = min([until, *(a.hedge_at for a in waiting.values())])
                wait(futures, max(0.0, following - time.monotonic()), FIRST_COMPLETED)
        if lost:
            raise ShardsLostError(lost)
        return {shard: answers[shard] for shard in args}

    def release(self) -> None:
        """Let go of the version everywhere; nobody waits for it."""
        for leased in self._shards.values():
            for replica in leased.replicas.members:
                worker = replica.worker
                if replica.number in leased.touched and worker is not None:
                    worker.call("release", self.token)

    def _until(self) -> tuple[float, bool]:
        """Until when shards may answer, and whether the search's own time is over then.

        A search that takes a part leaves half of its time for beginning again without a shard.
        """
        left_ms = self._deadline.left_ms
        limit = SHARD_SECONDS
        if left_ms is not None:
            share = 2 if self._deadline.partial else 1
            limit = min(SHARD_SECONDS, max(GRACE_SECONDS, left_ms / 1000 / share))
        return time.monotonic() + limit, left_ms is not None and limit < SHARD_SECONDS

    def _late(self, waiting: Mapping[int, _Attempt], own_time: bool) -> None:
        for attempt in waiting.values():
            for replica, _ in attempt.futures.values():
                attempt.leased.replicas.failed(replica, TimeoutError())
            attempt.cancel()
        if own_time and not self._deadline.partial:
            names = ", ".join(map(str, waiting))
            raise DeadlineError(
                f"no answer within {self._deadline.timeout_ms} ms: shard {names} was too late; "
                "allow more with timeout_ms, or take a part with partial=True"
            )

    def _hedge(self, attempts: Iterable[_Attempt], now: float) -> None:
        for attempt in attempts:
            if now >= attempt.hedge_at:
                attempt.hedge_at = float("inf")
                if attempt.futures and attempt.ask_next(self.token):
                    attempt.leased.replicas.hedged()

    def _settle(self, attempt: _Attempt) -> tuple[bool, Any]:
        """The answer, if there is one; a replica that failed hands over to the next."""
        replicas = attempt.leased.replicas
        for future in [future for future in attempt.futures if future.done()]:
            replica, began = attempt.futures.pop(future)
            error = future.exception()
            if error is None:
                replicas.answered(attempt.method, time.monotonic() - began)
                attempt.cancel()
                order = attempt.leased.order
                order.insert(0, order.pop(order.index(replica)))  # it has the version pinned
                return True, future.result()
            replicas.failed(replica, error)
            if not isinstance(error, (ShardUnavailableError, StorageError, VersionGoneError)):
                raise error
            if not isinstance(attempt.error, VersionGoneError):  # whose search may begin again
                attempt.error = error
            attempt.ask_next(self.token)
        given_up = attempt.error if not attempt.futures else None
        if given_up is not None and not isinstance(given_up, ShardUnavailableError):
            raise given_up
        return False, None
