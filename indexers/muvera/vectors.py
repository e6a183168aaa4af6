"""Token vectors at the edge: checked once, narrowed once, packed for the catalog.

An encoding is a head of three little-endian uint32: how many tokens, how many numbers each, and in
the third whether the text was cut to the model's window (its lowest bit) and how many tokens of
queries there are (the others). Then come the parts that :func:`parts_of` lists, one after the
other, each as it will lie in a segment, where the parts of all texts are joined.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Array, BoolArray, Float32Array, Int64Array
from ...errors import CormorantError, InputError
from ...kernels.maxsim import Residual, Tokens, tokens_of
from ...kernels.residual import compress, n_centroids, packed_size
from ...vectors import Given, TokenVectors

DTYPES = {"float32": np.float32, "float16": np.float16, "int8": np.int8}
BITS = {"residual2": 2, "residual4": 4}
STORAGES = (*DTYPES, *BITS)
LARGEST = {"float16": 60_000.0}
_LARGEST = 1e15
"""So that nothing kept is infinite, and no inner product overflows float32."""
MOST_DIM = 65_536
_HEAD = np.dtype([("tokens", "<u4"), ("dim", "<u4"), ("marks", "<u4")])
Narrowed = Mapping[str, Array]
"""Token vectors as they are kept: the arrays of :func:`parts_of` by name."""


class Part(NamedTuple):
    """An array of a segment.

    ``width`` numbers (None: one, in one dimension) for each of ``per``, which are tokens,
    centroids, or tokens of queries (``token``, ``centroid``, ``asked``).
    """

    name: str
    dtype: Any
    width: int | None
    per: str

    def shape(self, n: int) -> tuple[int, ...]:
        """The array's, for so many of ``per``."""
        return (n,) if self.width is None else (n, self.width)


class Heads(NamedTuple):
    """What a list of encodings says of itself.

    ``begins``: where the tokens, the centroids and the queries' tokens of each text begin.
    """

    begins: Mapping[str, Int64Array]
    dim: int
    cut: BoolArray

    @property
    def starts(self) -> Int64Array:
        """Where the tokens of each text begin."""
        return self.begins["token"]


def parts_of(storage: str, dim: int, asked: bool) -> list[Part]:
    """What is kept of texts, in the order of an encoding.

    ``asked``: with tokens of queries, which a proxy that learns is trained on.
    """
    if storage in BITS:
        parts = [
            Part("scales", np.float32, None, "token"),
            Part("owners", np.uint32, None, "token"),
            Part("vectors", np.uint8, packed_size(dim, BITS[storage]), "token"),
            Part("centroids", np.int8, dim, "centroid"),
            Part("centroid_scales", np.float32, None, "centroid"),
        ]
    else:
        parts = [Part("vectors", DTYPES[storage], dim, "token")]
        if storage == "int8":
            parts.insert(0, Part("scales", np.float32, None, "token"))
    return [*parts, Part("asked", np.float16, dim, "asked")] if asked else parts


def begins_of(starts: Int64Array, asked_starts: Int64Array | None) -> dict[str, Int64Array]:
    """Where what texts have one or more of begins, by what it is: (n + 1,) int64 each."""
    begins = {"token": starts, "centroid": np.zeros(len(starts), np.int64)}
    np.cumsum(n_centroids(np.diff(starts)), out=begins["centroid"][1:])
    if asked_starts is not None:
        begins["asked"] = asked_starts
    return begins


def stored_tokens(arrays: Mapping[str, Array], starts: Int64Array, storage: str) -> Tokens:
    """The stored vectors as the kernels see them."""
    residual = None
    if storage in BITS:
        residual = Residual(
            BITS[storage],
            arrays["owners"].view(np.ndarray),
            arrays["centroids"].view(np.ndarray),
            arrays["centroid_scales"].view(np.ndarray),
        )
    vectors = arrays["vectors"].view(np.ndarray)
    return tokens_of(vectors, starts, scales=arrays.get("scales"), residual=residual)


