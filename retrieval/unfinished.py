"""What a merge has finished before it is whole, for the same merge to go on with after a kill.

The story of a stage: the index hands over the arrays that took long; they are written and synced as
a segment's are, in ``segments/<index>/unfinished/<key>/<stage>``; then a note of them, with their
checksums and its own, is written beside them and synced; and only then is the stage before removed.
A stage whose note is not there, or whose files are not what it says, is made again.

The key is a digest of all that a merge depends on: the index's settings, the files of the segments
that it merges, and which of their rows are live. Another merge has another key and finds nothing.
The background goes on with an unfinished merge before it begins another. What can no longer be
wanted is removed: by the merge itself when it is part of the collection or when the disk is full,
by another one of the same segments when it begins, and when a writer opens, if a segment is gone.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import xxhash

from ..contracts import Array, BoolArray
from ..documents import JsonObject
from ..errors import DiskFullError, StorageError
from .arguments import Progress
from .disk import Disk, storage_errors
from .schema import FORMAT_VERSION
from .segments import ArrayFile, FileSink, open_arrays

UNFINISHED = "unfinished"
_NOTE = "note"


def key_of(settings: str, files: Sequence[str], keep: Sequence[BoolArray | None]) -> str:
    """Names a merge of segments with these ``files``, by index settings, both as catalogued."""
    whole = [mask is None for mask in keep]
    digest = xxhash.xxh3_128(json.dumps([FORMAT_VERSION, settings, *files, whole]).encode())
    for mask in keep:
        if mask is not None:
            digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


class Unfinished:
    """What one merge has finished: ``directory``, of ``segments/<index>/unfinished``.

    ``sources``: the numbers of the segments that it merges.
    """

    def __init__(self, directory: Path, disk: Disk, sources: Sequence[int]) -> None:
        self._directory = directory
        self._disk = disk
        self._sources = sources

    def kept(self, stage: str) -> Mapping[str, Array] | None:
        """What a stage kept; None where it is not there, or not whole."""
        place = self._directory / stage
        note = _note(place)
        try:
            return note and open_arrays(place, map(ArrayFile.from_json, note["files"]))
        except (StorageError, OSError):
            return None

    def keep(self, stage: str, arrays: Mapping[str, Array]) -> None:
        """Keep a stage durably, and no other; nothing where the disk has no room for it."""
        try:
            self._keep(stage, arrays)
        except DiskFullError:
            self.remove()

    def _keep(self, stage: str, arrays: Mapping[str, Array]) -> None:
        place = self._directory / stage
        note = place / _NOTE
        with storage_errors(place):
            if place.exists():
                self._disk.remove_tree(place)
            sink = FileSink(place, self._disk)
            for name, values in arrays.items():
                sink.put(name, values)
            files = [file.as_json() for file in sink.finish()]
            text = json.dumps({"sources": list(self._sources), "files": files}).encode()
            self._disk.write(note, xxhash.xxh3_128_digest(text) + text)
            self._disk.sync_file(note)
            self._disk.sync_directory(place)
            self._disk.sync_directory(self._directory.parent.parent)
            for other in self._directory.iterdir():
                if other != place and other.is_dir():
                    self._disk.remove_tree(other)

    @contextmanager
    def removed_when_full(self) -> Iterator[None]:
        """Leave its room to the merge if that ends for want of it."""
        try:
            yield
        except DiskFullError:
            self.remove()
            raise

    def remove(self) -> None:
        """Remove it, and the directory of unfinished merges if there is no other."""
        remove_unfinished(self._directory.parent, self._disk, self._directory.__eq__)


class FollowedSink(FileSink):
    """A :class:`~cormorant.contracts.Follows`: files of a segment that somebody waits for."""

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        lasting: Callable[[], bool] = lambda: True,
        *,
        progress: Progress | None,
        unfinished: Unfinished | None = None,
    ) -> None:
        super().__init__(directory, disk, lasting)
        self._progress = progress
        self._unfinished = unfinished

    def tell(self, stage: str, rows: int) -> None:
        """So many more rows are done of a stage."""
        if self._progress is not None and rows:
            self._progress(stage, rows)

    def kept(self, stage: str) -> Mapping[str, Array] | None:
        """What the same merge kept before it was killed."""
        return None if self._unfinished is None else self._unfinished.kept(stage)

    def keep(self, stage: str, arrays: Mapping[str, Array]) -> None:
        """Keep a stage until the segment is part of the collection; nothing of a build is kept."""
        if self._unfinished is not None:
            self._unfinished.keep(stage, arrays)


def sources_of(directory: Path) -> Set[int]:
    """The numbers of the segments that an unfinished merge is of; none where nothing is whole."""
    notes = map(_note, directory.iterdir())
    return {number for note in notes if note is not None for number in note["sources"]}


def unfinished_bytes(parent: Path) -> int:
    """What the unfinished merges of an index take on disk; ``parent``: its own directory."""
    total = 0
    for folder, _, names in os.walk(parent / UNFINISHED):
        for name in names:
            with suppress(FileNotFoundError):  # the merge was finished meanwhile
                total += (Path(folder) / name).stat().st_size
    return total


def remove_unfinished(parent: Path, disk: Disk, unwanted: Callable[[Path], bool]) -> None:
    """Remove unfinished merges of an index; ``parent``: its directory ``unfinished``."""
    if parent.is_symlink() or not parent.is_dir():
        return
    with storage_errors(parent):
        for directory in list(parent.iterdir()):
            if directory.is_dir() and not directory.is_symlink() and unwanted(directory):
                disk.remove_tree(directory)
        if not any(parent.iterdir()):
            disk.remove_tree(parent)


def _note(place: Path) -> JsonObject | None:
    """What is noted of a stage, if it is there and what was written."""
    try:
        written = (place / _NOTE).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    checksum, text = written[:16], written[16:]
    if xxhash.xxh3_128_digest(text) != checksum:
        return None
    note: JsonObject = json.loads(text)
    return note
