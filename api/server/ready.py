"""Ready vectors as they come over the wire, for an index of any kind.

A dense vector is a list of numbers. Token vectors are a list of such lists. Weights of terms are an
object, ``{"diving": 1.2}``, or numbers beside numbers, ``{"terms": [17], "weights": [1.2]}``; the
empty object goes with either. How much there is, is looked at before what it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...documents import JsonObject
from ...errors import InputError
from ...vectors import Given, SparseVectors, checked_vectors
from .limits import Limits

_NUMBERS: JsonObject = {"type": "array", "items": {"type": "number"}}
WIRE_VECTOR_SCHEMA: JsonObject = {
    "anyOf": [
        _NUMBERS,
        {"type": "array", "items": _NUMBERS},
        {"type": "object", "additionalProperties": {"type": "number"}},
        {
            "type": "object",
            "properties": {
                "terms": {"type": "array", "items": {"type": "integer", "minimum": 0}},
                "weights": _NUMBERS,
            },
            "required": ["terms", "weights"],
            "additionalProperties": False,
        },
    ]
}
"""One vector, as the OpenAPI document describes it."""
_LARGEST = float(np.finfo(np.float32).max)
_TERMS_END = 1 << 48  # float64 holds every whole number below it


def vectors_from_wire(values: Sequence[Any], limits: Limits, field: str) -> Given:
    """Ready vectors from JSON, all of one kind.

    Raises :class:`~cormorant.errors.InputError` for what is none, and the problem
    ``limit_exceeded`` for one that is too large.
    """
    kinds = {_kind(value, limits, field) for value in values if value != {}}
    if len(kinds) > 1:
        raise InputError(f"are of one kind, got {' and '.join(sorted(kinds))}", field=field)
    if kinds == {"numbered weights"}:
        rows: list[tuple[list[Any], list[Any]]] = [
            (value["terms"], value["weights"]) if value else ([], []) for value in values
        ]
        starts = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(terms) for terms, _ in rows], out=starts[1:])
        return SparseVectors(
            starts,
            np.array([term for terms, _ in rows for term in terms], np.int64),
            np.array([weight for _, weights in rows for weight in weights], np.float64),
        )
    if kinds - {"weights"} and {} in values:
        raise InputError(f"are of one kind, got {kinds.pop()} and weights", field=field)
    return checked_vectors(values, field)


def _kind(value: Any, limits: Limits, field: str) -> str:
    if isinstance(value, dict):
        if value.keys() == {"terms", "weights"} and isinstance(value["terms"], list):
            limits.check("vector_dim", len(value["terms"]), field)
            _check_terms(value["terms"], value["weights"], field)
            return "numbered weights"
        limits.check("vector_dim", len(value), field)
        _check_numbers(list(value.values()), field)
        return "weights"
    if isinstance(value, list) and value and isinstance(value[0], list):
        limits.check("vector_tokens", len(value), field)
        for item in value:
            _check_dense(item, limits, field)
        return "token vectors"
    _check_dense(value, limits, field)
    if not value:
        raise InputError("has at least one number", field=field)
    return "vectors"


def _check_dense(value: Any, limits: Limits, field: str) -> None:
    if isinstance(value, list):
        limits.check("vector_dim", len(value), field)
    _check_numbers(value, field)


def _check_numbers(values: Any, field: str) -> None:
    if not isinstance(values, list) or any(type(item) not in (int, float) for item in values):
        raise InputError(
            "is a list of numbers, a list of such lists, an object {token: weight}, or an object "
            '{"terms": [...], "weights": [...]}',
            field=field,
        )
    # Python compares whole numbers of any length; 1e999 was read as infinity.
    if values and (min(values) < -_LARGEST or max(values) > _LARGEST):
        raise InputError("has numbers that fit into 32 bits, up to 3.4e38", field=field)


def _check_terms(terms: list[Any], weights: Any, field: str) -> None:
    _check_numbers(weights, field)
    if len(terms) != len(weights) or any(
        type(term) not in (int, float) or not 0 <= term < _TERMS_END or term != int(term)
        for term in terms
    ):
        raise InputError("has as many terms, whole numbers from 0, as weights", field=field)
