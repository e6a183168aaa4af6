"""What a user adds: documents, validated once at the edge, and the files they come from."""

from __future__ import annotations

import gzip
import json
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError

JsonObject: TypeAlias = dict[str, Any]

MAX_ID_BYTES = 512
MAX_METADATA_DEPTH = 64


@dataclass(frozen=True, slots=True)
class Document:
    """One document: what is added, stored and returned.

    ``id`` is any non-empty string of at most 512 bytes, unique in its collection; adding a document
    whose id exists replaces it. ``metadata`` is a JSON object (filters read it), kept as JSON would
    bring it back. ``labels`` are access labels: a search with ``as_labels`` sees only documents
    that share one.

    Raises :class:`~cormorant.errors.InputError`, naming the field, when a value has another type,
    cannot be written as UTF-8, or is not JSON.
    """

    id: str
    text: str
    title: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    labels: Sequence[str] = ()

    def __post_init__(self) -> None:
        for name, value in (("text", self.text), ("title", self.title), ("id", self.id)):
            if type(value) is not str:
                check_text(name, value)
                object.__setattr__(self, name, str.__str__(value))  # a str Enum becomes its value
            elif not value.isascii():
                check_text(name, value)
        if not (0 < len(self.id) <= MAX_ID_BYTES and self.id.isascii() and self.id.isprintable()):
            _check_id(self.id)
        if self.metadata or not isinstance(self.metadata, Mapping):
            object.__setattr__(self, "metadata", _plain_json("metadata", self.metadata))
        if self.labels != ():
            object.__setattr__(self, "labels", _plain_labels(self.labels))

    @staticmethod
    def restored(
        id: str, text: str, title: str, metadata: Mapping[str, Any], labels: Sequence[str]
    ) -> Document:
        """A document that was validated before it was stored: nothing is checked again."""
        document = object.__new__(Document)
        put = object.__setattr__
        put(document, "id", id)
        put(document, "text", text)
        put(document, "title", title)
        put(document, "metadata", metadata)
        put(document, "labels", labels)
        return document

    def as_json(self) -> JsonObject:
        """The document as the JSON object that :func:`read_jsonl` reads back."""
        return {
            "id": self.id,
            "title": self.title,
            "text": self.text,
            "metadata": dict(self.metadata),
            "labels": list(self.labels),
        }


class Chunk(NamedTuple):
    """What an index sees of a document: the whole, or one passage when the collection splits.

    ``row`` is the chunk's number in the collection, ``document`` the row of its document's first
    chunk (equal for a document that was not split), ``text`` the passage. ``encoding`` is what the
    index's own encoder made of it, for an index that has one; title and text may be empty then.
    """

    row: int
    document: int
    id: str
    title: str
    text: str
    encoding: bytes = b""

    @property
    def indexed_text(self) -> str:
        """Title and text, joined: what analysers and encoders read."""
        return f"{self.title}\n{self.text}" if self.title else self.text


def check_text(name: str, value: object) -> None:
    """Raise :class:`~cormorant.errors.InputError` for what is no string that UTF-8 can write."""
    if not isinstance(value, str):
        raise InputError(f"expected a string, got {type(value).__name__}", field=name)
    if value.isascii():
        return
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"not valid Unicode: a lone surrogate at character {error.start}", field=name
        ) from None


def _check_id(value: str) -> None:
    if not value:
        raise InputError("an id is a non-empty string, got ''", field="id")
    size = len(value.encode("utf-8"))
    if size > MAX_ID_BYTES:
        raise InputError(f"an id has at most {MAX_ID_BYTES} bytes, got {size}", field="id")
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise InputError(f"an id has no control characters, got {value!r}", field="id")


def _plain_json(name: str, value: object) -> JsonObject:
    """The JSON object that a mapping is once written and read back."""
    if not isinstance(value, Mapping):
        raise InputError(f"expected a JSON object, got {type(value).__name__}", field=name)
    for key in value:
        if not isinstance(key, str):
            raise InputError(f"keys are strings, got {key!r}", field=name)
    try:
        written = json.dumps(dict(value), allow_nan=False, ensure_ascii=False)
        written.encode("utf-8")
        plain: JsonObject = json.loads(written)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"not a JSON object: {error}", field=name) from None
    if written.count("{") + written.count("[") > MAX_METADATA_DEPTH:
        _check_depth(name, plain)
    return plain


