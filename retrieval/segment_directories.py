"""Where segments lie while they are written, and what becomes of those that are not finished.

The story of a directory: a build or a merge takes the next free number, writes its files there, and
one transaction names it. An error before that removes the directory at once. A kill leaves it, and
the next writer that opens removes every directory that no version names. Readers remove nothing.

Who takes a number or removes a directory holds the builder's lock, or is alone (opening).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

from .disk import Disk, storage_errors
from .shared_catalog import SharedCatalog
from .snapshot import SEGMENTS, Snapshot
from .unfinished import UNFINISHED, Unfinished, remove_unfinished, sources_of


class SegmentDirectories:
    """The directories ``segments/<index>/<number>`` of a collection that is open for writing."""

    def __init__(self, directory: Path, disk: Disk, catalog: SharedCatalog) -> None:
        self._root = directory / SEGMENTS
        self._disk = disk
        self._catalog = catalog

    def new(self, name: str) -> tuple[Path, int]:
        """The place and the number of an index's next segment; nothing is created yet."""
        parent = self._root / name
        taken = [int(path.name) for path in parent.glob("*") if _is_number(path.name)]
        number = max(taken, default=0) + 1
        return parent / str(number), number

    @contextmanager
    def discarded_on_error(self, name: str, number: int) -> Iterator[None]:
        """Remove a half-written segment at once, rather than when the next writer opens.

        Never one that the catalog names: noting a commit in ``head`` can fail after the commit.
        """
        try:
            yield
        except BaseException:
            with self._catalog.held() as catalog:
                named = catalog.names_segment(name, number)
            if not named:
                self.remove(name, number)
            raise

    def unfinished(self, name: str, key: str, sources: Sequence[int]) -> Unfinished:
        """Where a merge keeps what it has finished; other merges of its sources are forgotten."""
        parent = self._root / name / UNFINISHED
        own = parent / key

        def unwanted(other: Path) -> bool:
            found = sources_of(other)
            return other != own and (not found or not found.isdisjoint(sources))

        remove_unfinished(parent, self._disk, unwanted)
        return Unfinished(own, self._disk, sources)

    def begun(self, name: str) -> Set[int]:
        """The segments that an unfinished merge of an index is of; none where there is none."""
        parent = self._root / name / UNFINISHED
        with storage_errors(parent):
            found = map(sources_of, parent.iterdir() if parent.is_dir() else ())
            return next(filter(None, found), frozenset())

    def remove(self, name: str, number: int) -> None:
        """Remove a segment's directory, if it is there."""
        self._remove(self._root / name / str(number))

    def remove_index(self, name: str) -> None:
        """Remove every segment of an index."""
        self._remove(self._root / name)

    def remove_unnamed(self, snapshot: Snapshot) -> None:
        """Remove what an interrupted build or merge left: directories that no version names.

        Unfinished merges stay while each of the segments that they are of is named.
        """
        with storage_errors(self._root):
            self._disk.make_directory(self._root)  # copying tools drop empty directories
        for parent in [path for path in self._root.iterdir() if path.is_dir()]:
            view = snapshot.indexes.get(parent.name)
            named = set() if view is None else {str(item.number) for item in view.stored}
            for directory in list(parent.iterdir()):
                ours = directory.is_dir() and not directory.is_symlink()
                if ours and _is_number(directory.name) and directory.name not in named:
                    self._remove(directory)
            numbers = {int(number) for number in named}

            def unwanted(directory: Path, numbers: set[int] = numbers) -> bool:
                sources = sources_of(directory)
                return not sources or not sources <= numbers

            remove_unfinished(parent / UNFINISHED, self._disk, unwanted)
            if view is None and not any(parent.iterdir()):
                self._remove(parent)

    def _remove(self, directory: Path) -> None:
        if directory.exists():
            with storage_errors(directory):
                self._disk.remove_tree(directory)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
