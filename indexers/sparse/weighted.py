"""Weighted terms at the edge: checked once, whatever form they come in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...contracts import Array, BoolArray, Float32Array, Int64Array
from ...errors import InputError
from ...kernels.postings.layout import LARGEST_WEIGHT
from ...vectors import Given, SparseVectors

LARGEST_TERM = (1 << 32) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Weighted(SparseVectors):
    """Weights above 0, terms ascending and distinct in a row.

    ``tokens``: what the terms number where a user names terms by strings; None where terms are a
    vocabulary's own numbers. ``by_collection``: words of queries that the collection shall weigh.
    """

    tokens: tuple[str, ...] | None = None
    by_collection: bool = False

    def __getitem__(self, rows: slice) -> Weighted:
        # super() without arguments is lost in a dataclass with slots.
        cut = SparseVectors(self.starts, self.terms, self.weights)[rows]
        return Weighted(cut.starts, cut.terms, cut.weights, self.tokens, self.by_collection)


def checked(
    vectors: Given,
    number_of: Callable[[str], int] | None,
    n_terms: int | None,
    what: str,
    named: Callable[[int], str],
) -> Weighted:
    """Vectors of any form as :class:`Weighted`; weights of 0 are dropped.

    ``number_of``: a model's vocabulary, in which tokens are looked up, and ``n_terms`` its size.
    Without a model tokens stay tokens. ``named`` names a vector by its place. Raises
    :class:`~cormorant.errors.InputError` for NaN, infinite, negative or too large weights, and for
    terms that are unknown, out of range or twice in a vector.
    """
    tokens: tuple[str, ...] | None = None
    if isinstance(vectors, SparseVectors):
        starts, terms, weights = vectors.starts, vectors.terms, vectors.weights
        if isinstance(vectors, Weighted):
            tokens = vectors.tokens
    elif isinstance(vectors, Sequence):
        starts, terms, weights, tokens = _of_mappings(vectors, number_of, what, named)
    else:
        raise InputError(
            "are weights of terms: SparseVectors, a SciPy matrix, a sparse tensor or a list of "
            f"mappings from terms to weights, got {type(vectors).__name__}",
            field=what,
        )
    if terms.dtype.kind not in "iu" or weights.dtype.kind not in "iuf":
        raise InputError(
            f"are integers, the terms, with real weights; got {terms.dtype} and {weights.dtype}",
            field=what,
        )
    owners = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
    below = weights < 0
    weights = _single(weights)
    limit = LARGEST_TERM if n_terms is None else n_terms - 1

    def refuse(bad: BoolArray, why: str) -> None:
        if bad.any():
            raise InputError(f"{named(int(owners[np.flatnonzero(bad)[0]]))} {why}", field=what)

    refuse(~np.isfinite(weights), "has NaN or infinity")
    refuse(below, "has a weight below 0")
    refuse(weights > LARGEST_WEIGHT, f"has a weight beyond {LARGEST_WEIGHT:.0e}")
    refuse((terms < 0) | (terms > limit), f"has a term that is not from 0 to {limit}")
    kept = weights > 0
    owners, terms, weights = owners[kept], terms[kept].astype(np.int64), weights[kept]
    order = np.lexsort((terms, owners))
    if not np.array_equal(order, np.arange(len(order))):
        terms, weights = terms[order], weights[order]
    twice = np.zeros(len(terms), np.bool_)
    twice[1:] = (terms[1:] == terms[:-1]) & (owners[1:] == owners[:-1])
    refuse(twice, "has a term twice")
    counts = np.bincount(owners, minlength=len(starts) - 1)
    kept_starts = np.zeros(len(starts), np.int64)
    np.cumsum(counts, out=kept_starts[1:])
    return Weighted(kept_starts, terms, weights, tokens)


def _of_mappings(
    vectors: Sequence[Mapping[Any, Any]],
    number_of: Callable[[str], int] | None,
    what: str,
    named: Callable[[int], str],
) -> tuple[Int64Array, Int64Array, Array, tuple[str, ...] | None]:
    starts = np.zeros(len(vectors) + 1, np.int64)
    numbers: list[int] = []
    weights: list[float] = []
    known: dict[str, int] = {}
    kinds: set[type] = set()
    for place, vector in enumerate(vectors):
        for term, weight in vector.items():
            is_token = isinstance(term, str)
            if not is_token and (isinstance(term, bool) or not isinstance(term, int | np.integer)):
                raise InputError(
                    f"{named(place)} has the term {term!r}; a term is a string or a number",
                    field=what,
                )
            kinds.add(str if is_token else int)
            if len(kinds) == 2:
                raise InputError(
                    f"{named(place)} has the term {term!r}, where others are "
                    f"{'numbers' if is_token else 'strings'}",
                    field=what,
                )
            try:
                if isinstance(weight, str | bytes | bool):
                    raise TypeError
                weights.append(float(weight))
            except (TypeError, ValueError, OverflowError):
                raise InputError(
                    f"{named(place)} has the weight {weight!r} for {term!r}; a weight is a number",
                    field=what,
                ) from None
            if not is_token:
                numbers.append(int(term))
            elif number_of is None:
                _check_token(term, named(place), what)
                numbers.append(known.setdefault(term, len(known)))
            else:
                numbers.append(_known_number(number_of, term, named(place), what))
        starts[place + 1] = len(numbers)
    tokens = tuple(known) if str in kinds and number_of is None else None
    _check_numbers(numbers, named, starts, what)
    return starts, np.array(numbers, np.int64), np.array(weights, np.float64), tokens


def _single(weights: Array) -> Float32Array:
    """Weights as float32; one too small for it is the smallest there is, since 0 means no term."""
    with np.errstate(over="ignore"):  # becomes infinity, which is refused
        values = weights.astype(np.float32)
    tiny = (values == 0) & (weights > 0)
    if tiny.any():
        values[tiny] = np.finfo(np.float32).smallest_subnormal
    return values


def _check_token(token: str, name: str, what: str) -> None:
    try:
        token.encode()
    except UnicodeEncodeError:
        raise InputError(f"{name} has a token that is no UTF-8: {token!r}", field=what) from None


def _known_number(number_of: Callable[[str], int], token: str, name: str, what: str) -> int:
    number = number_of(token)
    if number < 0:
        raise InputError(
            f"{name} has the token {token!r}, which the model does not know", field=what
        )
    return number


def _check_numbers(
    numbers: Sequence[int], named: Callable[[int], str], starts: Int64Array, what: str
) -> None:
    """Numbers that int64 cannot hold would not reach the check of their range."""
    for place, number in enumerate(numbers):
        if not 0 <= number <= LARGEST_TERM:
            owner = int(np.searchsorted(starts, place, side="right")) - 1
            raise InputError(
                f"{named(owner)} has the term {number}; terms are from 0 to {LARGEST_TERM}",
                field=what,
            )
