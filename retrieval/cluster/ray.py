"""Shards on Ray: an actor for each replica, spread over the nodes.

Every node must see the cluster's directory under the same path (a shared file system with locks).
An actor that died is not restarted behind the router's back, for it may have missed writes:
the router starts another one, on a node that lives, and brings it up to date.

What is asked and answered travels inside messages up to 100 KB, Ray's own threshold; larger arrays
go through its shared memory, from which an answer is read in place, read-only.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeAlias

from ...errors import CormorantError, InputError, LockedError, ShardUnavailableError
from .executor import THREADS, Worker
from .ray_connection import connect, is_guarded
from .shard import Shard

STALLED_SECONDS = 60.0
"""An actor that is to stop, and is at one call for so much longer, is ended as it is."""
LOCK_SECONDS = 10.0
"""A process whose node died holds its collection until it notices, a second or so later."""

_Outcome: TypeAlias = "tuple[bool, Any]"
"""(True, the answer), or (False, what an error of ours is made of)."""


class Ray:
    """Each replica in an actor: ``Cluster.open(path, executor=Ray("10.0.0.1:6379"))``.

    ``address``: a running cluster's, or ``auto`` for the one that this machine is a node of; None
    starts one on this machine alone, and ends it with :meth:`close`. A process that is connected to
    Ray already stays so. ``cpus`` and ``gpus`` are what a replica reserves of its node; it computes
    with so many threads, at least one. ``public`` allows nodes whose addresses are not private.

    Raises :class:`~cormorant.errors.InputError` for an address that is not private or a cluster
    without tokens, :class:`~cormorant.errors.ShardUnavailableError` where none answers, and
    :class:`~cormorant.errors.MissingDependencyError` without a Ray of at least 2.54.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        cpus: float = 0,
        gpus: float = 0,
        public: bool = False,
    ) -> None:
        self._reserved = {"CPU": cpus, "GPU": gpus}
        self._workers: list[_Actor] = []
        self._lock = Lock()
        self._ray, self._connected = connect(address, public=public)

    def start(self, path: Path, *, shard: int, replica: int) -> Worker:
        """Open the collection at ``path`` in an actor; replicas of a shard keep apart."""
        dead: set[str] = set()
        while True:
            with self._lock:
                self._workers = [worker for worker in self._workers if not worker.gone]
                worker = self._placed(path.parent, f"shard {shard} replica {replica}", dead)
                self._workers.append(worker)
            try:
                worker.ask("open", path.absolute()).result()
            except ShardUnavailableError:
                # A node is believed to live until its silence was noticed, which takes seconds.
                dead.add(worker.node)
                worker.kill()
            except BaseException:
                worker.kill()
                raise
            else:
                return worker

    def process_ids(self) -> list[int]:
        """Those of the replicas that live, on their nodes."""
        return [worker.ask("process_id").result() for worker in self._workers if not worker.gone]

    def close(self) -> None:
        """Stop what still runs; end the connection to Ray if this made it."""
        for worker in self._workers:
            worker.stop()
        self._workers = []
        if self._connected:
            self._ray.shutdown()
            self._connected = False

    def _placed(self, shard: Path, name: str, dead: set[str]) -> _Actor:
        """An actor on the node with fewest replicas of the same shard, then of all, with room."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        best: tuple[int, int, str] | None = None
        for node in self._ray.nodes():
            there = [worker for worker in self._workers if worker.node == node["NodeID"]]
            room = all(
                wanted * (len(there) + 1) <= node["Resources"].get(kind, 0.0)
                for kind, wanted in self._reserved.items()
            )
            if not (node["Alive"] and room) or node["NodeID"] in dead:
                continue
            same = sum(worker.shard == shard for worker in there)
            candidate = (same, len(there), str(node["NodeID"]))
            best = candidate if best is None else min(best, candidate)
        if best is None:
            raise ShardUnavailableError(
                f"no living node of the Ray cluster has room for {name}, which reserves "
                f"{self._reserved}; add nodes, or reserve less with cpus and gpus"
            )
        actor = self._ray.remote(_Replica).options(
            num_cpus=self._reserved["CPU"],
            num_gpus=self._reserved["GPU"],
            max_concurrency=THREADS,
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy=NodeAffinitySchedulingStrategy(best[2], soft=False),
        )
        return _Actor(self._ray, actor.remote(), name, shard, best[2])


class _Replica:
    """What runs in an actor's process."""

    def __init__(self) -> None:
        self._shard: Shard | None = None

    def open(self, path: Path) -> _Outcome:
        """Open the shard, on a node that asks for tokens."""
        return _outcome(partial(self._open, path))

    def call(self, method: str, args: Sequence[Any], named: dict[str, Any]) -> _Outcome:
        """``Shard.<method>``."""
        return _outcome(partial(getattr(self._shard, method), *args, **named))

    def process_id(self) -> _Outcome:
        """Of this process, on its node."""
        return True, os.getpid()

    def _open(self, path: Path) -> None:
        if not is_guarded():
            raise InputError(
                "this Ray cluster takes commands from anyone; start each of its nodes with "
                "RAY_AUTH_MODE=token"
            )
        until = time.monotonic() + LOCK_SECONDS
        while self._shard is None:
            try:
                self._shard = Shard(path)
            except LockedError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


