"""The collections a server serves: a name from the wire is looked up here, and is never a path.

A collection that cannot be opened stays on the list with its trouble: requests to it are answered
with the problem, ``/readyz`` names it, and the others go on. One that turns out to be damaged later
(:meth:`Registry.note`) is named there too. A path may hold a cluster: its collections are served by
their own names, and answer as any other.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import TYPE_CHECKING, cast

from ...contracts import IndexSettings
from ...errors import CormorantError, CorruptionError, InputError, LockedError, NotACollectionError
from ...indexers.chunking import Chunking
from ...retrieval.cluster.layout import LAYOUT, read_layout
from ...retrieval.collection import Collection
from .problems import Problem, problem_of

if TYPE_CHECKING:
    from ...retrieval.cluster.cluster import Cluster

NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
SUFFIX = ".cm"
_DROPPED = ".dropped"


@dataclass(slots=True, eq=False)
class Served:
    """One collection on the list: open, or with the reason why it is not."""

    name: str
    path: Path
    inode: int = 0
    collection: Collection | None = None
    trouble: CormorantError | None = None
    in_cluster: bool = False
    """``path`` is that of the cluster which it is in."""
    created: bool = False
    """It is new, and no server is less ready while it is being made."""
    again: float = 0.0
    """When opening it may be tried again, on ``time.monotonic``'s clock."""
    pause_seconds: float = 1.0

    @property
    def judgements(self) -> Path:
        """Where its judgements are: beside the collection, not inside it."""
        return self.path.with_name(f"{self.name}.judgements.jsonl")


