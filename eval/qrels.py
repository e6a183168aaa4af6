"""Relevance judgements, in BEIR's and in TREC's format; which one, the first line says.

BEIR: tab-separated, with the header ``query-id<TAB>corpus-id<TAB>score``; a pair whose score is
left empty is not judged, so that a pool (see :mod:`~cormorant.eval.pool`) judged in part is one,
too. TREC: four columns ``query-id 0 document-id grade``, separated by white space; the second is
not read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ..errors import InputError
from .textfiles import read_lines

BEIR_HEADER = ("query-id", "corpus-id", "score")
MAX_GRADE = 1000
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")
_WORDS = re.compile(r"\S+", re.ASCII)


class Judgement(NamedTuple):
    """One line of a qrels file. A grade above 0 is relevant."""

    line: int
    query_id: str
    document_id: str
    grade: int


def read_judgements(path: str | Path) -> Iterator[Judgement]:
    """Every judgement of a qrels file (plain or gzip), checked by itself.

    Raises :class:`~cormorant.errors.InputError`, naming file, line and field: another number of
    columns, an empty id, a grade that is not an integer from -1000 to 1000.
    """
    path = Path(path)
    beir: bool | None = None
    for line, text in read_lines(path):
        if beir is None:
            beir = tuple(text.split("\t")) == BEIR_HEADER
            if beir:
                continue
        if beir:
            columns, expected = text.split("\t"), 3
        else:
            columns, expected = _WORDS.findall(text), 4
        if len(columns) != expected:
            raise InputError(_columns_message(text, len(columns), expected), file=path, line=line)
        query_id, document_id, grade = columns[0], columns[-2], columns[-1]
        for field, value in (("query-id", query_id), ("corpus-id", document_id)):
            if not value:
                raise InputError(
                    "an id is a non-empty string, got ''", file=path, line=line, field=field
                )
        if beir and not grade:
            continue
        yield Judgement(line, query_id, document_id, _grade(grade, path, line))


def read_qrels(path: str | Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> grade, in the order of the file.

    Raises :class:`~cormorant.errors.InputError` as :func:`read_judgements` does, and for a pair
    that is judged twice and a file without judgements.
    """
    qrels: dict[str, dict[str, int]] = {}
    for line, query_id, document_id, grade in read_judgements(path):
        judged = qrels.setdefault(query_id, {})
        if document_id in judged:
            raise InputError(
                f"the pair of query {query_id!r} and document {document_id!r} is judged twice; "
                "keep one line of each pair",
                file=path,
                line=line,
            )
        judged[document_id] = grade
    if not qrels:
        raise InputError("no judgement in this file", file=path)
    return qrels


def _columns_message(text: str, got: int, expected: int) -> str:
    if expected == 3:
        return f"expected 3 tab-separated columns (query-id, corpus-id, score), got {got}: {text!r}"
    return (
        f"expected 4 columns (query-id 0 document-id grade), got {got}: {text!r}; a file in BEIR's "
        f"format starts with the header {chr(9).join(BEIR_HEADER)!r}"
    )


def _grade(text: str, path: Path, line: int) -> int:
    if _INTEGER.fullmatch(text) is None or abs(grade := int(text)) > MAX_GRADE:
        raise InputError(
            f"a grade is an integer from -{MAX_GRADE} to {MAX_GRADE}, got {text!r}",
            file=path,
            line=line,
            field="score",
        )
    return grade
