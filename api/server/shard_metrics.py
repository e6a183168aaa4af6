"""What the shards of served clusters were asked, told to Prometheus when it asks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ...retrieval.cluster.collection import ShardedCollection

_COUNTED = {
    "calls": "Calls that a shard's replicas answered",
    "seconds": "What those calls took, together",
    "failures": "Calls that failed",
    "hedges": "Second requests to another replica",
}


class ShardMetrics(Collector):
    """By the number of the shard, over all collections in clusters: never by a name."""

    def __init__(self, collections: Callable[[], Iterable[Any]]) -> None:
        self._collections = collections

    def collect(self) -> Iterator[Metric]:
        """A family for each count, and one for the replicas that can be asked."""
        counted: dict[str, Counter[str]] = defaultdict(Counter)
        readable: Counter[str] = Counter()
        for collection in self._collections():
            if not isinstance(collection, ShardedCollection):
                continue
            for shard in collection.router.serving:
                number = str(shard.shard)
                readable[number] += sum(replica.readable for replica in shard.members)
                for name, value in shard.metrics.as_json().items():
                    counted[name][number] += value
        for name, help in _COUNTED.items():
            family = CounterMetricFamily(f"cormorant_shard_{name}", help, labels=["shard"])
            for number, value in counted[name].items():
                family.add_metric([number], value)
            yield family
        up = GaugeMetricFamily(
            "cormorant_shard_replicas", "Replicas that can be asked", labels=["shard"]
        )
        for number, count in readable.items():
            up.add_metric([number], count)
        yield up
