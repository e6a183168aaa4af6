"""Token vectors at the edge: checked once, narrowed once, packed for the catalog.

An encoding is a head of three little-endian uint32 (how many tokens, how many numbers each, and
whether the text was cut to the model's window), then for int8 a float32 scale a token, then the
vectors, token after token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from ...contracts import Array, BoolArray, Float32Array, Int64Array
from ...errors import CormorantError, InputError
from ...vectors import Given, TokenVectors

DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
LARGEST = {"float32": 1e15, "float16": 60_000.0, "int8": 1e15}
"""So that nothing kept is infinite, and no inner product overflows float32."""
MOST_DIM = 65_536
_HEAD = np.dtype([("tokens", "<u4"), ("dim", "<u4"), ("cut", "<u4")])


class Narrowed(NamedTuple):
    """Token vectors as they are kept: (n_tokens, dim), and for int8 a scale each."""

    vectors: Array
    scales: Float32Array | None


class Heads(NamedTuple):
    """What a list of encodings says of itself."""

    starts: Int64Array
    dim: int
    cut: BoolArray


def checked(
    vectors: Given, storage: str, what: str, named: Callable[[int], str] = "text {}".format
) -> TokenVectors:
    """Ready or encoded token vectors, float32, finite, of one width.

    Raises :class:`~cormorant.errors.InputError`, naming the first text that cannot be used.
    """
    if not isinstance(vectors, TokenVectors):
        raise InputError(
            "is an array (n_tokens, dim) for each text: this index has a vector for each token",
            field=what,
        )
    given, starts = np.asarray(vectors.vectors), np.asarray(vectors.starts)
    if given.ndim != 2 or given.dtype.kind not in "fiu" or given.shape[1] > MOST_DIM:
        raise InputError(
            f"is numbers, (n_tokens, dim) with dim up to {MOST_DIM:,}; "
            f"got {given.dtype} of shape {given.shape}",
            field=what,
        )
    if (
        starts.ndim != 1
        or starts.dtype.kind not in "iu"
        or not len(starts)
        or starts[0] != 0
        or starts[-1] != len(given)
        or np.any(starts[1:] < starts[:-1])
    ):
        raise InputError(
            f"starts must ascend from 0 to {len(given):,}, the number of tokens", field=what
        )
    if len(given) and not given.shape[1]:
        raise InputError("tokens have one number or more, got none", field=what)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused below
        values: Float32Array = np.ascontiguousarray(given, np.float32)
    largest = LARGEST[storage]
    bad = ~(np.abs(values) <= largest).all(axis=1)
    if bad.any():
        token = int(np.flatnonzero(bad)[0])
        text = int(np.searchsorted(starts, token, side="right")) - 1
        raise InputError(
            f"{named(text)} has a token with NaN, infinity or a number beyond {largest:.0e}",
            field=what,
        )
    return TokenVectors(starts.astype(np.int64), values)


def narrow(vectors: Float32Array, storage: str) -> Narrowed:
    """Round to what is kept; int8 is in steps of a token's greatest magnitude / 127."""
    if storage != "int8":
        return Narrowed(vectors.astype(DTYPES[storage]), None)
    scales = (np.abs(vectors).max(axis=1, initial=0.0) / 127).astype(np.float32)
    steps = np.where(scales > 0, scales, 1).astype(np.float32)
    codes = np.clip(np.rint(vectors / steps[:, None]), -127, 127).astype(np.int8)
    return Narrowed(codes, scales)


def pack(narrowed: Narrowed, starts: Int64Array, cut: BoolArray) -> list[bytes]:
    """One encoding a text."""
    packed = []
    dim = narrowed.vectors.shape[1]
    for text in range(len(starts) - 1):
        own = slice(int(starts[text]), int(starts[text + 1]))
        head = np.array((own.stop - own.start, dim, cut[text]), _HEAD)
        scales = b"" if narrowed.scales is None else narrowed.scales[own].astype("<f4").tobytes()
        vectors = narrowed.vectors[own]
        body = vectors.astype(vectors.dtype.newbyteorder("<"), copy=False).tobytes()
        packed.append(head.tobytes() + scales + body)
    return packed


def heads_of(encodings: Sequence[bytes], storage: str) -> Heads:
    """How the tokens of some encodings lie.

    Raises :class:`~cormorant.errors.CormorantError` for one that is not an encoding.
    """
    size = _HEAD.itemsize
    heads = np.frombuffer(b"".join(encoding[:size] for encoding in encodings), _HEAD)
    starts = np.zeros(len(encodings) + 1, np.int64)
    np.cumsum(heads["tokens"], out=starts[1:])
    dims = np.unique(heads["dim"][heads["tokens"] > 0]).tolist()
    dim = dims[0] if dims else int(heads["dim"].max(initial=0))
    each = dim * np.dtype(DTYPES[storage]).itemsize + (4 if storage == "int8" else 0)
    lengths = np.array([len(encoding) for encoding in encodings], np.int64)
    if len(dims) > 1 or np.any(lengths != size + np.diff(starts) * each):
        raise CormorantError(f"an encoding is not of {storage} token vectors of one width")
    return Heads(starts, dim, heads["cut"] != 0)


def unpack_into(
    encodings: Sequence[bytes], heads: Heads, vectors: Array, scales: Float32Array | None
) -> None:
    """Fill arrays over all tokens of some encodings."""
    size = _HEAD.itemsize
    for text, encoding in enumerate(encodings):
        own = slice(int(heads.starts[text]), int(heads.starts[text + 1]))
        n, at = own.stop - own.start, size
        if scales is not None:
            scales[own] = np.frombuffer(encoding, "<f4", n, at)
            at += 4 * n
        if n:
            kept = np.frombuffer(encoding, vectors.dtype.newbyteorder("<"), offset=at)
            vectors[own] = kept.reshape(n, heads.dim)
