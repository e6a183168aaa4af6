"""Where the shards of a cluster run: the seam, and the executor of this process."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from ...errors import ShardUnavailableError
from .shard import Shard

THREADS = 4
"""Of one worker here: what it can answer while one of its calls is waiting for the disk."""


class Worker(Protocol):
    """One replica of a shard: a thread here, or a process or node of its own."""

    def call(self, method: str, /, *args: Any, **named: Any) -> Future[Any]:
        """Run ``Shard.<method>``; calls may overlap, and none blocks the caller.

        The future raises our errors as themselves, and
        :class:`~cormorant.errors.ShardUnavailableError` where the worker died or was stopped.
        """

    def stop(self) -> None:
        """Close the shard and let its process go; stopping twice, or the dead, is fine.

        Raises what closing raises, and not that calls under way were cut off.
        """


class Executor(Protocol):
    """Starts workers."""

    def start(self, path: Path, *, shard: int, replica: int) -> Worker:
        """Open the ordinary collection at ``path`` in a :class:`Shard`, and say when it is open.

        Raises what ``Collection.open`` raises, and
        :class:`~cormorant.errors.ShardUnavailableError` where no process can be had for it.
        """

    def close(self) -> None:
        """Let go of what all workers share; they were stopped before."""


class InProcess:
    """Each replica in a small thread pool of this process."""

    def start(self, path: Path, *, shard: int, replica: int) -> Worker:
        """Open the collection at ``path``."""
        return _Threads(Shard(path), f"shard {shard} replica {replica}")

    def close(self) -> None:
        """Nothing is shared."""


class _Threads:
    def __init__(self, shard: Shard, name: str) -> None:
        self._shard = shard
        self._name = name
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix=name)

    def call(self, method: str, /, *args: Any, **named: Any) -> Future[Any]:
        function: Callable[..., Any] = getattr(self._shard, method)
        try:
            return self._threads.submit(function, *args, **named)
        except RuntimeError as error:
            stopped: Future[Any] = Future()
            stopped.set_exception(ShardUnavailableError(f"{self._name} was stopped"))
            stopped.exception().__cause__ = error  # type: ignore[union-attr]
            return stopped

    def stop(self) -> None:
        self._threads.shutdown()  # what was asked before is answered
        self._shard.close()
