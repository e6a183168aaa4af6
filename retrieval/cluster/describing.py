"""What is in a sharded collection, and what its shards were asked, as one JSON object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...documents import JsonObject
from ...errors import DeadlineError, ShardUnavailableError, StorageError
from ...tagged import to_json
from .leases import Pin
from .replicas import Replicas

if TYPE_CHECKING:
    from .router import Router

_SUMMED = ("segments", "bytes", "unfinished_bytes", "tail_rows", "rows_behind")


def describe_sharded(router: Router, *, partial: bool = False) -> JsonObject:
    """Documents, version, indexes, and by shard its replicas, metrics and own description.

    ``partial``: a shard that does not answer has its ``problem`` in the place of what is in it, is
    one of ``missing_shards``, and nothing of it is in any sum; else it is raised.
    """
    shards = router.map(_described if partial else _describe_shard, router.shards)
    missing = [shard["shard"] for shard in shards if "problem" in shard]
    with router.gathered(Pin(), missing) as (_, facts):
        version = sum(own.write for own in facts.values())
        documents = sum(own.n_documents for own in facts.values())
    up = [shard for shard in shards if "problem" not in shard]
    serving = [shard for shard in up if shard["shard"] < router.layout.n_shards]
    growth = router.layout.growth
    errors = [shard["background_error"] for shard in up if shard["background_error"]]
    return {
        "path": str(router.path),
        "documents": documents,
        "version": version,
        "indexes": {
            item.name: {
                **to_json(item.settings),
                **{
                    key: sum(shard["indexes"][item.name][key] for shard in serving)
                    for key in _SUMMED
                },
                **router.routing.describe(item.name),
            }
            for item in router.in_order()
        },
        "catalog_bytes": sum(shard["catalog_bytes"] for shard in serving),
        "ids_bytes": sum(shard["ids_bytes"] for shard in serving),
        "background_error": errors[0] if errors else None,
        "growing_to": None if growth is None else growth.to,
        "missing_shards": missing,
        "shards": shards,
    }


def _described(shard: Replicas) -> JsonObject:
    try:
        return _describe_shard(shard)
    except (ShardUnavailableError, StorageError, DeadlineError) as error:
        return _with_replicas(shard, {"problem": str(error)})


def _describe_shard(shard: Replicas) -> JsonObject:
    return _with_replicas(shard, shard.ask("describe"))


def _with_replicas(shard: Replicas, own: JsonObject) -> JsonObject:
    return {
        "shard": shard.shard,
        **own,
        "replicas": [
            {
                "replica": replica.number,
                "in_step": replica.in_step,
                "up": replica.worker is not None and replica.alive,
            }
            for replica in shard.members
        ],
        "metrics": shard.metrics.as_json(),
    }
