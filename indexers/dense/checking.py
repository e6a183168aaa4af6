"""What can be wrong inside a dense segment whose files are intact."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...contracts import Array
from ...errors import CormorantError
from . import ann, exact
from .segment import DenseSegment
from .settings import Dense

_BLOCK = 16_384
_NORM_TOLERANCE = 1e-4


def check_layout(arrays: Mapping[str, Array], numbers: Sequence[Any] = (np.float32,)) -> None:
    """Refuse arrays whose types or shapes would send a kernel beyond their end.

    ``numbers``: what vectors may be in.
    """
    types = {"rows": (np.int64,), "vectors": numbers, "cut": (np.bool_,)}
    there = {name: arrays[name] for name in types if name in arrays}
    laid_out = (
        all(name in there and there[name].dtype in own for name, own in types.items())
        and [there[name].ndim for name in types] == [1, 2, 1]
        and len({len(array) for array in there.values()}) == 1
    )
    if not laid_out:
        found = ", ".join(f"{name} {array.dtype}{array.shape}" for name, array in there.items())
        raise CormorantError(f"is no dense segment: it holds {found or 'nothing'}")


def problems_of(segment: DenseSegment, settings: Dense) -> list[str]:
    """Empty when nothing is wrong."""
    n = len(segment.rows)
    problems = []
    if np.any(np.diff(segment.rows) <= 0):
        problems.append("rows do not ascend")
    for start in range(0, n, _BLOCK):
        block = segment.vectors[start : start + _BLOCK].astype(np.float64)
        norms = np.einsum("nd,nd->n", block, block)
        if not np.isfinite(norms).all():
            problems.append("a vector is not finite")
            break
        if settings.similarity == "cosine" and np.any(np.abs(norms - 1.0) > _NORM_TOLERANCE):
            problems.append("a vector is not of length 1")
            break
    if "ann" in segment.summary and exact.has_faiss():
        problems += ann.problems_of(segment.arrays, segment.summary)
    return problems