class _Actor:
    """A worker: the handle of a :class:`_Replica`."""

    def __init__(self, ray: Any, actor: Any, name: str, shard: Path, node: str) -> None:
        self.shard = shard
        self.node = node
        self.gone = False
        self._ray = ray
        self._actor = actor
        self._name = name
        self._under_way: set[Future[Any]] = set()

    def call(self, method: str, /, *args: Any, **named: Any) -> Future[Any]:
        return self.ask("call", method, args, named)

    def ask(self, method: str, *args: Any) -> Future[Any]:
        """Call the actor. A future that is cancelled is let go; a call under way is not cut off."""
        answer: Future[Any] = Future()
        if self.gone:
            answer.set_exception(ShardUnavailableError(f"{self._name} was stopped or died"))
            return answer
        reference = getattr(self._actor, method).remote(*args)
        self._under_way.add(answer)
        answer.add_done_callback(partial(self._finished, reference))
        reference.future().add_done_callback(partial(self._settle, answer))
        return answer

    def stop(self) -> None:
        try:
            if not self.gone and not wait(list(self._under_way), STALLED_SECONDS).not_done:
                with suppress(ShardUnavailableError):
                    self.call("close").result()
        finally:
            self.kill()

    def kill(self) -> None:
        """End the process at once, or see to it that one out of reach ends."""
        self.gone = True
        if self._ray.is_initialized():
            self._ray.kill(self._actor)

    def _finished(self, reference: Any, answer: Future[Any]) -> None:
        self._under_way.discard(answer)
        if answer.cancelled():
            self._ray.cancel(reference)

    def _settle(self, answer: Future[Any], told: Future[_Outcome]) -> None:
        """Hand on what Ray told, with errors as they were raised."""
        if not answer.set_running_or_notify_cancel():
            return
        error = told.exception()
        if error is not None:
            answer.set_exception(self._as_ours(error))
            return
        done, value = told.result()
        if done:
            answer.set_result(value)
        else:
            answer.set_exception(_rebuilt(*value))

    def _as_ours(self, error: BaseException) -> BaseException:
        errors = self._ray.exceptions
        if isinstance(error, errors.RayTaskError):
            return error.cause if isinstance(error.cause, BaseException) else error
        if isinstance(error, errors.RayActorError | errors.ActorUnschedulableError):
            self.gone = True
        ours = ShardUnavailableError(f"{self._name} on node {self.node[:8]} died or is cut off")
        ours.__cause__ = error
        return ours


def _outcome(call: Callable[[], Any]) -> _Outcome:
    """Errors of ours as their parts: not all can be made again from their message alone."""
    try:
        return True, call()
    except CormorantError as error:
        return False, (type(error), error.args, vars(error))


def _rebuilt(
    kind: type[CormorantError], args: Sequence[Any], fields: dict[str, Any]
) -> CormorantError:
    error = kind.__new__(kind, *args)
    vars(error).update(fields)
    return error
