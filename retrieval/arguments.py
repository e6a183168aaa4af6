"""What callers of a collection pass: the types that have names, and the checks of the rest.

A ``checked_`` function returns its value as the inside wants it. Every check raises an
:class:`~cormorant.errors.InputError` for what cannot be meant, naming the argument.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ..contracts import IndexSettings
from ..documents import check_text
from ..errors import InputError
from ..indexers.table import INDEXES
from ..vectors import Given, checked_vectors
from .ids import IDS

When: TypeAlias = Literal["now", "later"]
"""Whether documents are indexed before a call returns, or in the background."""
Progress: TypeAlias = Callable[[str, int], None]
"""Called with what was done ("added", "encoded", "indexed", "merged") and how many more of them.

Within a build or merge of lists also with each of its stages (``indexers/spann/stages.py``).
"""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def checked_name(name: Any) -> str:
    """The name of an index of the user's."""
    if not isinstance(name, str) or name == IDS or not _NAME.fullmatch(name):
        raise InputError(
            f"an index name has up to 64 of a-z, 0-9, '_' and '-', begins with a letter or digit, "
            f"and is not {IDS!r}; got {name!r}",
            field="name",
        )
    return name


def checked_settings(settings: Any) -> IndexSettings:
    """Settings of a kind that is in the table, and that can be opened."""
    if getattr(settings, "kind", None) not in INDEXES or isinstance(settings, type):
        raise InputError(
            f"expected index settings such as BM25(), got {settings!r}", field="indexes"
        )
    checked: IndexSettings = settings
    checked.index()  # what cannot be opened must not be written down
    return checked


def check_path(path: Path) -> None:
    """A path that can name a new directory."""
    if "\0" in str(path):
        raise InputError("a path has no NUL in it", field="path")
    if path.name in ("", ".."):
        raise InputError(
            f"{str(path)!r} names no directory to create; '..' is no name", field="path"
        )


def checked_ids(ids: Any) -> list[str]:
    """A list of document ids, each once."""
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise InputError(f"expected a list of ids, got {ids!r}; put it into a list")
    names = list(ids)
    for name in names:
        check_text("id", name)
    return list(dict.fromkeys(names))


def checked_labels(as_labels: Sequence[str]) -> list[str]:
    """The labels of a searcher, sorted, each once."""
    given: Any = as_labels
    labels = None if isinstance(given, str) or not isinstance(given, Iterable) else list(given)
    if labels is None or not all(isinstance(label, str) for label in labels):
        raise InputError(f"is a list of strings, got {as_labels!r}", field="as_labels")
    for label in labels:
        check_text("as_labels", label)
    return sorted(set(labels))


def checked_queries(queries: Any) -> list[str]:
    """A list of query texts."""
    if queries is None:
        raise InputError("is a list of strings; or give vectors", field="queries")
    if isinstance(queries, str):
        raise InputError("is a list of strings, got one string", field="queries")
    queries = list(queries)
    for query in queries:
        if not isinstance(query, str):
            raise InputError(f"is a list of strings, got {query!r:.80} in it", field="queries")
    checked: list[str] = queries
    return checked


def checked_vectors_by_index(vectors: Any) -> dict[str, Given]:
    """By index the ready vectors of documents."""
    if vectors is None:
        return {}
    if not isinstance(vectors, Mapping):
        raise InputError(
            f"maps names of indexes to arrays, got {type(vectors).__name__}", field="vectors"
        )
    return {name: checked_vectors(value, f"vectors[{name!r}]") for name, value in vectors.items()}


def checked_timeout(timeout_ms: Any) -> int | None:
    """How long a search may take, in milliseconds."""
    if timeout_ms is None:
        return None
    if isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int) or timeout_ms < 1:
        raise InputError(
            f"is a whole number of milliseconds above 0, got {timeout_ms!r}", field="timeout_ms"
        )
    return timeout_ms
