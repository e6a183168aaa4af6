"""Pair scorers at the edge: what they return is checked, and what they are has a name."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contracts import Float32Array
from ...errors import CormorantError
from ...stages import PairScorer


def scored_pairs(scorer: PairScorer, pairs: Sequence[tuple[str, str]]) -> Float32Array:
    """The scores of pairs, (n,) float32, as the scorer gave them: NaN is the caller's to judge.

    Raises :class:`~cormorant.errors.CormorantError` where their number is another.
    """
    scores = np.asarray(scorer.score_pairs(pairs), np.float32)
    if scores.shape != (len(pairs),):
        raise CormorantError(
            f"the scorer was given {len(pairs)} pairs and returned scores of shape {scores.shape}"
        )
    return scores


def identity_of(scorer: PairScorer) -> str:
    """Names what decides its scores: its own ``identity``, or a digest of its settings."""
    known: Any = getattr(scorer, "identity", None)
    if isinstance(known, str):
        return known
    return hashlib.sha256(repr(scorer).encode()).hexdigest()[:16]
