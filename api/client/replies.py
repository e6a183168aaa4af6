"""Replies -> the values an embedded collection returns. What does not fit raises ValueError."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from ...documents import Document, JsonObject, document_from_json
from ...results import Answers, CheckReport, Result, Span, Stored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...contracts import IndexSettings


@dataclass(frozen=True, slots=True)
class Reranked:
    """One reranked document: its place in the list that was given, and its score."""

    index: int
    score: float


class Embedded(NamedTuple):
    """What texts became: ``vectors`` (n, dim) float32, and which texts were cut to the window."""

    model: str
    vectors: NDArray[np.float32]
    cut: list[bool]


class Page(NamedTuple):
    """Some documents of a walk with their cursors; where the next page begins (None: nowhere)."""

    documents: list[tuple[str, Document]]
    next: str | None


class LineError(NamedTuple):
    """Why a line of an upload was refused; ``line`` is from 1."""

    line: int
    code: str
    detail: str
    field: str | None


def of(value: Any, name: str, *types: type) -> Any:
    """``value[name]``, which must be of one of the types (bool is no int)."""
    if not isinstance(value, dict) or name not in value:
        raise ValueError(f"there is no {name!r}")
    content = value[name]
    if not isinstance(content, types) or (isinstance(content, bool) and bool not in types):
        raise ValueError(f"{name!r} is {content!r:.80}")
    return content


def number(value: Any, name: str) -> float:
    """``value[name]`` as a finite float."""
    try:
        content = float(of(value, name, int, float))
    except OverflowError:
        raise ValueError(f"{name!r} is too large a number") from None
    if not isfinite(content):
        raise ValueError(f"{name!r} is not finite")
    return content


def objects(value: Any, name: str) -> list[JsonObject]:
    """``value[name]`` as a list of JSON objects."""
    items: list[JsonObject] = of(value, name, list)
    if not all(isinstance(item, dict) for item in items):
        raise ValueError(f"{name!r} does not hold objects")
    return items


def read_result(value: Any) -> Result:
    """What ``Result.as_json`` wrote, read back; access labels are not in it."""
    hits = objects(value, "hits")
    stored = [_stored(hit) for hit in hits]
    timings = of(value, "timings_ms", dict) if "timings_ms" in value else {}
    explanations = [hit.get("explanation") for hit in hits]
    explained = any(item is not None for item in explanations)
    answers = Answers(
        [item.document.id for item in stored],
        [number(hit, "score") for hit in hits],
        [0, len(hits)],
        lambda _: stored,
        version=of(value, "version", int),
        timings_ms={name: number(timings, name) for name in timings},
        flags=tuple(map(str, of(value, "flags", list))),
        explain=(lambda _: explanations) if explained else None,  # type: ignore[arg-type,return-value]
    )
    return answers.results()[0].load()


def _stored(hit: JsonObject) -> Stored:
    start, end = of(hit, "span", list)
    if type(start) is not int or type(end) is not int:
        raise ValueError(f"'span' is {hit['span']!r:.80}")
    document = Document(
        id=of(hit, "id", str),
        text=of(hit, "text", str),
        title=of(hit, "title", str),
        metadata=of(hit, "metadata", dict),
    )
    return Stored(document, Span(start, end))


def read_results(value: Any) -> list[Result]:
    """The results of a batch."""
    return [read_result(item) for item in objects(value, "results")]


def read_document(value: Any) -> Document:
    """One document."""
    return document_from_json(value)


def read_page(value: Any) -> Page:
    """One page of a walk."""
    following = of(value, "next", str, type(None))
    documents = [document_from_json(item) for item in objects(value, "documents")]
    cursors = of(value, "cursors", list)
    if len(cursors) != len(documents) or not all(isinstance(item, str) for item in cursors):
        raise ValueError(f"{len(cursors)} cursors for {len(documents)} documents")
    return Page(list(zip(cursors, documents, strict=True)), following)


def read_upload(value: Any) -> tuple[int, list[LineError], int]:
    """How many lines of an upload are in, why others are not, and how many more are not told."""
    errors = [
        LineError(
            of(item, "line", int),
            of(item, "code", str),
            of(item, "detail", str),
            item["field"] if isinstance(item.get("field"), str) else None,
        )
        for item in objects(value, "errors")
    ]
    left_out = of(value, "errors_left_out", int) if "errors_left_out" in value else 0
    return of(value, "added", int), errors, left_out


def read_count(value: Any) -> int:
    """How many documents a described collection holds."""
    return int(of(value, "documents", int))


def read_deleted(value: Any) -> int:
    """How many documents were deleted."""
    return int(of(value, "deleted", int))


def read_spans(value: Any) -> list[tuple[int, int]]:
    """Highlights."""
    return [(int(start), int(end)) for start, end in of(value, "highlights", list)]


def read_report(value: Any) -> CheckReport:
    """What a check found."""
    problems = tuple(map(str, of(value, "problems", list)))
    report = CheckReport(of(value, "files", int), of(value, "documents", int), problems)
    if of(value, "ok", bool) != report.ok:
        raise ValueError("'ok' and 'problems' contradict each other")
    return report


def read_indexes(value: Any) -> dict[str, IndexSettings]:
    """The settings of every index, from a description of the collection."""
    from ...indexers.table import index_settings

    indexes = of(value, "indexes", dict)
    return {name: index_settings(of(item, "settings", dict)) for name, item in indexes.items()}


def read_object(value: Any) -> JsonObject:
    """Any JSON object."""
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")
    return value


def read_nothing(value: Any) -> None:
    """A reply in which nothing is of interest."""


def read_no_events(value: Any) -> None:
    """A reply of another kind where events were asked for."""
    raise ValueError("it is no stream of events")


def read_collections(value: Any) -> list[JsonObject]:
    """Descriptions of collections."""
    return objects(value, "collections")


def read_reranked(value: Any) -> list[Reranked]:
    """Reranked documents, best first."""
    return [
        Reranked(of(item, "index", int), number(item, "relevance_score"))
        for item in objects(value, "results")
    ]


def read_embedded(value: Any) -> Embedded:
    """Vectors of texts."""
    import numpy as np

    rows: Sequence[Any] = of(value, "vectors", list)
    vectors = np.asarray(rows, np.float64).reshape(len(rows), of(value, "dim", int))
    if not (np.abs(vectors) <= np.finfo(np.float32).max).all():
        raise ValueError("'vectors' are not finite in float32")
    cut = of(value, "cut", list)
    if len(cut) != len(rows):
        raise ValueError(f"{len(cut)} marks in 'cut' for {len(rows)} vectors")
    return Embedded(
        of(value, "model", str), vectors.astype(np.float32), [bool(item) for item in cut]
    )
