"""What decides an encoding: its parameters, and the random matrices that follow from them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from .philox import bell, signs, words

_HASH, _INNER, _FINAL, _TIES = 1, 2, 3, 4
"""Purposes of random numbers; a stream of its own for each, and for each repetition."""
MOST_BITS = 12
TIE_BITS = 58
"""Bits of a tie number: a Hamming distance of up to 12 fits above it in 62."""


@dataclass(frozen=True, slots=True)
class Fde:
    """The parameters of a fixed dimensional encoding.

    ``dim``: numbers in a token. ``k_sim``: hyperplanes a repetition, so 2^k_sim cells. ``r_reps``:
    repetitions. ``d_proj``: numbers a cell keeps of a token, None for all (no inner projection).
    ``d_final``: numbers in the end, None for all (no final projection). ``final``: what projects
    finally, a matrix of +-1 as in the paper, ``"dense"``, or ``"sketch"``, which adds each number
    to one place, with a sign (Charikar et al., "Finding Frequent Items in Data Streams", 2002):
    inner products have the same mean and variance and cost ``d_final`` times less. ``seed``: below
    2^64. Raises InputError for parameters that make no encoding.
    """

    dim: int
    k_sim: int = 5
    r_reps: int = 20
    d_proj: int | None = 16
    d_final: int | None = None
    final: Literal["sketch", "dense"] = "sketch"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("dim", 1, 1 << 20),
            ("k_sim", 0, MOST_BITS),
            ("r_reps", 1, 1 << 16),
            ("d_proj", 1, 1 << 16),
            ("d_final", 1, 1 << 24),
            ("seed", 0, (1 << 64) - 1),
        ):
            value = getattr(self, name)
            if value is None and name in ("d_proj", "d_final"):
                continue
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise InputError(
                    f"a whole number from {least} to {most}, got {value!r}", field=name
                )
        if self.final not in ("sketch", "dense"):
            raise InputError(f"'sketch' or 'dense', got {self.final!r}", field="final")

    @property
    def cells(self) -> int:
        """Cells a repetition."""
        return 1 << self.k_sim

    @property
    def width(self) -> int:
        """Numbers a cell holds."""
        return self.dim if self.d_proj is None else self.d_proj

    @property
    def repetition_size(self) -> int:
        """Numbers of a repetition, before the final projection."""
        return self.cells * self.width

    @property
    def full_size(self) -> int:
        """Numbers before the final projection."""
        return self.r_reps * self.repetition_size

    @property
    def size(self) -> int:
        """Numbers in an encoding."""
        return self.full_size if self.d_final is None else self.d_final


class Sketch(NamedTuple):
    """Where each number of a repetition goes, and with which sign."""

    places: Int64Array
    signs: Float32Array


def hyperplanes(fde: Fde, repetition: int) -> Float32Array:
    """The normals of one repetition: (k_sim, dim)."""
    normals = bell(fde.seed, _HASH, repetition, fde.k_sim * fde.dim).reshape(fde.k_sim, fde.dim)
    return normals


def inner_signs(fde: Fde, repetition: int) -> Float32Array:
    """The signs of the inner projection of one repetition, +-1: (d_proj, dim)."""
    return signs(fde.seed, _INNER, repetition, fde.width * fde.dim).reshape(fde.width, fde.dim)


def inner_scale(fde: Fde) -> np.float32:
    """What they are times: 1/sqrt(d_proj)."""
    return np.float32(1.0 / np.sqrt(fde.width))


def inner(fde: Fde, repetition: int) -> Float32Array:
    """The inner projection of one repetition, +-1/sqrt(d_proj): (d_proj, dim)."""
    return inner_signs(fde, repetition) * inner_scale(fde)


def sketch(fde: Fde, repetition: int) -> Sketch:
    """The final sketch of one repetition."""
    n = fde.repetition_size
    drawn = words(fde.seed, _FINAL, repetition, -(-n // 4)).ravel()[:n].astype(np.int64)
    places: Int64Array = ((drawn >> 1) * (fde.d_final or 1)) >> 31
    return Sketch(places, (1 - 2 * (drawn & 1)).astype(np.float32))


@lru_cache(maxsize=64)
def tie_factors(fde: Fde) -> Int64Array:
    """Odd numbers of 64 bits that a token's bits are multiplied with: (dim,)."""
    drawn = words(fde.seed, _TIES, 0, -(-fde.dim // 2)).reshape(-1, 2)[: fde.dim].astype(np.uint64)
    factors = ((drawn[:, 0] << np.uint64(32)) | drawn[:, 1] | np.uint64(1)).view(np.int64)
    factors.flags.writeable = False
    return factors


def dense_final(fde: Fde, repetition: int) -> Float32Array:
    """The final projection of one repetition, +-1/sqrt(d_final): (d_final, repetition_size)."""
    size = fde.d_final or 1
    drawn = signs(fde.seed, _FINAL, repetition, size * fde.repetition_size)
    drawn *= np.float32(1.0 / np.sqrt(size))
    return drawn.reshape(size, fde.repetition_size)