def checked(
    vectors: Given, storage: str, what: str, named: Callable[[int], str] = "text {}".format
) -> TokenVectors:
    """Ready or encoded token vectors, float32, finite, of one width.

    That their starts fit is checked before they come here (``cormorant.vectors``).

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
    if len(given) and not given.shape[1]:
        raise InputError("tokens have one number or more, got none", field=what)
    with np.errstate(over="ignore"):  # becomes infinity, which is refused below
        values: Float32Array = np.ascontiguousarray(given, np.float32)
    largest = LARGEST.get(storage, _LARGEST)
    bad = ~(np.abs(values) <= largest).all(axis=1)
    if bad.any():
        token = int(np.flatnonzero(bad)[0])
        text = int(np.searchsorted(starts, token, side="right")) - 1
        raise InputError(
            f"{named(text)} has a token with NaN, infinity or a number beyond {largest:.0e}",
            field=what,
        )
    return TokenVectors(starts.astype(np.int64), values)


def narrow(vectors: TokenVectors, storage: str) -> dict[str, Array]:
    """Round to what is kept; int8 is in steps of a token's greatest magnitude / 127."""
    held = vectors.vectors
    if storage in BITS:
        made = compress(held, vectors.starts, BITS[storage])
        return {"vectors": made.codes} | {
            name: getattr(made, name)
            for name in ("scales", "owners", "centroids", "centroid_scales")
        }
    if storage != "int8":
        return {"vectors": held.astype(DTYPES[storage])}
    scales = (np.abs(held).max(axis=1, initial=0.0) / 127).astype(np.float32)
    steps = np.where(scales > 0, scales, 1).astype(np.float32)
    codes = np.clip(np.rint(held / steps[:, None]), -127, 127).astype(np.int8)
    return {"vectors": codes, "scales": scales}


def pack(
    arrays: Narrowed,
    begins: Mapping[str, Int64Array],
    dim: int,
    cut: BoolArray,
    storage: str,
) -> list[bytes]:
    """One encoding a text; ``owners`` count from the text's own first centroid."""
    packed = []
    starts, asked = begins["token"], begins.get("asked")
    parts = parts_of(storage, dim, asked is not None)
    for text in range(len(starts) - 1):
        n_asked = 0 if asked is None else int(asked[text + 1] - asked[text])
        marks = int(cut[text]) | n_asked << 1
        pieces = [np.array((starts[text + 1] - starts[text], dim, marks), _HEAD).tobytes()]
        for part in parts:
            own = slice(int(begins[part.per][text]), int(begins[part.per][text + 1]))
            little = np.dtype(part.dtype).newbyteorder("<")
            pieces.append(np.asarray(arrays[part.name][own]).astype(little, copy=False).tobytes())
        packed.append(b"".join(pieces))
    return packed


def heads_of(encodings: Sequence[bytes], storage: str, asked: bool) -> Heads:
    """How the parts of some encodings lie.

    Raises :class:`~cormorant.errors.CormorantError` for one that is not an encoding.
    """
    size = _HEAD.itemsize
    heads = np.frombuffer(b"".join(encoding[:size] for encoding in encodings), _HEAD)
    starts, asked_starts = (np.zeros(len(encodings) + 1, np.int64) for _ in range(2))
    np.cumsum(heads["tokens"], out=starts[1:])
    np.cumsum(heads["marks"] >> 1, out=asked_starts[1:])
    begins = begins_of(starts, asked_starts)
    dims = np.unique(heads["dim"][heads["tokens"] > 0]).tolist()
    dim = dims[0] if dims else int(heads["dim"].max(initial=0))
    wanted = np.full(len(encodings), size, np.int64)
    for part in parts_of(storage, dim, asked=True):
        each = np.dtype(part.dtype).itemsize * (1 if part.width is None else part.width)
        wanted += np.diff(begins[part.per]) * each
    lengths = np.array([len(encoding) for encoding in encodings], np.int64)
    if len(dims) > 1 or np.any(lengths != wanted) or (asked_starts[-1] and not asked):
        raise CormorantError(f"an encoding is not of {storage} token vectors of one width")
    return Heads(begins, dim, (heads["marks"] & 1) != 0)


def unpack_into(
    encodings: Sequence[bytes], heads: Heads, storage: str, arrays: Mapping[str, Array]
) -> None:
    """Fill the arrays over all texts of some encodings; ``owners`` count from the first of all."""
    parts = parts_of(storage, heads.dim, "asked" in arrays)
    for text, encoding in enumerate(encodings):
        at = _HEAD.itemsize
        for part in parts:
            begins = heads.begins[part.per]
            own = slice(int(begins[text]), int(begins[text + 1]))
            target = arrays[part.name][own]
            kept = np.frombuffer(
                encoding, np.dtype(part.dtype).newbyteorder("<"), target.size, at
            ).reshape(target.shape)
            target[...] = kept
            if part.name == "owners":
                target += np.uint32(heads.begins["centroid"][text])
            at += target.nbytes
