"""Filters: typed JSON trees that SQLite answers with the set of rows that pass.

::

    {"year": {"gte": 2015, "lt": 2020}, "lang": "en", "$or": [{"a": 1}, {"$not": {"b": "x"}}]}

The conditions of one object must all hold. Operators: ``eq`` (a bare value means it), ``ne``,
``in``, ``gt``, ``gte``, ``lt``, ``lte``, ``exists``; ``$and``, ``$or`` take a list, ``$not`` an
object. A list in the metadata passes when one of its elements does. ``ne`` is the opposite of
``eq``: a document without the field passes it. Numbers compare with numbers only, strings with
strings (by code point), booleans with booleans. Nested metadata is reached by ``outer.inner``.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..contracts import BoolArray
from ..documents import check_text
from ..errors import InputError
from .fields import LABEL, Scalar, kind_and_value

MAX_CONDITIONS = 1000
MAX_DEPTH = 32


@dataclass(frozen=True, slots=True)
class Compare:
    """One field against one value: ``operator`` is ``=``, ``>``, ``>=``, ``<`` or ``<=``."""

    field: str
    operator: str
    kind: str
    value: Scalar


@dataclass(frozen=True, slots=True)
class Exists:
    """The field holds some value that is not null."""

    field: str


@dataclass(frozen=True, slots=True)
class Not:
    """What the condition does not let through."""

    condition: Condition


@dataclass(frozen=True, slots=True)
class And:
    """What every condition lets through; with none, everything."""

    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """What some condition lets through; with none, nothing."""

    conditions: tuple[Condition, ...]


Condition: TypeAlias = Compare | Exists | Not | And | Or

_ORDERED = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
_OPERATORS = ("eq", "ne", "in", *_ORDERED, "exists")


def parse_filter(value: Any) -> Condition:
    """The condition a JSON tree describes.

    Raises :class:`~cormorant.errors.InputError`, naming the field, for what is none.
    """
    parser = _Parser()
    return parser.object(value, 0)


class _Parser:
    def __init__(self) -> None:
        self._conditions = 0

    def object(self, value: Any, depth: int) -> Condition:
        if not isinstance(value, Mapping):
            raise InputError(
                f'a filter is a JSON object such as {{"year": {{"gte": 2015}}}}, got {value!r}',
                field="filter",
            )
        if depth > MAX_DEPTH:
            raise InputError(f"a filter nests at most {MAX_DEPTH} deep", field="filter")
        return And(tuple(self._entry(key, item, depth) for key, item in value.items()))

    def _entry(self, key: Any, value: Any, depth: int) -> Condition:
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            raise InputError(f"a filter has at most {MAX_CONDITIONS} conditions", field="filter")
        if key in ("$and", "$or"):
            if not isinstance(value, list | tuple):
                raise InputError(f"takes a list of filters, got {value!r}", field=key)
            parts = tuple(self.object(item, depth + 1) for item in value)
            return And(parts) if key == "$and" else Or(parts)
        if key == "$not":
            return Not(self.object(value, depth + 1))
        if not isinstance(key, str) or key.startswith("$"):
            raise InputError(f"there is no operator {key!r}; there are: $and, $or, $not", field=key)
        check_text("filter", key)
        if not isinstance(value, Mapping):
            return _equals(key, value)
        if not value:
            raise InputError(f"takes one of {', '.join(_OPERATORS)}", field=key)
        return And(tuple(self._operator(key, name, item) for name, item in value.items()))

    def _operator(self, field: str, name: str, value: Any) -> Condition:
        if name == "eq":
            return _equals(field, value)
        if name == "ne":
            return Not(_equals(field, value))
        if name == "in":
            if not isinstance(value, list | tuple):
                raise InputError(f"'in' takes a list, got {value!r}", field=field)
            self._conditions += len(value)
            if self._conditions > MAX_CONDITIONS:
                raise InputError(f"a filter has at most {MAX_CONDITIONS} conditions", field=field)
            return Or(tuple(_equals(field, item) for item in value))
        if name == "exists":
            if not isinstance(value, bool):
                raise InputError(f"'exists' takes true or false, got {value!r}", field=field)
            return Exists(field) if value else Not(Exists(field))
        if name in _ORDERED:
            stored = _scalar(field, value)
            if isinstance(value, bool):
                raise InputError(f"{name!r} takes a number or a string", field=field)
            return Compare(field, _ORDERED[name], *stored)
        raise InputError(
            f"there is no operator {name!r}; there are: {', '.join(_OPERATORS)}", field=field
        )


def _scalar(field: str, value: Any) -> tuple[str, Scalar]:
    if isinstance(value, str):
        check_text(field, value)
    stored = kind_and_value(value)
    if stored is None or (isinstance(value, float) and not math.isfinite(value)):
        hint = '; use {"exists": false} for a missing value' if value is None else ""
        raise InputError(
            f"compares with a string, number or boolean, got {value!r}{hint}", field=field
        )
    return stored


def _equals(field: str, value: Any) -> Compare:
    return Compare(field, "=", *_scalar(field, value))


def label_mask(connection: sqlite3.Connection, labels: Iterable[str], n_rows: int) -> BoolArray:
    """The rows of documents that hold one of the labels: (n_rows,) bool."""
    return filter_mask(
        connection, Or(tuple(Compare("", "=", LABEL, label) for label in labels)), n_rows
    )


def filter_mask(connection: sqlite3.Connection, condition: Condition, n_rows: int) -> BoolArray:
    """The rows that pass: (n_rows,) bool. A deleted document's rows may be among them."""
    match condition:
        case Compare(field, operator, kind, value):
            # The operator is one of five constants; everything else is a parameter.
            where = f"field = ? AND kind = ? AND value {operator} ?"
            return _fetch(connection, where, (field, kind, value), n_rows)
        case Exists(field):
            where = f"field = ? AND kind <> '{LABEL}'"
            return _fetch(connection, where, (field,), n_rows)
        case Not(inner):
            return ~filter_mask(connection, inner, n_rows)
        case And(conditions):
            mask = np.ones(n_rows, np.bool_)
            for part in conditions:
                mask &= filter_mask(connection, part, n_rows)
            return mask
        case Or(conditions):
            mask = np.zeros(n_rows, np.bool_)
            for part in conditions:
                mask |= filter_mask(connection, part, n_rows)
            return mask


def _fetch(
    connection: sqlite3.Connection, where: str, values: tuple[Scalar, ...], n_rows: int
) -> BoolArray:
    mask = np.zeros(n_rows, np.bool_)
    found = connection.execute(f"SELECT row, n_rows FROM fields WHERE {where}", values).fetchall()  # noqa: S608
    if not found:
        return mask
    rows = np.array(found, np.int64)
    mask[rows[:, 0]] = True
    for row, length in rows[rows[:, 1] > 1]:
        mask[row : row + length] = True
    return mask
