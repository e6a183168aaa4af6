"""Ready vectors as they come over the wire, for an index of any kind.

A dense vector is a list of numbers. Token vectors are a list of such lists. Weights of terms are an
object, ``{"diving": 1.2}``, or numbers beside numbers, ``{"terms": [17], "weights": [1.2]}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ...errors import InputError
from ...vectors import Given, SparseVectors, checked_vectors
from .limits import Limits

WireVector: TypeAlias = list[float] | list[list[float]] | dict[str, float] | dict[str, list[float]]


def vectors_from_wire(values: Sequence[Any], limits: Limits, field: str) -> Given:
    """Ready vectors from JSON, all of one kind.

    Raises :class:`~cormorant.errors.InputError` for what is none, and the problem
    ``limit_exceeded`` for one that is too large.
    """
    kinds = {_kind(value, limits, field) for value in values}
    if len(kinds) > 1:
        raise InputError(f"are of one kind, got {' and '.join(sorted(kinds))}", field=field)
    if kinds == {"numbered weights"}:
        starts = np.zeros(len(values) + 1, np.int64)
        np.cumsum([len(value["terms"]) for value in values], out=starts[1:])
        terms = [term for value in values for term in value["terms"]]
        weights = [weight for value in values for weight in value["weights"]]
        with np.errstate(over="ignore"):  # infinity is refused by the index, as any other
            return SparseVectors(
                starts, np.array(terms, np.int64), np.array(weights, np.float64).astype(np.float32)
            )
    return checked_vectors(values, field)


def _kind(value: Any, limits: Limits, field: str) -> str:
    if isinstance(value, dict):
        if value.keys() == {"terms", "weights"} and isinstance(value["terms"], list):
            _check_terms(value, field)
            limits.check("vector_dim", len(value["terms"]), field)
            return "numbered weights"
        _check_numbers(list(value.values()), field)
        limits.check("vector_dim", len(value), field)
        return "weights"
    if isinstance(value, list) and value and isinstance(value[0], list):
        limits.check("vector_tokens", len(value), field)
        for item in value:
            _check_numbers(item, field)
            limits.check("vector_dim", len(item), field)
        return "token vectors"
    _check_numbers(value, field)
    limits.check("vector_dim", len(value), field)
    if not value:
        raise InputError("has at least one number", field=field)
    return "vectors"


def _check_numbers(values: Any, field: str) -> None:
    if not isinstance(values, list) or any(type(item) not in (int, float) for item in values):
        raise InputError(
            "is a list of numbers, a list of such lists, an object {token: weight}, or an object "
            '{"terms": [...], "weights": [...]}',
            field=field,
        )


def _check_terms(value: dict[str, Any], field: str) -> None:
    terms, weights = value["terms"], value["weights"]
    _check_numbers(weights, field)
    if len(terms) != len(weights) or any(
        type(term) not in (int, float) or term != int(term) or not 0 <= term < 1 << 48
        for term in terms
    ):
        raise InputError("has as many terms, numbers from 0, as weights", field=field)
