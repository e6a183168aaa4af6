"""Copies of one committed version, made while writers and readers go on.

The story: SQLite's backup API copies the catalog as of one commit into a draft beside the target;
the segments that this copy names are copied and verified; the head is written; everything is
synced; and the draft is renamed into place. A merge may drop a segment before it is copied: then
the copy begins again, with the version that followed.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
from pathlib import Path

from ..errors import CollectionExistsError, CorruptionError
from .catalog import catalog_errors
from .disk import Disk, storage_errors
from .head import CATALOG, HEAD, new_head
from .reader import Reader
from .schema import read_state
from .segments import ArrayFile, open_arrays
from .snapshot import SEGMENTS

_ATTEMPTS = 5


def copy_collection(reader: Reader, target: Path, disk: Disk) -> None:
    """Copy the latest committed version to ``target``, where nothing may be yet.

    Raises :class:`~cormorant.errors.CollectionExistsError`, and
    :class:`~cormorant.errors.CorruptionError` naming a source file that is damaged.
    """
    if target.exists():
        raise CollectionExistsError(f"{target} exists; choose a path where nothing is")
    for attempt in range(1, _ATTEMPTS + 1):
        draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.new")
        try:
            with storage_errors(target):
                disk.make_directory(draft / SEGMENTS)
                _copy(reader, draft, disk)
                disk.rename(draft, target)
                disk.sync_directory(target.parent)
            return
        except CorruptionError:
            if attempt == _ATTEMPTS:
                raise
        finally:
            if draft.exists():
                disk.remove_tree(draft)


def _copy(reader: Reader, draft: Path, disk: Disk) -> None:
    copy = draft / CATALOG
    with reader.pinned(tail=False) as pinned, catalog_errors(copy):
        target = sqlite3.connect(copy, isolation_level=None)
        try:
            pinned.connection.backup(target)
            commit = read_state(target, copy).commit
            segments = target.execute("SELECT index_name, number, files FROM segments").fetchall()
            target.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            target.close()
    for index_name, number, files_json in segments:
        source = reader.directory / SEGMENTS / index_name / str(number)
        directory = draft / SEGMENTS / index_name / str(number)
        disk.make_directory(directory)
        files = [ArrayFile.from_json(value) for value in json.loads(files_json)]
        for file in files:
            try:
                disk.copy(source / f"{file.name}.npy", directory / f"{file.name}.npy")
            except FileNotFoundError:
                raise CorruptionError(source / f"{file.name}.npy", "is missing") from None
        try:
            open_arrays(directory, files)
        except CorruptionError as error:
            damaged = source / Path(error.file).name
            raise CorruptionError(damaged, "does not match its checksum") from None
        disk.sync_directory(directory)
        disk.sync_directory(directory.parent)
    disk.write(draft / HEAD, new_head(commit, copy))
    for name in (CATALOG, HEAD):
        disk.sync_file(draft / name)
    disk.sync_directory(draft / SEGMENTS)
    disk.sync_directory(draft)
