"""An executor whose workers can be killed, slowed and made to fail, and collections in shards."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import cormorant as cm
from cormorant.errors import ShardUnavailableError
from cormorant.retrieval.cluster.collection import ShardedCollection
from cormorant.retrieval.cluster.executor import Executor, InProcess, Worker

Key = tuple[int, int]
"""(shard, replica)."""


class Faulty:
    """Another executor, whose workers fail as they are told to."""

    def __init__(self, inner: Executor | None = None) -> None:
        self.inner = inner or InProcess()
        self.workers: dict[Key, _Faulty] = {}
        self.seconds: defaultdict[Key, float] = defaultdict(float)
        """How long a worker waits before each read."""
        self.fails: dict[tuple[int, int, str], Exception] = {}
        """What a worker raises for a method, in the place of running it."""
        self.refused: set[Key] = set()
        """Workers that cannot be started."""
        self.calls: list[tuple[int, int, str]] = []

    def start(self, path: Path, *, shard: int, replica: int) -> Worker:
        if (shard, replica) in self.refused:
            raise ShardUnavailableError(f"no machine for shard {shard} replica {replica}")
        inner = self.inner.start(path, shard=shard, replica=replica)
        worker = self.workers[shard, replica] = _Faulty(self, inner, (shard, replica))
        return worker

    def kill(self, shard: int, replica: int = 0, *, after: str | None = None) -> None:
        """A worker dies now, or once it has run a method and before it says so."""
        worker = self.workers[shard, replica]
        if after is None:
            worker.die()
        else:
            worker.dies_after = after

    def close(self) -> None:
        self.inner.close()


class _Faulty:
    def __init__(self, executor: Faulty, inner: Worker, key: Key) -> None:
        self.executor, self.inner, self.key = executor, inner, key
        self.dead = False
        self.dies_after: str | None = None

    def call(self, method: str, /, *args: Any, **named: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        self.executor.calls.append((*self.key, method))
        failure = self.executor.fails.get((*self.key, method))
        if self.dead:
            failure = self.death()
        if failure is not None:
            answer.set_exception(failure)
            return answer
        seconds = self.executor.seconds[self.key]

        def run() -> None:
            future = self.inner.call(method, *args, **named)
            error = future.exception()
            if method == self.dies_after:
                self.die()
            if self.dead:
                error = self.death()
            if not answer.set_running_or_notify_cancel():
                return
            if error is None:
                answer.set_result(future.result())
            else:
                answer.set_exception(error)

        if seconds or self.dies_after:
            threading.Timer(seconds, run).start()
            return answer
        return self.inner.call(method, *args, **named)

    def death(self) -> ShardUnavailableError:
        return ShardUnavailableError(f"shard {self.key[0]} replica {self.key[1]} died")

    def die(self) -> None:
        self.dead = True
        self.inner.stop()

    def stop(self) -> None:
        if not self.dead:
            self.die()


class Embedded:
    """Collections as they are."""

    in_shards = False

    def create(self, path: Path, *args: Any, **named: Any) -> Any:
        return cm.Collection.create(path, *args, **named)

    def open(self, path: Path) -> Any:
        return cm.Collection.open(path)


class Sharded:
    """Collections in clusters of three shards; closing one closes its cluster."""

    in_shards = True

    def __init__(self, shards: int = 3, replicas: int = 1) -> None:
        self.shards, self.replicas = shards, replicas

    def create(
        self,
        path: Path,
        indexes: Mapping[str, Any] | None = None,
        *,
        chunk: cm.Chunking | None = None,
    ) -> ShardedCollection:
        cluster = cm.Cluster.create(path, shards=self.shards, replicas=self.replicas)
        try:
            return _alone(cluster, cluster.create_collection("only", indexes, chunk=chunk))
        except BaseException:
            cluster.close()
            raise

    def open(self, path: Path) -> ShardedCollection:
        cluster = cm.Cluster.open(path)
        return _alone(cluster, cluster["only"])


def _alone(cluster: cm.Cluster, collection: ShardedCollection) -> ShardedCollection:
    collection.close = cluster.close  # type: ignore[method-assign]
    return collection
