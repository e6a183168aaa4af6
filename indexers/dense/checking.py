"""What can be wrong inside a dense segment whose files are intact."""

from __future__ import annotations

import numpy as np

from . import ann, exact
from .segment import DenseSegment
from .settings import Dense

_BLOCK = 16_384
_NORM_TOLERANCE = 1e-4


def problems_of(segment: DenseSegment, settings: Dense) -> list[str]:
    """Empty when nothing is wrong."""
    n = len(segment.rows)
    if segment.vectors.ndim != 2 or len(segment.vectors) != n or segment.cut.shape != (n,):
        return [f"{n} rows, vectors {segment.vectors.shape}, cut marks {segment.cut.shape}"]
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
