"""The tail of a scattered search, simulated from measured shard latencies.

A query goes to many shards and waits for the slowest, so what is rare on one shard is usual for the
whole: of 100 shards, each slow once in a hundred, 63 of 100 queries meet a slow one (Dean and
Barroso, "The Tail at Scale", CACM 56(2), 2013). A hedged request, a second one to another replica
once the first takes longer than most do, buys the tail back for a little load. This replays
service times that were measured on one shard through a fleet: queues, stragglers, dead replicas.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InputError

Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Failures:
    """Replicas die and come back; both times are exponential, with these means.

    For ``detect_ms`` after a death its requests are neither answered nor refused; then the router
    knows, fails them, and asks another replica at once.
    """

    up_seconds: float
    down_seconds: float
    detect_ms: float


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is asked. Each replica serves ``slots`` requests at a time, first come first served.

    ``asked``: how many of the shards one query goes to (a router that knows the centroids asks
    few); None: all. ``hedge``: the quantile of a shard's latency after which a second replica is
    asked; None: never. ``stragglers`` is the share of requests that take ``slower`` times as long.
    What has not answered by ``deadline_ms`` is missing from the answer.
    """

    shards: int
    replicas: int = 1
    slots: int = 1
    asked: int | None = None
    hedge: float | None = None
    stragglers: float = 0.0
    slower: float = 10.0
    failures: Failures | None = None
    deadline_ms: float = 10_000.0

    def __post_init__(self) -> None:
        fan_out = self.shards if self.asked is None else self.asked
        if min(self.shards, self.replicas, self.slots) < 1 or not 1 <= fan_out <= self.shards:
            raise InputError(
                f"shards, replicas and slots are 1 or more, asked at most shards: {self}"
            )
        if not 0 <= self.stragglers <= 1 or not self.slower > 0 or not self.deadline_ms > 0:
            raise InputError(f"stragglers is a share, slower and deadline_ms above 0: {self}")
        if self.hedge is not None and (not 0 < self.hedge < 1 or self.replicas < 2):
            raise InputError(f"is a quantile, and needs 2 replicas: {self}", field="hedge")


@dataclass(frozen=True, slots=True)
class Tail:
    """What the queries met. Shares are of 1; ``extra_load`` is of the requests without hedging."""

    p50_ms: float
    p99_ms: float
    p999_ms: float
    partial: float
    """The share of answers that lack a shard."""
    extra_load: float
    hedge_ms: float | None
    """How long a first request is given, as observed without hedging."""
    busy: float
    """The share of the slots' time that is spent serving."""


def simulate(
    service_ms: ArrayLike, fleet: Fleet, *, queries: int, queries_per_second: float, seed: int
) -> Tail:
    """Send queries at random times (Poisson) and see how long they take.

    ``service_ms``: (n,) measured times of one shard without a queue, drawn with replacement.
    """
    service = np.asarray(service_ms, dtype=np.float64)
    if service.ndim != 1 or not len(service) or not np.all(np.isfinite(service) & (service > 0)):
        raise InputError("are times above 0, one or more", field="service_ms")
    if queries < 1 or not queries_per_second > 0:
        raise InputError(f"{queries} queries, {queries_per_second} a second: both are above 0")
    seeds = np.random.SeedSequence(seed).spawn(fleet.shards + 1)
    common = np.random.default_rng(seeds[0])
    arrivals = np.cumsum(common.exponential(1000 / queries_per_second, queries))
    chosen = _chosen(fleet, queries, common)
    hedge_ms = None
    if fleet.hedge is not None:
        plain = [
            _Shard(fleet, service, seeds[1 + shard]).serve(arrivals[chosen[:, shard]], None)
            for shard in range(min(fleet.shards, 16))  # they are alike
        ]
        hedge_ms = float(np.quantile(np.concatenate(plain), fleet.hedge))
    slowest = np.zeros(queries)
    sent = busy = 0.0
    for number in range(fleet.shards):
        asked = chosen[:, number]
        shard = _Shard(fleet, service, seeds[1 + number])
        slowest[asked] = np.maximum(slowest[asked], shard.serve(arrivals[asked], hedge_ms))
        sent += shard.sent
        busy += shard.busy_ms
    p50, p99, p999 = np.quantile(np.minimum(slowest, fleet.deadline_ms), (0.5, 0.99, 0.999))
    slots = fleet.shards * fleet.replicas * fleet.slots
    return Tail(
        float(p50),
        float(p99),
        float(p999),
        partial=float(np.mean(slowest > fleet.deadline_ms)),
        extra_load=float(sent / chosen.sum() - 1),
        hedge_ms=hedge_ms,
        busy=float(busy / (slots * arrivals[-1])),
    )


