"""``check``: every byte read, every fact held against every other that should agree with it."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import CorruptionError
from ..results import CheckReport
from .catalog import catalog_errors
from .fields import flatten
from .head import CATALOG, HEAD, read_head
from .ids import IDS
from .reader import Reader
from .schema import verify_rows
from .segments import ArrayFile
from .snapshot import SEGMENTS, IndexView, Snapshot, open_segment
from .unfinished import UNFINISHED

_ATTEMPTS = 5


def check_collection(reader: Reader) -> CheckReport:
    """Every problem found; reading goes on after the first.

    A merge that ends meanwhile removes files of the version being checked: then the check begins
    again, with the version that followed.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        report, commit = _check_once(reader)
        if report.ok or attempt == _ATTEMPTS:
            break
        with reader.pinned(tail=False) as pinned:
            if pinned.snapshot.commit == commit:
                break
    return report


def _check_once(reader: Reader) -> tuple[CheckReport, int]:
    problems: list[str] = []
    files = documents = 0
    commit = -1
    try:
        with reader.pinned(tail=False) as pinned, catalog_errors(reader.catalog):
            snapshot = pinned.snapshot
            documents, commit = snapshot.state.n_documents, snapshot.commit
            problems += verify_rows(pinned.connection, reader.catalog)
            problems += _check_documents(pinned.connection, reader.catalog, snapshot)
            problems += _check_head(reader, snapshot)
            problems += _check_encodings(pinned.connection, reader.catalog, snapshot)
            for view in snapshot.indexes.values():
                files += sum(len(json.loads(item.files_json)) for item in view.stored)
                problems += _check_index(reader.directory, view, snapshot)
            problems += _check_extra_files(reader.directory, snapshot)
    except CorruptionError as error:
        problems.append(str(error))
    return CheckReport(files + 2, documents, tuple(dict.fromkeys(problems))), commit


def _check_head(reader: Reader, snapshot: Snapshot) -> Iterator[str]:
    path = reader.directory / HEAD
    try:
        head = read_head(path)
    except CorruptionError as error:
        yield str(error)
        return
    if head.commit < snapshot.commit - 1:
        yield f"{path}: notes commit {head.commit}; the catalog is at {snapshot.commit}"


def _check_documents(
    connection: sqlite3.Connection, catalog: Path, snapshot: Snapshot
) -> Iterator[str]:
    """Ids, tombstones and fields against the documents they come from."""
    state = snapshot.state
    (n_ids,) = connection.execute("SELECT count(*) FROM ids").fetchone()
    if n_ids != state.n_documents:
        yield f"{catalog}: {n_ids} ids for {state.n_documents} documents"
    for what, query in (
        (
            "ids without their document",
            "SELECT count(*) FROM ids LEFT JOIN documents USING (row) "
            "WHERE documents.id IS NULL OR documents.id <> ids.id",
        ),
        (
            "documents that are neither live nor deleted",
            "SELECT count(*) FROM documents LEFT JOIN ids USING (row) LEFT JOIN tombstones "
            "USING (row) WHERE (ids.id IS NULL) = (tombstones.row IS NULL)",
        ),
        (
            "tombstones without their document",
            "SELECT count(*) FROM tombstones LEFT JOIN documents USING (row) "
            "WHERE documents.row IS NULL",
        ),
    ):
        (count,) = connection.execute(query).fetchone()
        if count:
            yield f"{catalog}: {count} {what}"
    expected = 0
    for row, metadata, labels in connection.execute(
        "SELECT row, metadata, labels FROM documents WHERE metadata <> '' OR labels <> ''"
    ):
        fields = flatten(json.loads(metadata or "{}"), json.loads(labels or "[]"))
        expected += len(fields)
        for field, kind, value in fields:
            found = connection.execute(
                "SELECT 1 FROM fields WHERE field = ? AND kind = ? AND value = ? AND row = ?",
                (field, kind, value, row),
            ).fetchone()
            if found is None:
                yield f"{catalog}: the field {field!r} of row {row} is not searchable"
    (n_fields,) = connection.execute("SELECT count(*) FROM fields").fetchone()
    if n_fields != expected:
        yield f"{catalog}: {n_fields} field entries, {expected} expected"


