"""A copy of a whole cluster as of one moment, and a cluster from such a copy."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...errors import CollectionExistsError, InputError
from ..arguments import check_path
from ..disk import Disk, storage_errors
from .layout import COLLECTIONS, CollectionLayout, Layout, ShardState, write_layout
from .starting import replica_path

if TYPE_CHECKING:
    from .router import Router


def back_up(routers: Mapping[str, Router], target: Path, cluster: Path, layout: Layout) -> None:
    """Copy one replica of every shard; the caller keeps writes out.

    In the copy the other replicas are out of step, so that opening it makes them.
    """
    check_path(target)
    if target.absolute().is_relative_to(cluster):
        raise InputError(f"{target} is inside the cluster itself", field="path")
    if target.exists():
        raise CollectionExistsError(f"{target} exists; choose a path where nothing is")
    disk = Disk()
    draft = target.absolute().with_name(f".{target.name}.{secrets.token_hex(4)}.new")
    with storage_errors(target):
        try:
            copies = {
                name: _copy(router, draft / COLLECTIONS / name, disk, layout.replicas)
                for name, router in routers.items()
            }
            disk.make_directory(draft / COLLECTIONS)
            disk.sync_directory(draft / COLLECTIONS)
            write_layout(draft, replace(layout, collections=copies), disk)
            disk.rename(draft, target)
            disk.sync_directory(target.absolute().parent)
        finally:
            if draft.exists():
                disk.remove_tree(draft)


def _copy(router: Router, target: Path, disk: Disk, replicas: int) -> CollectionLayout:
    first_only = (True, *([False] * (replicas - 1)))

    for shard in router.shards:
        disk.make_directory(replica_path(target, shard.shard, 0).parent)
    writes = router.map(
        lambda shard: shard.ask("backup", replica_path(target, shard.shard, 0)), router.shards
    )
    disk.sync_directory(target)
    return replace(router.layout, shards=tuple(ShardState(write, first_only) for write in writes))
