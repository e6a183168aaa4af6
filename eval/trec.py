"""TREC run files: ``query-id Q0 document-id rank score tag``, one hit a line, plain or ``.gz``.

trec_eval and its kin ignore the rank: they sort by score, which they hold as a 32-bit float, and
break ties by descending document id. So that everyone sees the order that we ranked in, scores are
printed as 32-bit floats, with the fewest digits that give back that float, and each one that is not
below its predecessor is replaced by the next lower float.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .textfiles import read_lines, write_lines

Run: TypeAlias = dict[str, list[tuple[str, float]]]
"""Query id -> [(document id, score)], best first."""

_WHITE_SPACE = re.compile(r"\s", re.ASCII)
_WORDS = re.compile(r"\S+", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_SMALLEST = np.finfo(np.float32).tiny
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def write_run(path: str | Path, run: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> None:
    """Write a run; the order is the lists' own. A query without a hit has no line.

    Raises :class:`~cormorant.errors.InputError`, naming query and document: an id (or the tag) that
    is empty or contains white space, a document twice in one ranking, a score that is not a finite
    32-bit float. Raises :class:`~cormorant.errors.StorageError` when the file cannot be written;
    what was there before then still is.
    """
    check_word(tag, "tag")
    write_lines(path, _lines(run, tag))


def read_run(path: str | Path) -> Run:
    """Read a run as trec_eval does: by score as a 32-bit float, ties by descending document id.

    What :func:`write_run` wrote comes back in the same order. Queries are in the order of the file.

    Raises :class:`~cormorant.errors.InputError`, naming file and line: another number of columns, a
    score that is not a finite number, a document twice for one query, a file without a line.
    """
    path = Path(path)
    found: dict[str, dict[str, float]] = {}
    for line, text in read_lines(path):
        columns = _WORDS.findall(text)
        if len(columns) != 6:
            raise InputError(
                f"expected 6 columns (query-id Q0 document-id rank score tag), got {len(columns)}: "
                f"{text!r}; no id and no tag has white space in it",
                file=path,
                line=line,
            )
        query, _, document, _, score, _ = columns
        hits = found.setdefault(query, {})
        if document in hits:
            raise InputError(
                f"the document {document!r} occurs twice for query {query!r}", file=path, line=line
            )
        hits[document] = _score(score, path, line)
    if not found:
        raise InputError("no hit in this file", file=path)
    return {query: _sorted(hits) for query, hits in found.items()}


def check_word(word: str, what: str) -> None:
    """Raise :class:`~cormorant.errors.InputError` for what cannot be a column of a run file."""
    if not word or _WHITE_SPACE.search(word):
        raise InputError(
            f"a run file separates columns by white space, so this {what} cannot be written to "
            f"one: {word!r}",
            field=what,
        )


def strictly_decreasing(scores: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float32]:
    """The scores as 32-bit floats, each below the one before: (n,) -> (n,) float32.

    A score that is not below its predecessor becomes the next lower float, though never a subnormal
    one (below 0 comes -1.2e-38), as some programs read those as 0. Out of range is infinite.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(scores, np.float64).astype(np.float32)
        _push_down(values)
    return values


def _push_down(values: NDArray[np.float32]) -> None:
    lowest = np.float32(-np.inf)
    for place in np.flatnonzero(values[1:] >= values[:-1]) + 1:
        while place < len(values) and values[place] >= (before := values[place - 1]):
            lower = np.nextafter(before, lowest)
            if abs(lower) < _SMALLEST:
                lower = np.float32(0.0) if before > 0 else -_SMALLEST
            values[place] = lower
            place += 1


def _lines(run: Mapping[str, Sequence[tuple[str, float]]], tag: str) -> Iterator[str]:
    for query, hits in run.items():
        check_word(query, "query id")
        if len({document for document, _ in hits}) != len(hits):
            raise InputError(f"a document occurs twice in the ranking of query {query!r}")
        for document, score in hits:
            check_word(document, "document id")
            if not abs(score) <= _FLOAT32_MAX:
                raise InputError(
                    f"query {query!r}, document {document!r}: a score is a finite 32-bit float, "
                    f"got {score!r}"
                )
        printed = strictly_decreasing([score for _, score in hits])
        if len(printed) and not np.isfinite(printed[-1]):
            raise InputError(f"query {query!r}: the scores leave no room below {hits[0][1]!r}")
        for rank, ((document, _), score) in enumerate(zip(hits, printed, strict=True), 1):
            yield f"{query} Q0 {document} {rank} {score!s} {tag}"


def _score(text: str, path: Path, line: int) -> float:
    if _NUMBER.fullmatch(text) is None or not abs(score := float(text)) <= _FLOAT32_MAX:
        raise InputError(
            f"a score is a finite 32-bit float (up to 3.4e38), as trec_eval holds it, got {text!r}",
            file=path,
            line=line,
            field="score",
        )
    return score


def _sorted(hits: Mapping[str, float]) -> list[tuple[str, float]]:
    scores = np.fromiter(hits.values(), np.float64, len(hits)).astype(np.float32).tolist()
    order = sorted(zip(scores, hits, strict=True), reverse=True)
    return [(document, hits[document]) for _, document in order]
