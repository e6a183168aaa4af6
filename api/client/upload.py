"""Documents in parts of bounded bytes: none lost, none doubled, and every bad line told.

The story of an upload that breaks:

1. A part is a request of whole lines, kept until its reply is here. A document replaces the one of
   its id, so a part whose reply was lost is sent again as it is, and leaves what one run leaves.
2. A line that the server refuses is noted; the parts after it go on. The error is raised at the
   end, when the good documents are in, and says how many those are.
3. A part that the server finds too large is halved; a single document that is too large is a bad
   line.
4. Any other error ends the upload. What was added before stays, and the error's note says how much
   that is; adding the whole again is right.

An id that is given twice is an error, as in an embedded collection. Eight bytes of each id's hash
are remembered; when two agree, one request settles whether the ids do.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping, Sized
from typing import Any, NamedTuple, TypeAlias

from ...documents import Document
from ...errors import CormorantError, InputError, ServiceError
from ...vectors import Given, checked_vectors
from . import bodies, replies
from .core import Core
from .exchange import Reply, Request, Steps, write_json
from .problems import named_error

NDJSON = "application/x-ndjson"
PART_BYTES = 4 << 20

Progress: TypeAlias = Callable[[str, int], None]


class _Line(NamedTuple):
    """``number``: which document of the upload it is, from 1."""

    number: int
    id: str
    data: bytes


class _Refused(NamedTuple):
    number: int
    id: str
    detail: str
    field: str | None


class Upload:
    """One ``add``: :meth:`push` documents, :meth:`send` when it says so, :meth:`finish`."""

    def __init__(
        self,
        core: Core,
        documents: object,
        vectors: Mapping[str, Any] | None,
        when: str,
        progress: Progress | None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        if when not in ("now", "later"):
            raise InputError(f"is 'now' or 'later', got {when!r}", field="index")
        if isinstance(documents, Document | str | bytes | dict) or not isinstance(
            documents, Iterable | AsyncIterable
        ):
            raise InputError(
                f"expected an iterable of documents, got one {type(documents).__name__}; "
                "put it into a list"
            )
        self._core = core
        self._path = f"{core.path}/documents?index={when}"
        self._progress = progress
        self._vectors = _given(vectors)
        if isinstance(documents, Sized):
            self._check_vectors(len(documents), "")
        self._part_bytes = part_bytes
        self._ready: list[_Line] = []
        self._filling: list[_Line] = []
        self._bytes = 0
        self._names: set[str] = set()
        self._hashes: set[int] = set()
        self._suspects: list[str] = []
        self._refused: list[_Refused] = []
        self._left_out = 0
        self.given = 0
        self.added = 0

    def push(self, document: object) -> bool:
        """Take one more document; whether a part must be sent before the next."""
        if not isinstance(document, Document):
            raise InputError(
                f"expected a cormorant.Document, got {type(document).__name__}: {document!r:.80}"
            )
        value = document.as_json()
        if self._vectors:
            value["vectors"] = {
                name: _row(rows, self.given, name) for name, rows in self._vectors.items()
            }
        if document.id in self._names:
            raise InputError(f"the id {document.id!r} is given twice", field="id")
        data = write_json(value) + b"\n"
        full = bool(self._filling) and self._bytes + len(data) > self._part_bytes
        if full:
            self._seal()
        self.given += 1
        self._names.add(document.id)
        self._filling.append(_Line(self.given, document.id, data))
        self._bytes += len(data)
        return full

    def _seal(self) -> None:
        self._ready, self._filling, self._bytes = self._filling, [], 0
        hashes = {hash(line.id): line.id for line in self._ready}
        self._suspects = [hashes[key] for key in hashes.keys() & self._hashes]
        self._hashes |= hashes.keys()
        self._names = set()

    def send(self) -> Steps[None]:
        """Send the part that is full."""
        lines, self._ready = self._ready, []
        try:
            for name in self._suspects:
                if (yield from self._core.contains(name)):
                    raise InputError(f"the id {name!r} is given twice", field="id")
            yield from self._send(lines)
        except CormorantError as error:
            error.add_note(
                f"{self.added} documents of this upload are in; adding all of them again is right"
            )
            raise

    def finish(self) -> Steps[int]:
        """Send what is left, and say what was refused; how many documents were given."""
        if self._filling:
            self._seal()
            yield from self.send()
        self._check_vectors(self.given, " (the documents were added)")
        if self._refused:
            first = self._refused[0]
            count = len(self._refused) + self._left_out
            raise InputError(
                f"document {first.number} of this upload, {first.id!r}: {first.detail} "
                f"({count} refused in all; {self.added} of {self.given} documents were added)",
                line=first.number,
                field=first.field,
            )
        return self.given

    def _send(self, lines: list[_Line]) -> Steps[None]:
        body = b"".join(line.data for line in lines)
        request = Request("POST", self._path, body, NDJSON, works=True)
        reply = yield from self._core.service.exchange(request)
        if _is_too_large(reply):
            if len(lines) > 1:
                self._part_bytes = max(1, len(body) // 2)
                yield from self._send(lines[: len(lines) // 2])
                yield from self._send(lines[len(lines) // 2 :])
            else:
                detail = f"its {len(body)} bytes are more than the server takes"
                self._refused.append(_Refused(lines[0].number, lines[0].id, detail, None))
            return
        added, errors, left_out = self._core.service.understood(request, reply, replies.read_upload)
        if added + len(errors) + left_out != len(lines) or not all(
            1 <= error.line <= len(lines) for error in errors
        ):
            raise ServiceError(
                f"of {len(lines)} documents sent, the server says that {added} were added and "
                f"{len(errors) + left_out} refused; these do not add up",
                request_id=reply.request_id,
            )
        self.added += added
        self._left_out += left_out
        for error in errors:
            line = lines[error.line - 1]
            meant = named_error(error.code, error.detail, {"field": error.field})
            if not isinstance(meant, InputError) and error.code != "forbidden":
                raise meant  # not the document's fault: the others would fare no better
            plain = named_error("invalid_input", error.detail, {"field": error.field})
            detail = str(plain).removeprefix(f"field {error.field!r}: ")
            self._refused.append(_Refused(line.number, line.id, detail, error.field))
        if self._progress is not None:
            self._progress("added", added)

    def _check_vectors(self, n_documents: int, remark: str) -> None:
        for name, rows in self._vectors.items():
            if len(rows) != n_documents:
                raise InputError(
                    f"{len(rows)} vectors for {n_documents} documents; one is needed for each"
                    f"{remark}",
                    field=f"vectors[{name!r}]",
                )


async def each(documents: Iterable[Document] | AsyncIterable[Document]) -> AsyncIterator[Document]:
    """Documents of an iterable of either sort."""
    if isinstance(documents, AsyncIterable):
        async for document in documents:
            yield document
    else:
        for document in documents:
            yield document


def _is_too_large(reply: Reply) -> bool:
    problem = reply.problem
    return reply.status == 413 or (
        problem is not None and problem["code"] == "limit_exceeded" and "line" not in problem
    )


def _given(vectors: Mapping[str, Any] | None) -> dict[str, Given]:
    """For each index its vectors; rows become JSON when they are sent."""
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        raise InputError(
            f"maps names of indexes to arrays, got {type(vectors).__name__}", field="vectors"
        )
    return {name: checked_vectors(rows, f"vectors[{name!r}]") for name, rows in vectors.items()}


def _row(rows: Given, place: int, name: str) -> Any:
    """One text's vectors, as JSON."""
    if place >= len(rows):
        raise InputError(
            f"{len(rows)} vectors for more documents; one is needed for each",
            field=f"vectors[{name!r}]",
        )
    return bodies.plain_vectors(rows[place : place + 1])[0]
