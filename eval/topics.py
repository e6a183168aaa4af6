"""Query files: BEIR's JSON lines, TREC's ``<top>`` topics, and ``query-id<TAB>text`` lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path

from ..documents import Document, read_json_lines
from ..errors import InputError
from .textfiles import read_lines

_TOP = re.compile(r"<(/?)top>", re.IGNORECASE)
_NEXT_TAG = r"\s*(.*?)\s*(?=</?[a-z]+>|\Z)"
_NUM = re.compile(rf"<num>\s*(?:Number:)?{_NEXT_TAG}", re.IGNORECASE | re.DOTALL)
_TITLE = re.compile(rf"<title>\s*(?:Topic:)?{_NEXT_TAG}", re.IGNORECASE | re.DOTALL)


def read_queries(path: str | Path) -> dict[str, str]:
    """Query id -> text, in the order of the file (plain or ``.gz``).

    The format: ``.jsonl`` (before ``.gz``) is BEIR's, one object with ``_id`` (or ``id``) and
    ``text`` a line; otherwise a file whose first character is ``<`` holds TREC topics, of which the
    number and the title are read; otherwise each line is ``query-id<TAB>text``.

    Raises :class:`~cormorant.errors.InputError`, naming file, line and field: a broken line or
    topic, an id that is empty or occurs twice, a file without a query.
    """
    path = Path(path)
    lines: dict[str, int] = {}
    queries: dict[str, str] = {}
    for line, query_id, text in _entries(path):
        if query_id in queries:
            raise InputError(
                f"the query id {query_id!r} is also on line {lines[query_id]}",
                file=path,
                line=line,
                field="id",
            )
        _check(query_id, text, path, line)
        lines[query_id] = line
        queries[query_id] = text
    if not queries:
        raise InputError("no query in this file", file=path)
    return queries


def _check(query_id: str, text: str, path: Path, line: int) -> None:
    """An id and a text of a query are subject to the rules for those of a document."""
    try:
        Document(id=query_id, text=text)
    except InputError as error:
        message = str(error).removeprefix(f"field {error.field!r}: ")
        raise InputError(message, file=path, line=line, field=error.field) from None


def _entries(path: Path) -> Iterator[tuple[int, str, str]]:
    if path.name.removesuffix(".gz").endswith(".jsonl"):
        return _json_entries(path)
    first = next(read_lines(path), (0, ""))[1]
    return _topics(path) if first.lstrip().startswith("<") else _tsv_entries(path)


def _json_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for line, value in read_json_lines(path):
        if not isinstance(value, dict):
            raise InputError(
                f"expected a JSON object, got {type(value).__name__}", file=path, line=line
            )
        name = "_id" if "_id" in value else "id"
        for field in (name, "text"):
            if field not in value:
                raise InputError("missing", file=path, line=line, field=field)
        query_id = value[name]
        if not isinstance(query_id, str):
            raise InputError(
                f"expected a string, got {type(query_id).__name__}",
                file=path,
                line=line,
                field="id",
            )
        yield line, query_id, value["text"]


def _tsv_entries(path: Path) -> Iterator[tuple[int, str, str]]:
    for line, text in read_lines(path):
        columns = text.split("\t")
        if len(columns) != 2:
            raise InputError(
                f"expected 2 tab-separated columns (query-id, text), got {len(columns)}: {text!r}",
                file=path,
                line=line,
            )
        yield line, columns[0].strip(), columns[1].strip()


def _topics(path: Path) -> Iterator[tuple[int, str, str]]:
    """``<top> <num> Number: 301 <title> ... </top>``; the classic files close no inner tag."""
    numbered = list(read_lines(path))
    last = numbered[-1][0] if numbered else 0
    by_line = dict(numbered)
    whole = "\n".join(by_line.get(line, "") for line in range(1, last + 1))
    start: int | None = None
    for tag in _TOP.finditer(whole):
        line = whole.count("\n", 0, tag.start()) + 1
        opens = not tag[1]
        if opens == (start is not None):
            raise InputError(f"{tag[0]} out of place: topics do not nest", file=path, line=line)
        if opens:
            start = tag.end()
            continue
        assert start is not None
        yield _topic(whole, start, tag.start(), path)
        start = None
    if start is not None or not _TOP.search(whole):
        found = "a <top> that is not closed" if start is not None else "no <top>...</top> topic"
        raise InputError(
            f"{found}; topics are <top><num>..<title>..</top>, or lines query-id<TAB>text",
            file=path,
        )


def _topic(whole: str, start: int, end: int, path: Path) -> tuple[int, str, str]:
    line = whole.count("\n", 0, start) + 1
    values = []
    for name, pattern in (("num", _NUM), ("title", _TITLE)):
        match = pattern.search(whole, start, end)
        value = "" if match is None else " ".join(unescape(match[1]).split())
        if not value:
            raise InputError(f"this topic has no <{name}>", file=path, line=line, field=name)
        values.append(value)
    return line, values[0], values[1]
