"""A copy of a whole cluster as of one moment, and a cluster from such a copy."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CollectionExistsError, InputError
from ..arguments import check_path
from ..collection import Collection
from ..disk import Disk, storage_errors
from .layout import (
    COLLECTIONS,
    CollectionLayout,
    Layout,
    ShardState,
    read_layout,
    untouched,
    write_layout,
)
from .starting import check_not_old, replica_path

if TYPE_CHECKING:
    from .replicas import Replicas
    from .router import Router


def back_up(routers: Mapping[str, Router], target: Path, cluster: Path, layout: Layout) -> None:
    """Copy one replica of every shard; the caller keeps writes out.

    In the copy the other replicas are out of step, so that opening it makes them.
    """
    copies = {name: partial(_copy_open, router) for name, router in routers.items()}
    _copy(copies, target, cluster, layout)


def copy_backup(backup: Path, target: Path) -> None:
    """The same of a cluster that nobody has open, of which nothing is changed."""
    layout = read_layout(backup)
    with untouched(backup):
        copies = {
            name: partial(_copy_closed, backup / COLLECTIONS / name, own)
            for name, own in layout.collections.items()
        }
        _copy(copies, target, backup.absolute(), layout)


_Copied = tuple[CollectionLayout, list[int]]
"""What a collection was when it was copied, and the last write of each shard."""


def _copy(
    copies: Mapping[str, Callable[[Path], _Copied]], target: Path, cluster: Path, layout: Layout
) -> None:
    check_path(target)
    if target.absolute().is_relative_to(cluster):
        raise InputError(f"{target} is inside the cluster itself", field="path")
    if target.exists():
        raise CollectionExistsError(f"{target} exists; choose a path where nothing is")
    disk = Disk()
    draft = target.absolute().with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    with storage_errors(target):
        try:
            collections = {}
            first_only = (True, *([False] * (layout.replicas - 1)))
            for name, copy in copies.items():
                path = draft / COLLECTIONS / name
                disk.make_directory(path)
                own, writes = copy(path)
                disk.sync_directory(path)
                states = tuple(ShardState(write, first_only) for write in writes)
                collections[name] = replace(own, shards=states)
            disk.make_directory(draft / COLLECTIONS)
            disk.sync_directory(draft / COLLECTIONS)
            write_layout(draft, replace(layout, collections=collections), disk)
            disk.rename(draft, target)
            disk.sync_directory(target.absolute().parent)
        finally:
            if draft.exists():
                disk.remove_tree(draft)


def _copy_open(router: Router, target: Path) -> _Copied:
    def copy(shard: Replicas) -> int:
        write: int = shard.ask("backup", _place(target, shard.shard))
        return write

    return router.layout, router.map(copy, router.shards)


def _copy_closed(source: Path, layout: CollectionLayout, target: Path) -> _Copied:
    writes = []
    for number, state in enumerate(layout.shards):
        path = replica_path(source, number, state.in_step.index(True))
        with Collection.open(path, read_only=True) as shard:
            writes.append(shard._reader.snapshot().state.write)
            check_not_old(source, number, writes[-1], state)
            shard.backup(_place(target, number))
    return layout, writes


def _place(target: Path, shard: int) -> Path:
    place = replica_path(target, shard, 0)
    place.parent.mkdir()
    return place
