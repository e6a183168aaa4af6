"""Ragged token vectors as they are stored, and checks of what comes in."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ...contracts import Array, BoolArray, Float32Array, Int64Array
from ...errors import InputError
from ...vectors import TokenVectors
from ..residual import expand, packed_size

KINDS = {"float32": 0, "float16": 1, "uint16": 2, "int8": 3}
"""The numpy type that vectors are kept in, and what the kernels call it; uint16 is bfloat16."""
RESIDUALS = {2: 4, 4: 5}
"""What the kernels call residual codes of so many bits."""


class Residual(NamedTuple):
    """What residual codes are residuals of; see :mod:`cormorant.kernels.residual`.

    ``owners``: (n_tokens,) uint32, each token's row of ``centroids`` (n_centroids, dim) int8, which
    have a float32 scale each.
    """

    bits: int
    owners: Array
    centroids: Array
    centroid_scales: Float32Array


class Tokens(NamedTuple):
    """The token vectors of documents; see :mod:`cormorant.kernels.maxsim`. Make it by tokens_of.

    ``vectors``: (n_tokens, dim), or (n_tokens, bytes) uint8 where they are the codes of a
    ``residual``; ``starts``: (n_documents + 1,) int64; ``scales``: (n_tokens,) float32, for int8
    and residual codes; ``mask``: (n_tokens,) bool, False excludes.
    """

    vectors: Array
    starts: Int64Array
    scales: Float32Array | None
    mask: BoolArray | None
    residual: Residual | None = None

    @property
    def n_documents(self) -> int:
        """How many documents there are."""
        return len(self.starts) - 1

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        held = self.vectors if self.residual is None else self.residual.centroids
        return int(held.shape[1])

    @property
    def kind(self) -> int:
        """What the kernels call the way vectors are kept."""
        if self.residual is not None:
            return RESIDUALS[self.residual.bits]
        return KINDS[str(self.vectors.dtype)]

    def widened(self, first: int, last: int) -> Float32Array:
        """The vectors first to last as float32, masked or not: (last - first, dim)."""
        held = self.vectors[first:last]
        if self.residual is not None:
            assert self.scales is not None
            owners = self.residual.owners[first:last]
            return expand(
                held, self.scales[first:last], owners, self.residual.centroids,
                self.residual.centroid_scales, self.residual.bits,
            )  # fmt: skip
        if held.dtype == np.uint16:
            return (held.astype(np.uint32) << 16).view(np.float32)
        wide: Float32Array = np.array(held, np.float32)
        return wide if self.scales is None else wide * self.scales[first:last, None]


class Best(NamedTuple):
    """The best documents of each query, best first, of equal scores the lower place.

    ``places``: (n_queries, k) int64, -1 where there are fewer; ``scores``: float32, -inf there.
    """

    places: Int64Array
    scores: Float32Array


def tokens_of(
    vectors: Any,
    starts: Array,
    *,
    scales: Array | None = None,
    mask: Array | None = None,
    residual: Residual | None = None,
) -> Tokens:
    """Token vectors, checked and not copied.

    ``vectors`` is an array or memory map, or a torch tensor of bfloat16 on the CPU. Raises
    InputError where types or shapes do not fit, where numbers lie at odd addresses, or ``starts``
    does not cut the tokens up.
    """
    if str(getattr(vectors, "dtype", "")) == "torch.bfloat16":
        import torch

        vectors = vectors.view(torch.uint16).numpy()
    vectors = np.asarray(vectors)
    if vectors.ndim != 2 or vectors.shape[1] == 0:
        raise InputError(f"token vectors are (n_tokens, dim), got {vectors.shape}", field="vectors")
    if residual is not None:
        _check_residual(vectors, residual)
    elif str(vectors.dtype) not in KINDS:
        raise InputError(
            f"token vectors are float32, float16, uint16 (the bits of bfloat16) or int8, "
            f"got {vectors.dtype}",
            field="vectors",
        )
    if len(vectors) and not vectors[:1].flags.c_contiguous:
        raise InputError("the numbers of a token must lie side by side", field="vectors")
    if not vectors.flags.aligned:
        raise InputError(
            f"{vectors.dtype} at addresses that are no multiples of its size, like a field of a "
            "packed record: copy it",
            field="vectors",
        )
    n_tokens = len(vectors)
    return Tokens(
        vectors,
        _checked_starts(starts, n_tokens),
        _checked_scales(scales, n_tokens, vectors.dtype == np.int8 or residual is not None),
        _checked_mask(mask, n_tokens),
        residual,
    )


def _check_residual(codes: Array, residual: Residual) -> None:
    """Refuse what would send a kernel beyond the end of an array."""
    bits, owners, centroids, scales = residual
    if bits not in RESIDUALS:
        raise InputError(f"residual codes have 2 or 4 bits, got {bits}", field="residual")
    if centroids.ndim != 2 or centroids.dtype != np.int8 or not centroids.flags.c_contiguous:
        raise InputError(
            f"centroids are (n, dim) int8, got {centroids.shape} {centroids.dtype}",
            field="residual",
        )
    wanted = packed_size(centroids.shape[1], bits)
    if codes.dtype != np.uint8 or codes.shape[1] != wanted:
        raise InputError(
            f"codes of {bits} bits are (n_tokens, {wanted}) uint8, got {codes.shape} {codes.dtype}",
            field="vectors",
        )
    if scales.shape != (len(centroids),) or scales.dtype != np.float32:
        raise InputError("each centroid has a float32 scale", field="residual")
    fits = owners.shape == (len(codes),) and owners.dtype == np.uint32
    if not fits or (len(owners) and int(owners.max()) >= len(centroids)):
        raise InputError(
            f"owners are ({len(codes)},) uint32 below {len(centroids)}", field="residual"
        )
    if not all(held.flags.c_contiguous and held.flags.aligned for held in (owners, scales)):
        raise InputError("owners and scales must lie side by side", field="residual")


def _checked_starts(starts: Array, n_tokens: int) -> Int64Array:
    cuts: Int64Array = np.ascontiguousarray(starts)
    if cuts.ndim != 1 or len(cuts) == 0 or not np.issubdtype(cuts.dtype, np.integer):
        raise InputError(
            f"(n_documents + 1,) integers, got {cuts.shape} {cuts.dtype}", field="starts"
        )
    cuts = cuts.astype(np.int64, copy=False)
    if cuts[0] < 0 or cuts[-1] > n_tokens or bool((cuts[1:] < cuts[:-1]).any()):
        raise InputError(
            f"starts must ascend from 0 or more to at most {n_tokens:,}, the number of tokens",
            field="starts",
        )
    return cuts


def _checked_scales(scales: Array | None, n_tokens: int, wanted: bool) -> Float32Array | None:
    if scales is None and not wanted:
        return None
    if scales is None or not wanted:
        raise InputError(
            "int8 vectors and residual codes, and only they, have a scale for each token",
            field="scales",
        )
    held: Float32Array = np.ascontiguousarray(scales)
    if held.shape != (n_tokens,) or held.dtype != np.float32:
        raise InputError(
            f"({n_tokens},) float32, one a token, got {held.shape} {held.dtype}", field="scales"
        )
    return held


def _checked_mask(mask: Array | None, n_tokens: int) -> BoolArray | None:
    if mask is None:
        return None
    held: BoolArray = np.ascontiguousarray(mask)
    if held.shape != (n_tokens,) or held.dtype != np.bool_:
        raise InputError(
            f"({n_tokens},) bool, one a token, got {held.shape} {held.dtype}", field="mask"
        )
    return held


def checked_queries(queries: TokenVectors, dim: int) -> TokenVectors:
    """Queries of the right width, finite, float32; InputError where they are not."""
    vectors = np.ascontiguousarray(queries.vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != dim:
        raise InputError(
            f"query tokens are (n_tokens, {dim}) like the documents', got {vectors.shape}",
            field="queries",
        )
    if not np.isfinite(vectors).all():
        raise InputError("a query holds a number that is not finite", field="queries")
    return TokenVectors(_checked_starts(queries.starts, len(vectors)), vectors)


def checked_places(
    places: Array, starts: Array, n_queries: int, n_documents: int
) -> tuple[Int64Array, Int64Array]:
    """Candidates of each query: places (m,) below n_documents, or -1 for none, and their starts.

    Each place is some query's, or there would be scores that no query asked for.
    """
    held: Int64Array = np.ascontiguousarray(places, np.int64)
    cuts = _checked_starts(starts, len(held))
    if cuts[0] != 0 or cuts[-1] != len(held):
        raise InputError(
            f"starts go from 0 to {len(held)}, the number of places, got {cuts[0]} to {cuts[-1]}",
            field="starts",
        )
    if held.ndim != 1 or len(cuts) != n_queries + 1:
        raise InputError(
            f"places are one list, with {n_queries + 1} starts for {n_queries} queries, "
            f"got {held.shape} and {len(cuts)} starts",
            field="places",
        )
    if len(held) and (held.min() < -1 or held.max() >= n_documents):
        raise InputError(
            f"places are from -1 to {n_documents - 1}, got {held.min()} to {held.max()}",
            field="places",
        )
    return held, cuts
