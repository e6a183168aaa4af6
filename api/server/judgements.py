"""Judgements of hits, kept beside the collection: a JSON object a line, the last one counts.

A line is written whole and synced before it is acknowledged; one that a kill cut short has no
newline at its end, is not read, and is overwritten by the next.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Lock

from ...documents import JsonObject
from ...errors import CorruptionError
from ...retrieval.disk import storage_errors

_lock = Lock()


def judge(path: Path, query_id: str, query: str, document_id: str, grade: int | None) -> None:
    """Append one judgement (None takes it back); durable when it returns."""
    value = {"query_id": query_id, "query": query, "document_id": document_id, "grade": grade}
    line = json.dumps(value, ensure_ascii=True).encode() + b"\n"
    with _lock, storage_errors(path), path.open("ab+") as file:
        end = _whole(file.seek(0, os.SEEK_END), path)
        file.truncate(end)
        file.write(line)
        file.flush()
        os.fsync(file.fileno())


def read_judgements(path: Path) -> list[JsonObject]:
    """The judgements that count: of each query and document the last, in order of first mention.

    Raises :class:`~cormorant.errors.CorruptionError` for a line that is none.
    """
    if not path.exists():
        return []
    with storage_errors(path):
        *lines, _ = path.read_bytes().split(b"\n")
    found: dict[tuple[str, str], JsonObject] = {}
    for number, line in enumerate(lines, 1):
        try:
            value = json.loads(line)
            found[value["query_id"], value["document_id"]] = value
        except (ValueError, KeyError, TypeError):
            raise CorruptionError(path, f"line {number} is damaged") from None
    return [value for value in found.values() if value["grade"] is not None]


def as_qrels(judgements: list[JsonObject]) -> str:
    """TREC qrels: query, 0, document, grade."""
    return "".join(f"{j['query_id']} 0 {j['document_id']} {j['grade']}\n" for j in judgements)


def as_queries(judgements: list[JsonObject]) -> str:
    """The queries as JSON lines in BEIR's form; of a query the text given last."""
    texts = {value["query_id"]: value["query"] for value in judgements}
    return "".join(
        json.dumps({"_id": name, "text": text}, ensure_ascii=False) + "\n"
        for name, text in texts.items()
    )


def _whole(size: int, path: Path) -> int:
    """Where the last whole line ends."""
    content = path.read_bytes()[:size] if size else b""
    return content.rfind(b"\n") + 1
