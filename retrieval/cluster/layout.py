"""The cluster's own catalog: which shards there are, and which of their replicas may be read.

The story of a write: every replica that is in step has made it durable; then the numbers of the
shards' last writes are noted here, and which replicas failed; then it is acknowledged. So a replica
that was down, or that comes back from an old copy, knows a smaller number than is noted, and is
not read until it was repaired. The file is replaced as a whole (written beside, synced, renamed):
a kill leaves the one before or the one after.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from ...documents import JsonObject
from ...errors import CorruptionError, FormatVersionError, LockedError, NotACollectionError
from ..disk import Disk, storage_errors

FORMAT_VERSION = 1
LAYOUT = "cluster.json"
LOCK = "lock"
COLLECTIONS = "collections"


@dataclass(frozen=True, slots=True)
class ShardState:
    """The number of a shard's last noted write, and for each replica whether it is in step."""

    write: int
    in_step: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Growth:
    """Shards that are being filled: ``to`` is how many there will be.

    ``moved_until``: for each old shard up to which row its documents were looked at. ``switched``:
    searches ask all shards, and old shards may still hold what they gave away.
    """

    to: int
    moved_until: tuple[int, ...]
    switched: bool = False


@dataclass(frozen=True, slots=True)
class CollectionLayout:
    """One named collection. ``indexes``: by name ``{"settings": ..., "since": ...}``."""

    n_shards: int
    chunk: JsonObject | None
    indexes: Mapping[str, JsonObject]
    shards: tuple[ShardState, ...]
    growth: Growth | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """What the file says. ``n_shards`` is for collections to come."""

    n_shards: int
    replicas: int
    collections: Mapping[str, CollectionLayout] = field(default_factory=dict)


def write_layout(directory: Path, layout: Layout, disk: Disk) -> None:
    """Replace the file, durably."""
    body = json.dumps({"format_version": FORMAT_VERSION, **asdict(layout)})
    draft = directory / f".{LAYOUT}.{secrets.token_hex(4)}.new"
    with storage_errors(directory / LAYOUT):
        try:
            disk.write(draft, f"{_checksum(body)}\n{body}\n".encode())
            disk.sync_file(draft)
            disk.rename(draft, directory / LAYOUT)
            disk.sync_directory(directory)
        finally:
            draft.unlink(missing_ok=True)


def read_layout(directory: Path) -> Layout:
    """What the file says.

    Raises :class:`~cormorant.errors.NotACollectionError`,
    :class:`~cormorant.errors.FormatVersionError` or :class:`~cormorant.errors.CorruptionError`.
    """
    path = directory / LAYOUT
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        raise NotACollectionError(
            f"{directory} is not a cluster; Cluster.create makes one"
        ) from None
    except UnicodeDecodeError:
        raise CorruptionError(path, "is damaged: it is no text") from None
    checksum, _, body = text.rstrip("\n").partition("\n")
    if _checksum(body) != checksum:
        raise CorruptionError(path, "does not match its checksum; restore it from a backup")
    value = json.loads(body)
    version = value.pop("format_version")
    if version != FORMAT_VERSION:
        raise FormatVersionError(
            f"{directory} is a cluster in format {version}; this version of cormorant reads "
            f"format {FORMAT_VERSION}"
        )
    collections = {name: _collection_of(item) for name, item in value["collections"].items()}
    return Layout(value["n_shards"], value["replicas"], collections)


def _collection_of(value: Mapping[str, Any]) -> CollectionLayout:
    growth = value["growth"]
    return CollectionLayout(
        value["n_shards"],
        value["chunk"],
        value["indexes"],
        tuple(ShardState(item["write"], tuple(item["in_step"])) for item in value["shards"]),
        None
        if growth is None
        else Growth(growth["to"], tuple(growth["moved_until"]), growth["switched"]),
    )


def _checksum(body: str) -> str:
    return xxhash.xxh3_64_hexdigest(body.encode())


@contextmanager
def untouched(directory: Path) -> Iterator[None]:
    """Nobody opens the cluster while the block runs, and nothing is written there.

    Raises :class:`~cormorant.errors.LockedError` where it is open.
    """
    try:
        descriptor = os.open(directory / LOCK, os.O_RDONLY)
    except FileNotFoundError:  # a backup that was never opened
        yield
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LockedError(f"{directory} is open; make a backup where it is open") from None
    finally:
        os.close(descriptor)


class ClusterLock:
    """Held by the one process that has the cluster open."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        with storage_errors(path):
            self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._descriptor, 64, 0).decode("utf-8", "replace")
            self.release()
            raise LockedError(
                f"{directory} is open in {holder or 'another process'}; close it there"
            ) from None
        os.truncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()}".encode(), 0)

    def release(self) -> None:
        """Let the next one have it; releasing twice is fine."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)
