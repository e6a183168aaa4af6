"""A cluster: shards and their replicas in one directory, for any number of named collections."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from ...contracts import IndexSettings
from ...documents import JsonObject
from ...errors import (
    CollectionExistsError,
    CormorantError,
    InputError,
    ReadOnlyError,
    UnknownNameError,
)
from ...indexers.chunking import Chunking
from ...tagged import to_json
from ..arguments import check_path, checked_name
from ..collection import Collection
from ..create import as_created
from ..disk import Disk, storage_errors
from .collection import ShardedCollection
from .copying import back_up, copy_backup
from .describing import describe_sharded
from .executor import Executor, InProcess
from .growing import clean, fill, with_new_shards
from .layout import (
    COLLECTIONS,
    LAYOUT,
    ClusterLock,
    CollectionLayout,
    Layout,
    ShardState,
    read_layout,
    write_layout,
)
from .limits import Limits, checked_limits
from .placement import MAX_SHARDS
from .router import Router
from .starting import repair_shard, replica_path, start_shards, stop


class Cluster:
    """Collections in shards, each replica of a shard an ordinary collection in its own folder.

    Make one with :meth:`create` or :meth:`open`; one process has it open at a time. The executor
    says where shards run: all of them, and this process, see the directory under the same path.
    """

    def __init__(self, path: Path, executor: Executor, limits: Limits) -> None:
        self.path = path.absolute()
        self._disk = Disk()
        self._lock = ClusterLock(self.path)
        self._layout_lock = threading.Lock()
        self._growing = threading.Lock()
        self._executor = executor
        self._limits = limits
        self._opened: dict[str, ShardedCollection] = {}
        self._closed = False
        try:
            self.layout = read_layout(self.path)
            for name in self.layout.collections:
                self._open_collection(name)
        except BaseException:
            self.close()
            raise

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        shards: int,
        replicas: int = 1,
        executor: Executor | None = None,
        read_seconds: float = Limits().read_seconds,
        write_seconds: float = Limits().write_seconds,
    ) -> Cluster:
        """Create a cluster without collections and open it.

        With ``replicas`` of 2 or more a write is durable in all of them when it is acknowledged,
        and a search goes on when one is lost. ``read_seconds`` and ``write_seconds``: see
        :meth:`open`.

        Raises :class:`~cormorant.errors.CollectionExistsError` when something is at ``path``.
        """
        limits = checked_limits(read_seconds, write_seconds)
        target = Path(path)
        check_path(target)
        _check_count("shards", shards, MAX_SHARDS)
        _check_count("replicas", replicas, 100)
        if target.exists():
            raise CollectionExistsError(f"{target} exists; open it with Cluster.open")
        disk = Disk()
        with storage_errors(target):
            disk.make_directory(target)
            write_layout(target, Layout(shards, replicas), disk)
            disk.sync_directory(target.absolute().parent)
        return cls(target, executor or InProcess(), limits)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        executor: Executor | None = None,
        read_seconds: float = Limits().read_seconds,
        write_seconds: float = Limits().write_seconds,
    ) -> Cluster:
        """Open a cluster; replicas that fell behind are brought into step where that can be done.

        A shard has ``read_seconds`` for what is read outside a search (``get``, ``len``,
        ``describe``), and ``write_seconds`` for its part of one batch of documents and the indexing
        that it sets off. A replica that takes longer is passed over, if there is another; else it
        is a :class:`~cormorant.errors.DeadlineError`. ``flush``, ``merge``, ``add_index``,
        ``check`` and backups take their time.

        Raises :class:`~cormorant.errors.LockedError` where it is open already, and what
        :meth:`Collection.open` raises of a shard that has no sound replica.
        """
        limits = checked_limits(read_seconds, write_seconds)
        target = Path(path)
        if target.is_dir() and (target / LAYOUT).exists():
            return cls(target, executor or InProcess(), limits)
        read_layout(target)  # says why it cannot be opened
        raise AssertionError("unreachable: a layout was read where none is")

    def close(self) -> None:
        """Close every collection and let the next one open the cluster. Twice is fine."""
        if self._closed:
            return
        self._closed = True
        try:
            with ExitStack() as stack:
                for collection in self._opened.values():
                    stack.callback(collection.router.close)
        finally:
            self._executor.close()
            self._lock.release()

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- collections ------------------------------------------------------------------------

    def create_collection(
        self,
        name: str,
        indexes: Mapping[str, IndexSettings] | None = None,
        *,
        chunk: Chunking | None = None,
    ) -> ShardedCollection:
        """Create an empty collection in every shard; see :meth:`Collection.create`.

        Raises :class:`~cormorant.errors.CollectionExistsError` for a name that is taken.
        """
        self._check_open()
        checked_name(name)
        if name in self.layout.collections:
            raise CollectionExistsError(f"there is a collection {name!r} already")
        named, pieces = as_created(indexes, chunk)
        entries = {
            index: {"settings": to_json(settings), "since": 0} for index, settings in named.items()
        }
        state = ShardState(0, (True,) * self.layout.replicas)
        made = CollectionLayout(
            self.layout.n_shards, pieces, entries, (state,) * self.layout.n_shards
        )
        self._remove_tree(name)
        self._make_shards(name, named, chunk, range(self.layout.n_shards))
        self._save(name, made)
        return self._open_collection(name)

    def drop_collection(self, name: str) -> None:
        """Drop a collection and its files."""
        self[name].close()
        self._save(name, None)
        del self._opened[name]
        self._remove_tree(name)

    def __getitem__(self, name: str) -> ShardedCollection:
        self._check_open()
        if name not in self.layout.collections:
            there = ", ".join(self.layout.collections) or "none"
            raise UnknownNameError(f"there is no collection {name!r}; there are: {there}")
        opened = self._opened[name]
        return self._open_collection(name) if opened.router.closed else opened

    def __contains__(self, name: object) -> bool:
        return name in self.layout.collections

    def __iter__(self) -> Iterator[str]:
        return iter(list(self.layout.collections))

    def __len__(self) -> int:
        return len(self.layout.collections)

    # -- shards -----------------------------------------------------------------------------

    def add_shards(self, n: int = 0) -> None:
        """Add shards, moving only what must move; 0 finishes what a kill interrupted.

        Searches and writes go on; a search waits only while the old shards drop what moved. Where
        they cannot, the collection is closed, and opening it again (``cluster[name]``) goes on.
        """
        self._check_open()
        with self._growing:
            if n:
                with self._layout_lock:
                    _check_count("n", n, MAX_SHARDS - self.layout.n_shards)
                    self._write(replace(self.layout, n_shards=self.layout.n_shards + n))
            for name in self:
                self._grow(name, self[name].router)

    def _grow(self, name: str, router: Router) -> None:
        # Twice, where a growth that was cut off has a smaller number in mind.
        while router.layout.growth is not None or router.layout.n_shards < self.layout.n_shards:
            if router.layout.growth is None:
                with router.writing:
                    router.check_open()
                    self._begin_growing(name, router)
            fill(router)

    def _begin_growing(self, name: str, router: Router) -> None:
        new = range(router.layout.n_shards, self.layout.n_shards)
        for shard in new:
            path = replica_path(router.path, shard, 0).parent
            if path.exists():  # of a growth that a kill cut off before it was noted
                self._disk.remove_tree(path)
        self._make_shards(name, ShardedCollection(router).indexes, router.chunking, new)
        layout = with_new_shards(router.layout, self.layout.n_shards, self.layout.replicas)
        states = {number: layout.shards[number] for number in new}
        started = start_shards(self._executor, router.path, states, self._limits)
        try:
            self._save(name, layout)
        except BaseException:
            for replicas in started:
                stop(replicas.members)
            raise
        router.shards += started
        router.layout = layout

    def repair(self) -> None:
        """Bring every replica into step: those that died are started again, others copied."""
        self._check_open()
        for name in self:
            self._repair(self[name].router)

    def _repair(self, router: Router) -> None:
        errors: list[CormorantError] = []
        with router.writing:
            router.check_open()
            try:
                for shard in router.shards:
                    try:
                        repair_shard(self._executor, router.path, shard, self._disk)
                    except CormorantError as error:
                        errors.append(error)  # the other shards are repaired all the same
            finally:
                router.note_shards()
            if errors:
                raise errors[0]
            router.drop_unnamed_indexes()  # one that was dropped while a shard was down
            router.learn_encoders()

    # -- care -------------------------------------------------------------------------------

    def describe(self) -> JsonObject:
        """Shards, replicas, and what is in every collection.

        A shard that does not answer is described too: by its ``problem``, in ``missing_shards``.
        """
        self._check_open()
        return {
            "path": str(self.path),
            "shards": self.layout.n_shards,
            "replicas": self.layout.replicas,
            "collections": {
                name: describe_sharded(self[name].router, partial=True) for name in self
            },
        }

    def backup(self, path: str | os.PathLike[str]) -> None:
        """Copy the whole cluster as of one moment to a new directory; writes wait meanwhile."""
        self._check_open()
        routers = {name: self[name].router for name in self}
        with ExitStack() as stack:
            for router in routers.values():
                stack.enter_context(router.writing)
            back_up(routers, Path(path), self.path, self.layout)

    @classmethod
    def restore(
        cls,
        backup: str | os.PathLike[str],
        path: str | os.PathLike[str],
        *,
        executor: Executor | None = None,
    ) -> Cluster:
        """Check a backup, copy it to ``path``, where nothing may be yet, and open the copy."""
        copy_backup(Path(backup), Path(path))
        return cls.open(path, executor=executor)

    # -- inside -----------------------------------------------------------------------------

    def _open_collection(self, name: str) -> ShardedCollection:
        layout = self.layout.collections[name]
        path = self.path / COLLECTIONS / name
        with ExitStack() as started:
            states = dict(enumerate(layout.shards))
            shards = start_shards(self._executor, path, states, self._limits)
            for replicas in shards:
                started.callback(stop, replicas.members)
            router = Router(
                path, layout, shards, lambda changed: self._save(name, changed), self._limits
            )
            started.pop_all()
        try:
            router.note_shards()
            router.drop_unnamed_indexes()
            if layout.growth is not None and layout.growth.switched:
                clean(router)
        except BaseException:
            router.close()
            raise
        collection = self._opened[name] = ShardedCollection(router)
        # Where it cannot be done now, the replicas in step go on; describe() says which.
        with suppress(CormorantError):
            self._repair(router)
        return collection

    def _make_shards(
        self,
        name: str,
        indexes: Mapping[str, IndexSettings],
        chunk: Chunking | None,
        shards: range,
    ) -> None:
        collection = self.path / COLLECTIONS / name
        for shard in shards:
            for replica in range(self.layout.replicas):
                path = replica_path(collection, shard, replica)
                Collection.create(path, indexes, chunk=chunk).close()
        with storage_errors(collection):
            for directory in (collection, collection.parent):  # the cluster's own: with its catalog
                self._disk.sync_directory(directory)

    def _remove_tree(self, name: str) -> None:
        path = self.path / COLLECTIONS / name
        with storage_errors(path):
            if path.exists():
                self._disk.remove_tree(path)

    def _save(self, name: str, collection: CollectionLayout | None) -> None:
        with self._layout_lock:
            collections = dict(self.layout.collections)
            collections.pop(name, None)
            if collection is not None:
                collections[name] = collection
            self._write(replace(self.layout, collections=collections))

    def _write(self, layout: Layout) -> None:
        write_layout(self.path, layout, self._disk)
        self.layout = layout

    def _check_open(self) -> None:
        if self._closed:
            raise ReadOnlyError(f"{self.path} is closed; open it again with Cluster.open(path)")

    def __repr__(self) -> str:
        return f"<Cluster {self.path.name}: {self.layout.n_shards} shards>"


def _check_count(field: str, value: object, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InputError(f"is a whole number from 1 to {most:,}, got {value!r}", field=field)
