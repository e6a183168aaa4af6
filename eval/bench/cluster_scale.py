"""From measured shards to fleets: tails replayed, and the arithmetic of very many documents.

``docs/scale.md`` says which figures are measured and what is assumed of the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...documents import JsonObject
from ..simulation import Failures, Fleet, simulate

FAN_OUTS = (8, 32, 100)
BUSY = 0.3
"""The share of a replica's time that queries take in the simulation, hedging apart."""
QUERIES = 20_000
STRAGGLERS, SLOWER = 0.01, 10.0
FAILURES = Failures(up_seconds=300, down_seconds=10, detect_ms=2_000)
"""Far more often than machines die, so that as many queries meet it."""
DEADLINE_MS = 1_000.0
SEED = 11

SIZES = (100_000_000, 10_000_000_000)
CORES, MEMORY_GB, DISK_GB = 16, 64, 2_000
"""Of the machine that is counted."""
USABLE = 0.8
"""The share of memory and disk that documents may fill, and of time that queries may take."""
REPLICAS = 2
ASKED_PER_SECOND = 100
SHARD_MS = 50.0
"""How long one shard may take for a query: shards are as large as that allows."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One index on this machine, one thread: bytes are for each document.

    ``shard_ms`` is the median of a query over ``documents``, ``small_ms`` that over
    ``small_documents``: between them time grows as a straight line.
    """

    index: str
    documents: int
    memory_bytes: float
    disk_bytes: float
    documents_per_second: float
    shard_ms: float
    small_documents: float
    small_ms: float

    def line(self) -> tuple[float, float]:
        """(milliseconds of a query over nothing, and for each document)."""
        slope = (self.shard_ms - self.small_ms) / (self.documents - self.small_documents)
        slope = max(slope, 1e-12)
        return max(0.0, self.small_ms - slope * self.small_documents), slope


def simulated(index: str, shard_ms: NDArray[np.float64]) -> list[JsonObject]:
    """A row for each fan-out, hedged and not, with two replicas of each shard."""
    rate = 1000 * REPLICAS * BUSY / float(np.mean(shard_ms) * (1 + STRAGGLERS * (SLOWER - 1)))
    rows: list[JsonObject] = []
    for fan_out in FAN_OUTS:
        for hedge in (None, 0.95, 0.99):
            fleet = Fleet(
                fan_out,
                replicas=REPLICAS,
                hedge=hedge,
                stragglers=STRAGGLERS,
                slower=SLOWER,
                failures=FAILURES,
                deadline_ms=DEADLINE_MS,
            )
            tail = simulate(shard_ms, fleet, queries=QUERIES, queries_per_second=rate, seed=SEED)
            hedged = "not hedged" if hedge is None else f"hedged at p{100 * hedge:.0f}"
            rows.append(
                {
                    "system": "simulated",
                    "setting": f"{index} {fan_out} shards, {hedged}",
                    "p50_ms": tail.p50_ms,
                    "p99_ms": tail.p99_ms,
                    "p999_ms": tail.p999_ms,
                    "extra_load": tail.extra_load,
                    "partial": tail.partial,
                    "busy": tail.busy,
                }
            )
    return rows


def arithmetic(measured: Sequence[Measured], sizes: Sequence[int] = SIZES) -> list[JsonObject]:
    """A row for each index and number of documents: machines, and what they are needed for."""
    return [_fleet(item, size) for size in sizes for item in measured]


def _fleet(measured: Measured, n_documents: int) -> JsonObject:
    fixed_ms, ms_per_document = measured.line()
    largest = max(1.0, (SHARD_MS - fixed_ms) / ms_per_document)
    gigabyte = 1e9 * USABLE
    machines = {
        "memory": REPLICAS * n_documents * measured.memory_bytes / (MEMORY_GB * gigabyte),
        "disk": REPLICAS * n_documents * measured.disk_bytes / (DISK_GB * gigabyte),
    }
    # Every machine has a replica of some shard at least.
    shards = math.ceil(max(n_documents / largest, max(machines.values()) / REPLICAS))
    query_core_ms = shards * fixed_ms + n_documents * ms_per_document
    machines["cores"] = ASKED_PER_SECOND * query_core_ms / (1000 * CORES * USABLE)
    needed = {name: math.ceil(value) for name, value in machines.items()}
    fleet = max(needed.values())
    seconds = REPLICAS * n_documents / (measured.documents_per_second * CORES * fleet)
    return {
        "system": "arithmetic",
        "setting": f"{measured.index} {n_documents:,} documents",
        "machines": fleet,
        **{f"machines_for_{name}": value for name, value in needed.items()},
        "first_bottleneck": max(machines, key=lambda name: machines[name]),
        "shards": shards,
        "disk_tb": REPLICAS * n_documents * measured.disk_bytes / 1e12,
        "build_hours": seconds / 3600,
        "queries_per_second": fleet * 1000 * CORES * USABLE / query_core_ms,
    }