class Registry:
    """Names and their collections. Threads may share it.

    Raises :class:`~cormorant.errors.InputError` for a folder whose name is no collection's name and
    for two of one name, :class:`~cormorant.errors.NotACollectionError` for a path without a folder.
    ``follow``: another process creates and drops the collections of the root. ``shared``: a folder
    in which processes tell each other what is damaged. ``ray_address``: of the Ray on which the
    shards of clusters run; None: in this process.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        root: Path | None,
        *,
        read_only: bool,
        most: int,
        follow: bool = False,
        shared: Path | None = None,
        ray_address: str | None = None,
    ) -> None:
        self.root = None if root is None else root.absolute()
        self._read_only = read_only
        self._most = most
        self._lock = Lock()
        self._served: dict[str, Served] = {}
        self._clusters: dict[Path, Cluster] = {}
        self._opening = Lock()
        self._ray_address = ray_address
        self._shared = shared
        self._follows = follow and root is not None
        self._root_changed = 0
        for path in paths:
            self._list(path.absolute())
        if self.root is not None:
            if not self.root.is_dir():
                raise InputError(f"{self.root} is no folder; make it first", field="--root")
            for path in sorted(self.root.glob(f"*{SUFFIX}")):
                if path.is_dir() and NAME.fullmatch(path.stem):
                    self._list(path)

    def _list(self, path: Path) -> None:
        name = path.stem
        if not path.is_dir():
            raise NotACollectionError(f"{path} is not a collection; 'cormorant index' makes one")
        if _is_cluster(path):
            self._list_cluster(path)
            return
        if not NAME.fullmatch(name):
            raise InputError(
                f"{path.name}: the name before {SUFFIX} has up to 64 of a-z, 0-9, '_' and '-' and "
                "begins with a letter or digit; rename the folder"
            )
        self._serve(Served(name, path, path.stat().st_ino))

    def _list_cluster(self, path: Path) -> None:
        if self._read_only or self._shared is not None:
            raise InputError(
                f"{path} is a cluster, which one process has open, for writing; serve it without "
                "--read-only and --workers, and hand out keys that read"
            )
        for name in read_layout(path).collections:
            if not NAME.fullmatch(name):
                raise InputError(f"{path}: a server cannot serve a collection called {name!r}")
            self._serve(Served(name, path, path.stat().st_ino, in_cluster=True))

    def _serve(self, served: Served) -> None:
        other = self._served.setdefault(served.name, served)
        if other.path != served.path:
            raise InputError(
                f"{other.path} and {served.path} both have a collection {served.name!r}"
            )

    @property
    def places(self) -> list[str]:
        """The folders that hold collections: what no message may show."""
        parents = {str(served.path.parent) for served in self.all()}
        if self.root is not None:
            parents.add(str(self.root))
        return sorted(parents, key=len, reverse=True)

    def open_all(self) -> None:
        """Open every collection on the list; what cannot be opened keeps its trouble."""
        if self.root is not None and not self._read_only:
            for left in self.root.glob(f".*{_DROPPED}"):
                shutil.rmtree(left, ignore_errors=True)  # a drop that was killed half-way
        for served in self.all():
            if served.collection is None:
                self._open(served)

    def _open(self, served: Served) -> None:
        try:
            if served.in_cluster:
                # It has the calls of a collection, and their types.
                served.collection = cast(Collection, self._cluster(served.path)[served.name])
            else:
                served.collection = self._collection(served.path)
            served.trouble = None
        except CormorantError as error:
            served.trouble = error

    def _collection(self, path: Path) -> Collection:
        try:
            return Collection.open(path, read_only=self._read_only)
        except LockedError:
            # Another process writes it (another worker of this server, or an indexing run).
            return Collection.open(path, read_only=True)

    def _cluster(self, path: Path) -> Cluster:
        """The open cluster of a path, which all its collections share."""
        from ...retrieval.cluster.cluster import Cluster

        with self._opening:
            if path not in self._clusters:
                executor = None
                if self._ray_address is not None:
                    from ...retrieval.cluster.ray import Ray

                    executor = Ray(self._ray_address)
                self._clusters[path] = Cluster.open(path, executor=executor)
            return self._clusters[path]

    def _follow(self) -> None:
        """Notice what another process created or dropped in the root since the last look."""
        assert self.root is not None
        changed = self.root.stat().st_mtime_ns
        if changed == self._root_changed:
            return
        with self._lock:
            there = {
                path.stem: (path, path.stat().st_ino)
                for path in self.root.glob(f"*{SUFFIX}")
                if path.is_dir() and NAME.fullmatch(path.stem) and not _is_cluster(path)
            }
            gone = [
                served
                for name, served in self._served.items()
                if served.path.parent == self.root
                and there.get(name) != (served.path, served.inode)
            ]
            for served in gone:
                del self._served[served.name]
            new = [name for name in there if name not in self._served]
            for name in new:
                self._served[name] = Served(name, *there[name], created=True)
            self._root_changed = changed
        for served in gone:
            if served.collection is not None:
                served.collection.close()
        for name in new:
            self._open(self._served[name])

    def all(self) -> list[Served]:
        """Every collection on the list, by name."""
        if self._follows:
            self._follow()
        with self._lock:
            return [self._served[name] for name in sorted(self._served)]

    def served(self, name: str) -> Served:
        """The entry of a name; the problem ``unknown_name`` where there is none."""
        if self._follows:
            self._follow()
        served = self._served.get(name)
        if served is None:
            raise Problem("unknown_name", f"there is no collection {name!r}", field="collection")
        return served

    def get(self, name: str) -> Collection:
        """The open collection of a name; raises its trouble where it is not open."""
        served = self.served(name)
        if served.collection is None:
            if served.trouble is not None:
                self._try_again(served)
                raise served.trouble
            raise Problem("not_ready", f"{name!r} is being opened", retry_after_seconds=1)
        return served.collection

    def _try_again(self, served: Served) -> None:
        """Open what could not be opened, in a thread, later and later: it may be mended by now."""
        with self._lock:
            now = time.monotonic()
            if now < served.again:
                return
            served.again = now + served.pause_seconds
            served.pause_seconds = min(60.0, 2 * served.pause_seconds)
        Thread(target=self._open, args=(served,), daemon=True).start()

    def note(self, name: str, error: CorruptionError) -> None:
        """Remember that a collection is damaged, for :meth:`troubles`, until it is found sound."""
        served = self._served.get(name)
        if served is None:
            return
        served.trouble = error
        if self._shared is not None:
            note = self._shared / name
            draft = note.with_name(f".{name}.{secrets.token_hex(4)}")
            draft.write_text(json.dumps([error.file, error.message]), encoding="utf-8")
            draft.replace(note)

    def found_sound(self, name: str) -> None:
        """Forget the damage of a collection that is open, after a check that found none."""
        served = self._served.get(name)
        if served is not None and served.collection is not None:
            served.trouble = None
        if self._shared is not None:
            (self._shared / name).unlink(missing_ok=True)

    def troubles(self) -> dict[str, Problem]:
        """What is wrong with which collection; empty when every one is open and sound."""
        found: dict[str, Problem] = {}
        for served in self.all():
            trouble = self._shared_trouble(served)
            if trouble is not None:
                if served.collection is None:
                    self._try_again(served)
                found[served.name] = problem_of(trouble, self.places)
            elif served.collection is None and not served.created:
                found[served.name] = Problem("not_ready", "is being opened")
        return found

    def _shared_trouble(self, served: Served) -> CormorantError | None:
        """What this process knows to be wrong, or another one has told."""
        if self._shared is None or (served.collection is None and served.trouble is not None):
            return served.trouble
        try:
            file, message = json.loads((self._shared / served.name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            served.trouble = None
            return None
        return CorruptionError(file, message)

    def create(
        self, name: str, indexes: Mapping[str, IndexSettings] | None, chunk: Chunking | None
    ) -> Collection:
        """Create a collection in the root and serve it."""
        root = self._writable_root()
        if not NAME.fullmatch(name):
            raise InputError(
                "has up to 64 of a-z, 0-9, '_' and '-', begins with a letter or digit", field="name"
            )
        with self._lock:
            if name in self._served:
                raise Problem("collection_exists", f"there is a collection {name!r} already")
            if len(self._served) >= self._most:
                raise Problem(
                    "limit_exceeded",
                    f"this server holds at most {self._most} collections",
                    limit="collections",
                )
            served = self._served[name] = Served(name, root / f"{name}{SUFFIX}", created=True)
        try:
            served.collection = Collection.create(served.path, indexes, chunk=chunk)
        except BaseException:
            with self._lock:
                self._served.pop(name, None)
            raise
        return served.collection

    def drop(self, name: str) -> None:
        """Drop a collection of the root: its files and its judgements."""
        root = self._writable_root()
        served = self.served(name)
        if served.path.parent != root or served.in_cluster:
            raise Problem("forbidden", f"{name!r} is not in the root folder; drop it by hand")
        if served.collection is not None and not _writes(served.collection):
            raise LockedError(f"{name!r} is being written by another process")
        with self._lock:
            if self._served.pop(name, None) is None:
                raise Problem(
                    "unknown_name", f"there is no collection {name!r}", field="collection"
                )
        if served.collection is not None:
            served.collection.close()
        # Renamed first: a kill leaves a whole collection or none of that name.
        left = root / f".{name}.{secrets.token_hex(4)}{_DROPPED}"
        served.path.rename(left)
        served.judgements.unlink(missing_ok=True)
        if self._shared is not None:
            (self._shared / name).unlink(missing_ok=True)
        shutil.rmtree(left, ignore_errors=True)

    def _writable_root(self) -> Path:
        if self.root is None or self._read_only:
            raise Problem(
                "forbidden",
                "this server serves given collections only; start it with --root to create and "
                "drop collections",
            )
        return self.root

    def close(self, failed: Callable[[str, Exception], None]) -> None:
        """Close every collection; what one of them raises is handed to ``failed``."""
        for served in self.all():
            collection, served.collection = served.collection, None
            try:
                if collection is not None:
                    collection.close()
            except Exception as error:  # the others must be closed all the same
                failed(served.name, error)
        for path, cluster in self._clusters.items():
            try:
                cluster.close()
            except Exception as error:
                failed(path.name, error)


def _writes(collection: Collection) -> bool:
    return collection._writer is not None


def _is_cluster(path: Path) -> bool:
    return (path / LAYOUT).exists()
