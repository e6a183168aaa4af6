"""A bulk of documents, a JSON object a line: read as it arrives, added in bounded transactions.

A bad line is reported and the good ones are added, in order. What a transaction added is durable
before the next one begins, so a connection that breaks, or a server that is killed, loses at most
the lines after the last transaction: sending the whole again is right, because documents replace
those of their id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from itertools import groupby
from typing import Any, Literal, NamedTuple

from ...documents import Document, JsonObject, document_from_json
from ...errors import CormorantError, CorruptionError, InputError
from ...retrieval.collection import Collection
from ...vectors import Given
from .guard import LONG_BYTES, parse_json
from .limits import Limits
from .problems import DamagedInBulkError, Problem, problem_of
from .ready import vectors_from_wire
from .work import Workers


class _Line(NamedTuple):
    number: int
    document: Document
    vectors: dict[str, Any]


class Bulk:
    """One bulk upload under way. ``labels`` are the caller's: it adds nothing it could not see."""

    def __init__(
        self,
        collection: Collection,
        limits: Limits,
        labels: tuple[str, ...] | None,
        index: Literal["now", "later"],
        places: Sequence[str],
    ) -> None:
        self.added = 0
        self.errors: list[JsonObject] = []
        self.errors_left_out = 0
        self._collection = collection
        self._limits = limits
        self._labels = labels
        self._index = index
        self._places = places
        self._seen: dict[str, int] = {}
        self._batch: list[_Line] = []
        self._bytes = 0

    async def read(self, parts: AsyncIterator[bytes], workers: Workers) -> None:
        """Read the whole body. A problem on the way says how many documents were added.

        Damage is raised as it is, so that the server learns of it as it does from a search.
        """
        try:
            async for number, line in lines_of(parts, self._limits.line_bytes):
                if len(self._seen) >= self._limits.bulk_lines:
                    most = self._limits.bulk_lines
                    raise Problem(
                        "too_large", f"a bulk has at most {most:,} documents", limit="bulk_lines"
                    )
                if line is None or len(line) < LONG_BYTES:
                    self._take(number, line)
                else:
                    await asyncio.to_thread(self._take, number, line)
                if (
                    len(self._batch) >= self._limits.transaction_documents
                    or self._bytes >= self._limits.transaction_bytes
                ):
                    await self._commit(workers)
            await self._commit(workers)
        except Problem as problem:
            problem.more["added"] = self.added
            raise
        except CorruptionError as error:
            raise DamagedInBulkError(error, self.added) from error

    def _take(self, number: int, line: bytes | None) -> None:
        if line is None:
            most = self._limits.line_bytes
            self._fail(number, "limit_exceeded", f"a line has at most {most:,} bytes", None)
            return
        try:
            value = parse_json(line, self._limits.json_depth)
            vectors = self._vectors(value)
            document = document_from_json(value)
            if document.id in self._seen:
                raise InputError(f"this id is on line {self._seen[document.id]} too", field="id")
        except Problem as problem:
            self._fail(number, problem.code, problem.detail, None)
        except InputError as error:
            self._refuse(number, error)
        else:
            if self._labels is not None and not 0 < len(set(document.labels)) <= len(
                set(document.labels) & set(self._labels)
            ):
                detail = f"documents added with this key carry labels of its own: {self._labels}"
                self._fail(number, "forbidden", detail, "labels")
                return
            self._seen[document.id] = number
            self._batch.append(_Line(number, document, vectors))
            self._bytes += len(line)

    async def _commit(self, workers: Workers) -> None:
        batch, self._batch, self._bytes = self._batch, [], 0
        if batch:
            await workers.run(lambda: self._add(batch))

    def _add(self, batch: Sequence[_Line]) -> None:
        """One transaction; runs in a thread."""
        if self._labels is not None:
            batch = [line for line in batch if self._may_replace(line)]
        # Vectors come for all documents of a call or for none.
        groups = groupby(batch, key=lambda line: tuple(sorted(line.vectors)))
        for names, lines in ((names, list(lines)) for names, lines in groups):
            self._add_alike(lines, names)

    def _add_alike(self, batch: Sequence[_Line], names: Sequence[str]) -> None:
        try:
            self.added += self._collection.add(
                [line.document for line in batch],
                vectors={name: self._given(name, batch) for name in names},
                index=self._index,
            )
        except InputError as error:
            if len(batch) == 1:
                self._refuse(batch[0].number, error)
                return
            for line in batch:  # which of them it was, only trying tells
                self._add_alike([line], names)
        except CorruptionError:
            raise
        except CormorantError as error:
            raise problem_of(error, self._places) from error

    def _vectors(self, value: object) -> dict[str, Any]:
        """Takes the ready vectors out of a line's object: ``{"vectors": {INDEX: VECTOR}}``."""
        found = value.pop("vectors", None) if isinstance(value, dict) else None
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise InputError("maps names of indexes to vectors", field="vectors")
        self._limits.check("indexes", len(found), "vectors")
        for name, vector in found.items():
            vectors_from_wire([vector], self._limits, f"vectors[{name!r:.80}]")
        return found

    def _given(self, name: str, batch: Sequence[_Line]) -> Given:
        vectors = [line.vectors[name] for line in batch]
        return vectors_from_wire(vectors, self._limits, f"vectors[{name!r}]")

    def _may_replace(self, line: _Line) -> bool:
        name = line.document.id
        if self._collection.get(name, as_labels=self._labels) is None and (
            self._collection.get(name) is not None
        ):
            self._fail(line.number, "forbidden", "this key may not replace that document", "id")
            return False
        return True

    def _refuse(self, number: int, error: InputError) -> None:
        problem = problem_of(error, self._places)
        self._fail(number, problem.code, problem.detail, error.field)

    def _fail(self, number: int, code: str, detail: str, field: str | None) -> None:
        if len(self.errors) >= self._limits.bulk_errors:
            self.errors_left_out += 1
            return
        self.errors.append({"line": number, "code": code, "detail": detail, "field": field})

    def as_json(self, version: int) -> JsonObject:
        """What the bulk did."""
        value: JsonObject = {
            "added": self.added,
            "version": version,
            "errors": sorted(self.errors, key=lambda error: int(error["line"])),
        }
        if self.errors_left_out:
            value["errors_left_out"] = self.errors_left_out
        return value


async def lines_of(
    parts: AsyncIterator[bytes], most: int
) -> AsyncIterator[tuple[int, bytes | None]]:
    """(number from 1, line) of every line that is not blank; None for one of too many bytes."""
    kept, dropped, number = b"", False, 0
    async for part in parts:
        *whole, rest = (kept + part).split(b"\n")
        for line in whole:
            number += 1
            if dropped or len(line) > most:
                yield number, None
            elif line.strip():
                yield number, line
            dropped = False
        kept = rest
        if len(kept) > most:
            kept, dropped = b"", True
    if dropped:
        yield number + 1, None
    elif kept.strip():
        yield number + 1, kept
