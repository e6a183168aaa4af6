"""Metadata as rows that SQLite can search: one (field, kind, value) for each scalar inside it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float
LABEL = "label"
NUMBER, STRING, BOOLEAN = "n", "s", "b"


def kind_and_value(value: Any) -> tuple[str, Scalar] | None:
    """How a JSON scalar is stored; None for null and for what is no scalar."""
    if isinstance(value, bool):
        return BOOLEAN, int(value)
    if isinstance(value, int):
        return NUMBER, value if -(2**63) <= value < 2**63 else _as_float(value)
    if isinstance(value, float):
        return NUMBER, value
    if isinstance(value, str):
        return STRING, value
    return None


def _as_float(value: int) -> float:
    """The nearest float; infinity for what is beyond all floats."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def flatten(metadata: Mapping[str, Any], labels: Sequence[str]) -> set[tuple[str, str, Scalar]]:
    """The (field, kind, value) rows of one document.

    A list gives one row for each element, an object one for each path: ``{"a": {"b": [1, 2]}}``
    gives ``a.b = 1`` and ``a.b = 2``. Nulls give none.
    """
    rows: set[tuple[str, str, Scalar]] = {("", LABEL, label) for label in labels}
    rows.update(_walk("", metadata))
    return rows


def _walk(path: str, value: Any) -> Iterator[tuple[str, str, Scalar]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _walk(f"{path}.{key}" if path else key, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _walk(path, item)
    elif (stored := kind_and_value(value)) is not None:
        yield (path, *stored)
