"""Starts the replicas of a shard, and brings those that fell behind back into step.

The story of a replica that comes back: it was down while others wrote, or its machine was given an
old copy. Its collection knows the number of its last write; the cluster's catalog knows the number
that was last noted, and which replicas were in step then. The replica that has the most among
those in step is right (a write that was never acknowledged may be among what it has); whoever has
less is not read, and is replaced by a copy of one that is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ...errors import (
    CormorantError,
    CorruptionError,
    FormatVersionError,
    InputError,
    LockedError,
    NotACollectionError,
    ShardUnavailableError,
)
from ..disk import Disk, storage_errors
from .executor import Executor
from .layout import ShardState
from .limits import Limits
from .replicas import Replica, Replicas
from .shard import Status

AT_ONCE = 8
"""Shards that are started side by side: a process on another machine takes a second or two."""


def replica_path(collection: Path, shard: int, replica: int) -> Path:
    """Where a replica's collection is."""
    return collection / f"shard-{shard:05d}" / f"replica-{replica}"


def start_shards(
    executor: Executor, collection: Path, states: Mapping[int, ShardState], limits: Limits
) -> list[Replicas]:
    """Several shards by their numbers, side by side; all of them, or none and the first error."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        started = [
            pool.submit(start_shard, executor, collection, number, state, limits)
            for number, state in states.items()
        ]
    errors = [error for future in started if (error := future.exception()) is not None]
    if errors:
        for future in started:
            if future.exception() is None:
                stop(future.result().members)
        raise errors[0]
    return [future.result() for future in started]


def start_shard(
    executor: Executor, collection: Path, shard: int, state: ShardState, limits: Limits
) -> Replicas:
    """The replicas of a shard, those that can be read and those that cannot.

    Raises :class:`~cormorant.errors.FormatVersionError` and
    :class:`~cormorant.errors.LockedError` of any of them, and of all what is wrong where none is
    left to read: :class:`~cormorant.errors.CorruptionError` for data older than what was noted.
    """
    members: list[Replica] = []
    statuses: dict[int, Status] = {}
    errors: list[CormorantError] = []
    for number, in_step in enumerate(state.in_step):
        replica = Replica(number, None, in_step)
        members.append(replica)
        try:
            path = replica_path(collection, shard, number)
            replica.worker = executor.start(path, shard=shard, replica=number)
            statuses[number] = replica.worker.call("status").result()
        except (FormatVersionError, LockedError, InputError):
            stop(members)
            raise
        except CormorantError as error:
            if isinstance(error, NotACollectionError):
                error = CorruptionError(path, "is missing; restore the cluster from a backup")
            errors.append(error)
            # One that is merely not there just now may have everything; its numbers will say.
            replica.in_step &= isinstance(error, ShardUnavailableError)
    known = [status.write for number, status in statuses.items() if members[number].in_step]
    write = max(known, default=0)
    if not known:
        stop(members)
        if errors:
            raise errors[0]
        raise CorruptionError(collection, f"no replica of shard {shard} is in step")
    try:
        check_not_old(collection, shard, write, state)
    except CorruptionError:
        stop(members)
        raise
    for number, status in statuses.items():
        members[number].in_step &= status.write == write
    return Replicas(shard, members, write, limits)


def check_not_old(collection: Path, shard: int, write: int, state: ShardState) -> None:
    """Raise :class:`~cormorant.errors.CorruptionError` where acknowledged writes are missing."""
    if write < state.write:
        raise CorruptionError(
            replica_path(collection, shard, 0).parent,
            f"holds old data: write {write}, where write {state.write} of shard {shard} was "
            "acknowledged; bring the newer data back, or restore the cluster from a backup",
        )


def repair_shard(executor: Executor, collection: Path, replicas: Replicas, disk: Disk) -> None:
    """Bring every replica of a shard into step; nobody writes to it meanwhile.

    Those that died and have all writes are started again; then any other is replaced by a copy of
    one that can be read. Where none can, nothing is touched.

    Raises :class:`~cormorant.errors.ShardUnavailableError`, or why one cannot be started now.
    """
    replicas.notice_deaths()
    down = [replica for replica in replicas.members if not replica.readable]
    alone = len(down) == len(replicas.members)
    stop(down)
    writes: dict[int, int] = {}
    refused: dict[int, CormorantError] = {}
    damage: CormorantError | None = None
    for replica in down:
        if replica.in_step:
            try:
                writes[replica.number] = _start(executor, collection, replicas, replica)
            except (FormatVersionError, LockedError, ShardUnavailableError) as error:
                refused[replica.number] = error  # it may be sound
            except CormorantError as error:
                damage = error
    if alone:  # one may have a write that was never acknowledged, and is right
        replicas.write = max([replicas.write, *writes.values()])
    for replica in down:
        replica.alive = writes.get(replica.number) == replicas.write
    if not any(replica.readable for replica in replicas.members):
        raise next(iter(refused.values()), damage or replicas.unavailable())
    for replica in down:
        if not replica.readable and replica.number not in refused:
            stop([replica])
            replica.in_step = False
            path = replica_path(collection, replicas.shard, replica.number)
            _copy(replicas, path, disk)
            if _start(executor, collection, replicas, replica) != replicas.write:
                raise CorruptionError(path, "was copied, and is not what was copied")
            replica.in_step = replica.alive = True
    if refused:
        raise next(iter(refused.values()))


def _start(executor: Executor, collection: Path, replicas: Replicas, replica: Replica) -> int:
    """Start a replica; the number of its last write."""
    path = replica_path(collection, replicas.shard, replica.number)
    try:
        replica.worker = executor.start(path, shard=replicas.shard, replica=replica.number)
        status: Status = replica.worker.call("status").result()
    except BaseException:
        stop([replica])
        raise
    return status.write


def _copy(replicas: Replicas, path: Path, disk: Disk) -> None:
    """Replace a replica. What was there goes under another name first: a half is never read."""
    draft, old = path.with_name(f".{path.name}.new"), path.with_name(f".{path.name}.old")
    with storage_errors(path):
        for rest in (draft, old):
            if rest.exists():
                disk.remove_tree(rest)
        if path.exists():
            disk.rename(path, old)
            disk.remove_tree(old)
        replicas.ask("backup", draft)
        disk.rename(draft, path)
        disk.sync_directory(path.parent)


def stop(members: Iterable[Replica]) -> None:
    """Stop workers; what a dead one says of it does not matter."""
    for replica in members:
        worker, replica.worker = replica.worker, None
        if worker is not None:
            worker.stop()
