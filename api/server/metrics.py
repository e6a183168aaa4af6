"""What ``/metrics`` tells Prometheus; each application has a registry of its own.

Where several processes serve one port, ``PROMETHEUS_MULTIPROC_DIR`` names a folder in which each
keeps its counts (prometheus_client's way), and any of them tells the sums.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024)


class Metrics:
    """Counters, labelled by the route's template: never by a name, an id or a query."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._gauges: dict[str, Gauge] = {}
        self._watched: dict[str, Callable[[], float]] = {}
        self._shared = "PROMETHEUS_MULTIPROC_DIR" in os.environ
        self.requests = Counter(
            "cormorant_requests",
            "Requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self.seconds = Histogram(
            "cormorant_request_seconds",
            "From a request's first byte to its answer's last",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.batches = Histogram(
            "cormorant_batch_size",
            "Searches that ran together",
            buckets=_SIZES,
            registry=self.registry,
        )
        self.answers = Counter(
            "cormorant_answers",
            "Answers, by how they ended: done, failed, cancelled",
            ("ended",),
            registry=self.registry,
        )
        self.documents_added = Counter(
            "cormorant_documents_added", "Documents added", registry=self.registry
        )

    def watch(self, name: str, help: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for; a later call for the name replaces it."""
        if name not in self._gauges:
            self._gauges[name] = Gauge(
                name, help, registry=self.registry, multiprocess_mode="livesum"
            )
        self._watched[name] = value
        if not self._shared:
            self._gauges[name].set_function(value)

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        self.requests.labels(method, route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)
        if self._shared:  # the others cannot call this process's functions
            for name, value in self._watched.items():
                self._gauges[name].set(value())

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        if not self._shared:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