def _check_depth(name: str, value: Any) -> None:
    level = [value]
    for _ in range(MAX_METADATA_DEPTH):
        level = [
            inner
            for item in level
            if isinstance(item, dict | list)
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return
    raise InputError(f"nests more than {MAX_METADATA_DEPTH} deep", field=name)


def _plain_labels(value: object) -> tuple[str, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"expected a list of strings, got {type(value).__name__}", field="labels")
    for label in value:
        check_text("labels", label)
        if not label:
            raise InputError("a label is a non-empty string, got ''", field="labels")
    return tuple(str.__str__(label) for label in value)


_DOCUMENT_FIELDS = frozenset(("_id", "id", "title", "text", "metadata", "labels"))


def document_from_json(value: object) -> Document:
    """A document from one JSON object, as BEIR (``_id``) or Cormorant (``id``) write it.

    ``title`` may be missing or null. Fields beside id, title, text, metadata and labels go to the
    metadata.
    """
    if not isinstance(value, dict):
        raise InputError(f"expected a JSON object, got {type(value).__name__}")
    name = "_id" if "_id" in value else "id"
    if name not in value:
        raise InputError("missing", field="id")
    if "text" not in value:
        raise InputError("missing", field="text")
    metadata = {} if value.get("metadata") is None else value["metadata"]
    if value.get("_id", value.get("id")) != value.get("id", value.get("_id")):
        raise InputError("both '_id' and 'id' are given, and differ", field="id")
    if not isinstance(metadata, Mapping):
        raise InputError(f"expected a JSON object, got {type(metadata).__name__}", field="metadata")
    if not value.keys() <= _DOCUMENT_FIELDS:
        extra = {key: item for key, item in value.items() if key not in _DOCUMENT_FIELDS}
        metadata = {**extra, **metadata}
    title = value.get("title")
    labels = value.get("labels")
    return Document(
        id=value[name],
        text=value["text"],
        title="" if title is None else title,
        metadata=metadata,
        labels=() if labels is None else labels,
    )


def read_jsonl(path: str | Path) -> Iterator[Document]:
    """Documents from a JSON-lines file (plain or ``.gz``), one JSON object a line, UTF-8.

    The whole file is read and checked before the first document is handed out, so that a fault in
    its last line leaves nothing half-added; then it is read again, and memory stays bounded.

    Raises :class:`~cormorant.errors.InputError`, naming file, line and field: broken JSON, a
    missing field or one of another type, an id that occurs twice, bytes that are not UTF-8, a file
    with no document.
    """
    path = Path(path)
    hashes = array("q", (hash(document.id) for _, document in _parse_jsonl(path)))
    if not hashes:
        raise InputError("no document in this file", file=path)
    _refuse_repeated_ids(path, np.frombuffer(hashes, np.int64))
    del hashes
    for _, document in _parse_jsonl(path):
        yield document


def _refuse_repeated_ids(path: Path, hashes: NDArray[np.int64]) -> None:
    """Raise for an id that occurs twice; eight bytes an id until then."""
    ordered = np.sort(hashes)
    suspects = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    if not suspects:
        return
    first_line: dict[str, int] = {}
    for line, document in _parse_jsonl(path):
        if hash(document.id) not in suspects:
            continue
        if (earlier := first_line.setdefault(document.id, line)) != line:
            raise InputError(
                f"the id {document.id!r} is also on line {earlier}",
                file=path,
                line=line,
                field="id",
            )


def _parse_jsonl(path: Path) -> Iterator[tuple[int, Document]]:
    for line, value in read_json_lines(path):
        try:
            yield line, document_from_json(value)
        except InputError as error:
            raise _at(error, path, line) from None


def read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line number from 1, value) of every non-blank line of a JSON-lines file."""
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    with stream:
        lines: Iterable[bytes] = gzip.GzipFile(fileobj=stream) if path.suffix == ".gz" else stream
        for number, raw in _numbered_lines(lines, path):
            try:
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise InputError(
                    f"not UTF-8: byte 0x{raw[error.start]:02x} at column {error.start + 1}",
                    file=path,
                    line=number,
                ) from None
            text = text.rstrip()
            if not text:
                continue
            try:
                yield number, json.loads(text, parse_constant=_refuse_constant)
            except json.JSONDecodeError as error:
                wanted = "; one JSON object a line is expected" if number == 1 else ""
                raise InputError(
                    f"not JSON: {error.msg} at column {error.colno}{wanted}", file=path, line=number
                ) from None
            except (ValueError, RecursionError) as error:
                raise InputError(f"not JSON: {error}", file=path, line=number) from None


def _numbered_lines(stream: Iterable[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    try:
        yield from enumerate(stream, 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot be read: {error}", file=path) from None


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _at(error: InputError, path: Path, line: int) -> InputError:
    message = str(error)
    prefix = f"field {error.field!r}: "
    if error.field and message.startswith(prefix):
        message = message[len(prefix) :]
    return InputError(message, file=path, line=line, field=error.field)
