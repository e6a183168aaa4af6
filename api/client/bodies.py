"""What callers give -> the JSON that is sent. What cannot be said raises InputError, unsent."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from ...documents import JsonObject, check_text
from ...errors import InputError
from ...tagged import to_json

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


def plain_queries(queries: Sequence[str] | None, vectors: Any) -> JsonObject:
    """The queries of a batch, or their ready vectors."""
    if vectors is not None:
        if queries is not None:
            raise InputError("takes queries or vectors, not both", field="vectors")
        return {"vectors": plain_matrix(vectors, "vectors")}
    if queries is None:
        raise InputError("is a list of strings; or give vectors", field="queries")
    if isinstance(queries, str):
        raise InputError("is a list of strings, got one string", field="queries")
    texts = list(queries)
    for query in texts:
        if not isinstance(query, str):
            raise InputError(f"is a list of strings, got {query!r:.80} in it", field="queries")
    return {"queries": texts}


def plain_matrix(vectors: Any, field: str) -> list[list[float]]:
    """An array (n, dim), of any library, as lists of numbers."""
    try:
        matrix = [list(_plain(row)) for row in _plain(vectors)]
    except TypeError:
        raise InputError(f"is an array (n, dim), got {vectors!r:.80}", field=field) from None
    if len({len(row) for row in matrix}) > 1:
        raise InputError("is an array (n, dim): its rows differ in length", field=field)
    for row in matrix:
        for item in row:
            if isinstance(item, bool) or not isinstance(item, int | float):
                raise InputError(f"is an array of numbers, got {item!r:.80} in it", field=field)
    return matrix


def _plain(array: Any) -> Any:
    to_list = getattr(array, "tolist", None)
    return to_list() if callable(to_list) else array


def plain_ids(ids: Iterable[str]) -> list[str]:
    """Ids, each once."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"expected a list of ids, got {ids!r}; put it into a list")
    names = list(ids)
    for name in names:
        check_text("id", name)
    return list(dict.fromkeys(names))