def _chosen(fleet: Fleet, queries: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Which query asks which shard: (queries, shards)."""
    if fleet.asked is None or fleet.asked == fleet.shards:
        return np.ones((queries, fleet.shards), bool)
    places = random.random((queries, fleet.shards)).argsort(axis=1)
    return places < fleet.asked


class _Shard:
    """One shard: its replicas' queues, and the requests that were sent there."""

    def __init__(self, fleet: Fleet, service: Floats, seed: np.random.SeedSequence) -> None:
        self._fleet = fleet
        self._service = service
        # Streams of their own, so that hedging changes nothing about the first requests.
        self._first, self._second, self._fate = map(
            np.random.default_rng,
            np.random.SeedSequence(seed.entropy, spawn_key=seed.spawn_key).spawn(3),
        )
        self._free = [[0.0] * fleet.slots for _ in range(fleet.replicas)]
        self._deaths: list[tuple[list[float], list[float]]] = []
        self.sent = 0
        self.busy_ms = 0.0

    def serve(self, arrivals: Floats, hedge_ms: float | None) -> Floats:
        """How long each request took, in ms; infinite where no replica answered."""
        count = len(arrivals)
        fleet = self._fleet
        horizon = float(arrivals[-1]) if count else 0.0
        self._deaths = [self._fates(horizon) for _ in range(fleet.replicas)]
        firsts = self._times(self._first, count)
        seconds = self._times(self._second, count)
        replicas = self._first.integers(fleet.replicas, size=count).tolist()
        took = np.full(count, np.inf)
        again: list[tuple[float, int, float]] = []
        for number, now in enumerate(arrivals.tolist()):
            while again and again[0][0] <= now:
                self._ask_again(again, replicas, seconds, took)
            took[number], refused = self._ask(replicas[number], now, firsts[number])
            after = refused
            if hedge_ms is not None and took[number] > hedge_ms:
                after = min(after, hedge_ms)
            if fleet.replicas > 1 and after < np.inf:
                heapq.heappush(again, (now + after, number, after))
        while again:
            self._ask_again(again, replicas, seconds, took)
        return took

    def _ask_again(
        self,
        again: list[tuple[float, int, float]],
        replicas: list[int],
        seconds: list[float],
        took: Floats,
    ) -> None:
        at, number, after = heapq.heappop(again)
        other = (replicas[number] + 1) % self._fleet.replicas
        took[number] = min(took[number], after + self._ask(other, at, seconds[number])[0])

    def _ask(self, replica: int, now: float, takes: float) -> tuple[float, float]:
        """How long a request that comes now takes; if for ever, when the router knows that."""
        died, back = self._deaths[replica]
        detect = 0.0 if self._fleet.failures is None else self._fleet.failures.detect_ms
        place = bisect_right(died, now)
        if place and now < back[place - 1]:
            known_in = died[place - 1] + detect - now
            self.sent += known_in > 0
            return np.inf, max(0.0, known_in)
        self.sent += 1
        slots = self._free[replica]
        waits = max(0.0, slots[0] - now)
        heapq.heapreplace(slots, now + waits + takes)
        self.busy_ms += takes
        if place < len(died) and now + waits + takes > died[place]:
            return np.inf, died[place] + detect - now
        return waits + takes, np.inf

    def _times(self, random: np.random.Generator, count: int) -> list[float]:
        times = random.choice(self._service, count)
        slow = random.random(count) < self._fleet.stragglers
        return list(np.where(slow, times * self._fleet.slower, times).tolist())

    def _fates(self, horizon: float) -> tuple[list[float], list[float]]:
        """When a replica dies and when it is back, in ms."""
        failures = self._fleet.failures
        died: list[float] = []
        back: list[float] = []
        now = 0.0
        while failures is not None:
            now += self._fate.exponential(failures.up_seconds * 1000)
            if now > horizon:
                break
            died.append(now)
            now += self._fate.exponential(failures.down_seconds * 1000)
            back.append(now)
        return died, back
