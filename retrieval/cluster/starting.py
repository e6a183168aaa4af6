"""Starts the replicas of a shard, and brings those that fell behind back into step.

The story of a replica that comes back: it was down while others wrote, or its machine was given an
old copy. Its collection knows the number of its last write; the cluster's catalog knows the number
that was last noted, and which replicas were in step then. The replica that has the most among
those in step is right (a write that was never acknowledged may be among what it has); whoever has
less is not read, and is replaced by a copy of one that is right.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...errors import (
    CormorantError,
    CorruptionError,
    FormatVersionError,
    InputError,
    LockedError,
    NotACollectionError,
)
from ..disk import Disk, storage_errors
from .executor import Executor
from .layout import ShardState
from .replicas import Replica, Replicas
from .shard import Status


def replica_path(collection: Path, shard: int, replica: int) -> Path:
    """Where a replica's collection is."""
    return collection / f"shard-{shard:05d}" / f"replica-{replica}"


def start_shard(executor: Executor, collection: Path, shard: int, state: ShardState) -> Replicas:
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
            replica.in_step = False
    known = [status.write for number, status in statuses.items() if members[number].in_step]
    write = max(known, default=0)
    if not known:
        stop(members)
        if errors:
            raise errors[0]
        raise CorruptionError(collection, f"no replica of shard {shard} is in step")
    if write < state.write:
        stop(members)
        raise CorruptionError(
            replica_path(collection, shard, 0).parent,
            f"holds old data: write {write}, where write {state.write} of shard {shard} was "
            "acknowledged; bring the newer data back, or restore the cluster from a backup",
        )
    for number, status in statuses.items():
        members[number].in_step &= status.write == write
    return Replicas(shard, members, write)


def repair_shard(executor: Executor, collection: Path, replicas: Replicas, disk: Disk) -> None:
    """Bring every replica of a shard into step; nobody writes to it meanwhile.

    One that died and has all writes is started again; any other is replaced by a copy.
    """
    for replica in replicas.members:
        if replica.readable:
            continue
        path = replica_path(collection, replicas.shard, replica.number)
        in_step, replica.in_step = replica.in_step, False
        stop([replica])
        if not (in_step and _start(executor, path, replicas, replica)):
            stop([replica])
            _copy(replicas, path, disk)
            if not _start(executor, path, replicas, replica):
                raise CorruptionError(path, "was copied, and is not what was copied")
        replica.in_step = replica.alive = True


def _start(executor: Executor, path: Path, replicas: Replicas, replica: Replica) -> bool:
    """Start a replica and say whether it has every write."""
    try:
        replica.worker = executor.start(path, shard=replicas.shard, replica=replica.number)
        status: Status = replica.worker.call("status").result()
    except CormorantError as error:
        if isinstance(error, (FormatVersionError, LockedError)):
            raise
        return False
    return status.write == replicas.write


def _copy(replicas: Replicas, path: Path, disk: Disk) -> None:
    draft = path.with_name(f".{path.name}.new")
    with storage_errors(path):
        for old in (draft, path):
            if old.exists():
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
