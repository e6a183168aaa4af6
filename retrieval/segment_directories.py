"""Where segments lie while they are written, and what becomes of those that are not finished.

The story of a directory: a build or a merge takes the next free number, writes its files there, and
one transaction names it. An error before that removes the directory at once. A kill leaves it, and
the next writer that opens removes every directory that no version names. Readers remove nothing.

Who takes a number or removes a directory holds the builder's lock, or is alone (opening).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .disk import Disk, storage_errors
from .shared_catalog import SharedCatalog
from .snapshot import SEGMENTS, Snapshot


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

    def remove(self, name: str, number: int) -> None:
        """Remove a segment's directory, if it is there."""
        self._remove(self._root / name / str(number))

    def remove_index(self, name: str) -> None:
        """Remove every segment of an index."""
        self._remove(self._root / name)

    def remove_unnamed(self, snapshot: Snapshot) -> None:
        """Remove what an interrupted build or merge left: directories that no version names."""
        with storage_errors(self._root):
            self._disk.make_directory(self._root)  # copying tools drop empty directories
        for parent in [path for path in self._root.iterdir() if path.is_dir()]:
            view = snapshot.indexes.get(parent.name)
            named = set() if view is None else {str(item.number) for item in view.stored}
            for directory in list(parent.iterdir()):
                ours = directory.is_dir() and not directory.is_symlink()
                if ours and _is_number(directory.name) and directory.name not in named:
                    self._remove(directory)
            if view is None and not any(parent.iterdir()):
                self._remove(parent)

    def _remove(self, directory: Path) -> None:
        if directory.exists():
            with storage_errors(directory):
                self._disk.remove_tree(directory)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()
