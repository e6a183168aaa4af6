"""Prompts of different lengths in one prefill: a shared beginning once, the rest in full bins.

Prepacking (Zhao et al. 2024, arXiv 2404.09529): several short prompts stand in one row of the
batch, each with its own positions and blind to the others, instead of padding to the longest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ....contracts import BoolArray, Int64Array

SHARED, PADDING = -1, -2

_LEAST_SHARED = 16
"""A shared beginning shorter than this is computed with each prompt: a forward costs more."""


class Place(NamedTuple):
    """Where a prompt's own tokens stand: in which bin, and from which of its columns."""

    bin: int
    column: int


class Packed(NamedTuple):
    """Bins (bins, columns) of the prompts' tokens behind their first ``shared``."""

    shared: int
    tokens: Int64Array
    positions: Int64Array
    segments: Int64Array
    places: tuple[Place, ...]


def pack(prompts: Sequence[Int64Array]) -> Packed:
    """First fit, the longest first, into bins as long as the longest prompt."""
    shared = shared_beginning(prompts)
    own = [prompt[shared:] for prompt in prompts]
    columns = max(map(len, own))
    filled: list[int] = []
    places = [Place(0, 0)] * len(own)
    for row in sorted(range(len(own)), key=lambda row: -len(own[row])):
        length = len(own[row])
        fitting = (number for number, used in enumerate(filled) if used + length <= columns)
        number = next(fitting, len(filled))
        if number == len(filled):
            filled.append(0)
        places[row] = Place(number, filled[number])
        filled[number] += length
    tokens = np.zeros((len(filled), columns), np.int64)
    positions = np.zeros_like(tokens)
    segments = np.full_like(tokens, PADDING)
    for row, place in enumerate(places):
        here = (place.bin, slice(place.column, place.column + len(own[row])))
        tokens[here] = own[row]
        positions[here] = np.arange(shared, shared + len(own[row]))
        segments[here] = row
    return Packed(shared, tokens, positions, segments, tuple(places))


def shared_beginning(prompts: Sequence[Int64Array]) -> int:
    """How many tokens all prompts begin with, their last one left out; 0 where it does not pay."""
    if len(prompts) < 2:
        return 0
    length = min(map(len, prompts)) - 1
    block = np.stack([prompt[:length] for prompt in prompts])
    differs = np.flatnonzero((block != block[0]).any(axis=0))
    common = int(differs[0]) if len(differs) else length
    return common if common >= _LEAST_SHARED else 0


def seen(packed: Packed, first: int, last: int) -> BoolArray:
    """(bins, last - first, shared + last): what the columns [first, last) attend to."""
    shared = np.full((len(packed.tokens), packed.shared), SHARED)
    keys = np.concatenate([shared, packed.segments[:, :last]], axis=1)
    queries = packed.segments[:, first:last, None]
    columns = np.arange(keys.shape[1])
    before = columns <= packed.shared + np.arange(first, last)[:, None]
    result: BoolArray = ((keys[:, None] == queries) | (keys[:, None] == SHARED)) & before
    return result
