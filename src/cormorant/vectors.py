"""What texts become: one vector, weights of terms, or a vector for each token; for many texts.

Single vectors are plain arrays, (n, dim) float32. The other two have rows of different lengths and
are classes here; all three have a length and can be cut into slices of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from .errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class SparseVectors:
    """Weights of terms, row after row (compressed sparse rows).

    Row i has the terms ``terms[starts[i]:starts[i + 1]]`` (int64 numbers in a vocabulary) with the
    weights of the same places (float32); ``starts``: (n + 1,) int64, from 0, ascending.
    """

    starts: NDArray[np.int64]
    terms: NDArray[np.int64]
    weights: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> SparseVectors:
        starts, used = _cut(self.starts, rows)
        return SparseVectors(starts, self.terms[used], self.weights[used])


@dataclass(frozen=True, slots=True, eq=False)
class TokenVectors:
    """A vector for each token, text after text.

    Text i has the vectors ``vectors[starts[i]:starts[i + 1]]``; ``vectors``: (n_tokens, dim)
    float32, ``starts``: (n + 1,) int64, from 0, ascending.
    """

    starts: NDArray[np.int64]
    vectors: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, rows: slice) -> TokenVectors:
        starts, used = _cut(self.starts, rows)
        return TokenVectors(starts, self.vectors[used])


Vectors: TypeAlias = NDArray[np.float32] | SparseVectors | TokenVectors
"""Vectors of any kind, as encoders make them and indexes are searched with them."""
Given: TypeAlias = NDArray[Any] | SparseVectors | TokenVectors | Sequence[Mapping[Any, Any]]
"""Ready vectors of a user's: an array (n, dim) of any number type, one of the classes above, or
for each text a mapping from terms (tokens or their numbers) to weights."""


def are_vectors(value: object) -> bool:
    """Whether these are vectors of some kind, and not texts."""
    return isinstance(value, (np.ndarray, SparseVectors, TokenVectors)) or (
        isinstance(value, Sequence) and len(value) > 0 and isinstance(value[0], Mapping)
    )


def checked_vectors(value: Any, field: str) -> Given:
    """Ready vectors in any form people hold them in, as one of the forms of :data:`Given`.

    Takes arrays and lists (n, dim); for sparse vectors SciPy's matrices, torch's sparse tensors and
    lists of mappings; for token vectors arrays (n, n_tokens, dim) and lists of (n_tokens, dim).
    Numbers are checked by the index that they are for. Raises
    :class:`~cormorant.errors.InputError`, naming ``field``, for anything else.
    """
    if isinstance(value, SparseVectors | TokenVectors):
        _check_starts(value, field)
        return value
    convert = _sparse_converter(value)
    if convert is not None:
        return convert(value, field)
    if isinstance(value, Sequence) and len(value) and not isinstance(value, str | bytes):
        if all(isinstance(item, Mapping) for item in value):
            return value
        if all(_sparse_converter(item) is not None for item in value):
            raise InputError(
                "is one sparse matrix or tensor (n, vocabulary), got a list of rows; stack them",
                field=field,
            )
        if all(np.ndim(item) == 2 for item in value):
            return _token_vectors(value, field)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError) as error:  # rows of different lengths, huge integers
        raise InputError(f"is an array (n, dim): {error}", field=field) from None
    if array.dtype.kind in "fiu" and array.ndim == 3:
        return _token_vectors(array, field)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"is an array (n, dim) of numbers, got {array.dtype} of shape {array.shape}",
            field=field,
        )
    return array


def _check_starts(value: SparseVectors | TokenVectors, field: str) -> None:
    """Starts that do not fit would give texts each other's vectors."""
    starts = value.starts
    parts: list[Any] = [starts]
    parts += [value.terms, value.weights] if isinstance(value, SparseVectors) else []
    if any(not isinstance(part, np.ndarray) or part.ndim != 1 for part in parts):
        raise InputError("is made of numpy arrays of one dimension", field=field)
    if starts.dtype.kind not in "iu":
        raise InputError(f"starts are integers, got {starts.dtype}", field=field)
    n = len(value.terms if isinstance(value, SparseVectors) else value.vectors)
    sound = starts.ndim == 1 and len(starts) > 0 and starts[0] == 0 and starts[-1] == n
    if not sound or np.any(starts[1:] < starts[:-1]):  # unsigned differences are never negative
        raise InputError(
            f"starts must ascend from 0 to {n:,}, the number of what they cut", field=field
        )
    if isinstance(value, SparseVectors) and len(value.weights) != n:
        raise InputError(f"has {len(value.weights):,} weights for {n:,} terms", field=field)


def _cut(starts: NDArray[np.int64], rows: slice) -> tuple[NDArray[np.int64], slice]:
    """The starts of a run of rows, from 0, and the places they cover."""
    first, end, step = rows.indices(len(starts) - 1)
    if step != 1:
        raise ValueError(f"rows are cut without gaps, got {rows}")
    end = max(first, end)
    used = slice(int(starts[first]), int(starts[end]))
    return starts[first : end + 1] - starts[first], used


def _token_vectors(texts: Any, field: str) -> TokenVectors:
    try:
        parts = [np.asarray(text, np.float32) for text in texts]
        vectors = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(
            f"is an array (n_tokens, dim) for each text: {error}", field=field
        ) from None
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return TokenVectors(starts, vectors)


def _sparse_converter(value: Any) -> Callable[[Any, str], SparseVectors] | None:
    """Recognises SciPy and torch by their objects: neither is imported for it."""
    if hasattr(value, "tocsr"):
        return _from_scipy
    is_torch = type(value).__module__.partition(".")[0] == "torch"
    if is_torch and str(getattr(value, "layout", "")).startswith("torch.sparse"):
        return _from_torch
    return None


def _from_scipy(matrix: Any, field: str) -> SparseVectors:
    rows = matrix.tocsr().sorted_indices()
    rows.sum_duplicates()
    return _sparse(rows.indptr, rows.indices, rows.data, field)


def _from_torch(tensor: Any, field: str) -> SparseVectors:
    if tensor.dim() != 2:
        raise InputError(
            f"is a sparse tensor (n, vocabulary), got {tensor.dim()} dims", field=field
        )
    rows = tensor.detach().cpu().to_sparse_coo().coalesce()
    places, weights = rows.indices().numpy(), rows.values()
    starts = np.zeros(len(tensor) + 1, np.int64)
    np.cumsum(np.bincount(places[0], minlength=len(tensor)), out=starts[1:])
    return _sparse(starts, places[1], weights.double().numpy(), field)


def _sparse(starts: Any, terms: Any, weights: Any, field: str) -> SparseVectors:
    if np.asarray(weights).dtype.kind not in "fiu":
        raise InputError(f"has real weights, got {np.asarray(weights).dtype}", field=field)
    # As precise as they came: what float32 cannot hold is refused, or kept apart from 0, later.
    return SparseVectors(
        np.asarray(starts, np.int64), np.asarray(terms, np.int64), np.asarray(weights)
    )
