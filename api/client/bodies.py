"""What callers give -> the JSON that is sent. What cannot be said raises InputError, unsent."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import numpy as np

from ...documents import JsonObject, check_text
from ...errors import InputError
from ...tagged import to_json
from ...vectors import Given, SparseVectors, TokenVectors, checked_vectors

T = TypeVar("T", SparseVectors, TokenVectors)
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def collection_name(name: Any) -> str:
    """A name that a collection on a server may have."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            "a collection's name has up to 64 of a-z, 0-9, '_' and '-' and begins with a letter "
            f"or digit; got {name!r}",
            field="name",
        )
    return name


def segment(name: Any, field: str) -> str:
    """A string as one segment of a path; ``.`` and ``..`` too, which URLs take for steps."""
    check_text(field, name)
    quoted = quote(name, safe="")
    return quoted.replace(".", "%2E") if name in (".", "..") else quoted


def no_labels(as_labels: Any) -> None:
    """Refuse access labels: the server takes them from the key, never from a caller."""
    if as_labels is not None:
        raise InputError(
            "over the wire, access labels come from the key; leave this out and use a key that "
            "has these labels",
            field="as_labels",
        )


def check_string(field: str, value: object) -> None:
    """Refuse what is no string."""
    if not isinstance(value, str):
        raise InputError(f"is a string, got {type(value).__name__}", field=field)


def plain_pipeline(value: Any) -> Any:
    """A pipeline as its name or JSON."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and hasattr(value, "as_json"):
        return value.as_json()
    raise InputError(f"is a Pipeline, a name or JSON, got {value!r:.80}", field="pipeline")


def plain_filter(value: Any) -> JsonObject | None:
    """A filter as JSON."""
    if value is not None and not isinstance(value, Mapping):
        raise InputError(f"is a JSON object, got {type(value).__name__}", field="filter")
    return None if value is None else dict(value)


def plain_settings(value: Any) -> JsonObject:
    """Index settings as tagged JSON."""
    is_settings = dataclasses.is_dataclass(value) and not isinstance(value, type)
    if not is_settings or not isinstance(getattr(value, "kind", None), str):
        raise InputError(f"expected index settings such as BM25(), got {value!r}", field="indexes")
    return to_json(value)


def plain_ranker(value: Any) -> Any:
    """A ranker by the name that the server has for it, or as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "rank") and dataclasses.is_dataclass(value) and hasattr(value, "kind"):
        return to_json(value)
    raise InputError(
        f"is a name, a ranker such as CrossEncoder(...), or JSON; got {value!r:.80}", field="model"
    )


def model_name(value: Any) -> str | None:
    """A model by the name that the server has for it."""
    if value is not None and not isinstance(value, str):
        raise InputError(
            "over the wire, a model is a name that the server lists (describe() tells them), or "
            f"None for its first; got {value!r:.80}",
            field="model",
        )
    return value


def plain_answering(value: Any) -> JsonObject | None:
    """The settings of an answer as JSON."""
    if value is None:
        return None
    if getattr(value, "kind", None) != "answering":
        raise InputError(f"is Answering(...) or None, got {value!r:.80}", field="settings")
    return {name: item for name, item in to_json(value).items() if name != "kind"}


def plain_queries(queries: Sequence[str] | None, vectors: Any) -> JsonObject:
    """The queries of a batch, their ready vectors, or both."""
    value: JsonObject = {}
    if vectors is not None:
        value["vectors"] = plain_vectors(checked_vectors(vectors, "vectors"))
        if queries is None:
            return value
    if queries is None:
        raise InputError("is a list of strings; or give vectors", field="queries")
    if isinstance(queries, str):
        raise InputError("is a list of strings, got one string", field="queries")
    texts = list(queries)
    for query in texts:
        if not isinstance(query, str):
            raise InputError(f"is a list of strings, got {query!r:.80} in it", field="queries")
    if vectors is not None and len(value["vectors"]) != len(texts):
        raise InputError(
            f"{len(value['vectors'])} vectors for {len(texts)} queries", field="vectors"
        )
    return {**value, "queries": texts}


def plain_vectors(vectors: Given) -> list[Any]:
    """Ready vectors as JSON, one value a text."""
    if isinstance(vectors, SparseVectors):
        return [
            {"terms": row.terms.tolist(), "weights": row.weights.tolist()} for row in _rows(vectors)
        ]
    if isinstance(vectors, TokenVectors):
        return [row.vectors.tolist() for row in _rows(vectors)]
    if isinstance(vectors, Sequence):
        return _plain_mappings(vectors)
    return list(vectors.tolist())


def _rows(vectors: T) -> Iterator[T]:
    return (vectors[row : row + 1] for row in range(len(vectors)))


def _plain_mappings(rows: Sequence[Mapping[Any, Any]]) -> list[Any]:
    """Weights of tokens as they are, weights of numbered terms as lists beside each other."""
    named = {isinstance(_checked_term(term, row), str) for row in rows for term in row}
    if len(named) > 1:
        raise InputError("has terms that are strings and terms that are numbers", field="vectors")
    if False not in named:
        return [{term: _plain_weight(row[term], term) for term in row} for row in rows]
    return [
        {
            "terms": [int(term) for term in row],
            "weights": [_plain_weight(row[term], term) for term in row],
        }
        for row in rows
    ]


def _checked_term(term: Any, row: Mapping[Any, Any]) -> Any:
    if isinstance(term, bool) or not isinstance(term, str | int | np.integer):
        raise InputError(
            f"{dict(row)!r:.80} has the term {term!r}; a term is a string or a number from 0",
            field="vectors",
        )
    return term


def _plain_weight(weight: Any, term: Any) -> float:
    try:
        return float(weight)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"has the weight {weight!r:.80} for {term!r:.80}; a weight is a number", field="vectors"
        ) from None


def plain_ids(ids: Iterable[str]) -> list[str]:
    """Ids, each once."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"expected a list of ids, got {ids!r}; put it into a list")
    names = list(ids)
    for name in names:
        check_text("id", name)
    return list(dict.fromkeys(names))
