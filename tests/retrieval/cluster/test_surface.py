"""One surface: a collection in shards has the calls of one that is in one directory."""

from __future__ import annotations

import inspect
from typing import Any

from surfaces import members

import cormorant as cm
from cormorant.retrieval.cluster.collection import ShardedCollection

ONLY_EMBEDDED = {
    "create": "is Cluster.create_collection",
    "open": "is Cluster[name]",
    "restore": "is Cluster.restore: the backup of one collection is a cluster",
}
SPECIAL = {"__len__", "__contains__", "__enter__", "__exit__"}


def _members(owner: type) -> dict[str, Any]:
    return members(owner, SPECIAL)


def _surface(member: Any) -> tuple[Any, ...]:
    """Parameters with their kinds, defaults and types, and what is returned."""
    signature = inspect.signature(member.fget if isinstance(member, property) else member)
    parameters = signature.parameters.values()
    return (
        type(member),
        [(item.name, item.kind, item.default, item.annotation) for item in parameters],
        signature.return_annotation,
    )


def test_a_sharded_collection_has_the_calls_of_the_embedded_one() -> None:
    embedded, sharded = _members(cm.Collection), _members(ShardedCollection)
    assert embedded.keys() - sharded.keys() == ONLY_EMBEDDED.keys()
    assert sharded.keys() <= embedded.keys()
    for name in sharded.keys() - {"__enter__"}:  # which returns its own type
        assert _surface(sharded[name]) == _surface(embedded[name]), name


def test_every_public_call_is_documented() -> None:
    for name, member in _members(ShardedCollection).items():
        assert name.startswith("__") or member.__doc__, name