def _check_encodings(
    connection: sqlite3.Connection, catalog: Path, snapshot: Snapshot
) -> Iterator[str]:
    """What the tails need is there, and nothing is kept that a segment holds."""
    encoding = [view for view in snapshot.indexes.values() if view.encoder is not None]
    for view in encoding:
        rows = {
            row + place
            for row, n_rows in connection.execute(
                "SELECT row, n_rows FROM documents LEFT JOIN tombstones USING (row, n_rows) "
                "WHERE row >= ? AND tombstones.commit_number IS NULL",
                (view.tail_start,),
            )
            for place in range(n_rows)
        }
        held = connection.execute("SELECT row FROM encodings WHERE index_name = ?", (view.name,))
        kept = {row for (row,) in held}
        if rows - kept:
            yield f"{catalog}: {len(rows - kept)} rows have no encoding for {view.name!r}"
        old = sum(row < view.indexed_until for row in kept)
        if old:
            yield f"{catalog}: {old} encodings for {view.name!r} are in its segments already"
    marks = ", ".join("?" * len(encoding))
    (count,) = connection.execute(
        f"SELECT count(*) FROM encodings WHERE index_name NOT IN ({marks})",  # noqa: S608
        [view.name for view in encoding],
    ).fetchone()
    if count:
        yield f"{catalog}: {count} encodings of no index"


def _check_index(directory: Path, view: IndexView, snapshot: Snapshot) -> Iterator[str]:
    held = np.zeros(snapshot.state.next_row, np.int64)
    for item in view.stored:
        place = directory / SEGMENTS / view.name / str(item.number)
        try:
            files = [ArrayFile.from_json(value) for value in json.loads(item.files_json)]
            segment = open_segment(view.index, place, files, item.summary)
        except CorruptionError as error:
            yield str(error)
            continue
        for problem in view.index.check(segment):
            yield f"{place}: {problem}"
        rows = segment.rows
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(held):
            yield f"{place}: holds rows that do not exist"
            continue
        held[rows] += 1
    if np.any(held > 1):
        yield f"{directory / SEGMENTS / view.name}: a row is in two segments"
    live = np.zeros(snapshot.state.next_row, np.bool_)
    for item in snapshot.ids.stored:
        live[item.segment.rows] = True
    if snapshot.live is not None:
        live &= snapshot.live
    missing = live[: view.indexed_until] & (held[: view.indexed_until] == 0)
    if view.name != IDS and np.any(missing):
        count = int(missing.sum())
        yield f"{directory / SEGMENTS / view.name}: {count} live rows are in no segment"


def _check_extra_files(directory: Path, snapshot: Snapshot) -> Iterator[str]:
    known = {CATALOG, f"{CATALOG}-wal", f"{CATALOG}-shm", HEAD, SEGMENTS}
    for path in directory.iterdir():
        if path.name not in known:
            yield f"{path}: is no part of the collection"
    for folder, _, names in os.walk(directory / SEGMENTS):
        yield from _extra_in_segment(directory, Path(folder), names, snapshot)


def _extra_in_segment(
    directory: Path, folder: Path, names: list[str], snapshot: Snapshot
) -> Iterator[str]:
    for path in (folder / name for name in names):
        name, number, file = (*path.relative_to(directory / SEGMENTS).parts, "", "")[:3]
        view = snapshot.indexes.get(name)
        named = {
            f"{entry['name']}.npy"
            for item in (() if view is None else view.stored)
            if str(item.number) == number
            for entry in json.loads(item.files_json)
        }
        if named and file not in named:
            yield f"{path}: is no part of its segment"
        elif not named and (view is None or not (number.isdigit() or number == UNFINISHED)):
            yield f"{path}: is no part of the collection"
