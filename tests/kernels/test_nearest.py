"""What half precision keeps holds the true best, always."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.nearest import halved, nearest
from cormorant.kernels.nearest.reference import nearest as reference


def _agree(vectors: np.ndarray, queries: np.ndarray, k: int, allowed: np.ndarray | None) -> float:
    """Hold it to the reference; returns how many places it keeps for a query on average."""
    found = nearest(halved(vectors), queries, k, allowed)
    for number, best in enumerate(reference(vectors, queries, k, allowed)):
        kept = found.places[found.starts[number] : found.starts[number + 1]]
        assert len(set(kept.tolist())) == len(kept)
        if found.doubtful[number]:
            assert len(kept) == 0
            continue
        assert set(best.tolist()) <= set(kept.tolist()), number
        assert allowed is None or allowed[kept].all()
    return len(found.places) / max(1, len(queries))


@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 700),
    st.integers(1, 40),
    st.integers(1, 30),
    st.sampled_from(["gauss", "whole", "same", "scales", "zero"]),
    st.sampled_from([None, 0.5, 0.02, 0.0]),
)
@settings(deadline=None, max_examples=120)
def test_the_true_best_are_kept(
    seed: int, rows: int, dim: int, k: int, kind: str, share: float | None
) -> None:
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((rows, dim)).astype(np.float32)
    queries = random.standard_normal((5, dim)).astype(np.float32)
    if kind == "whole":
        vectors = np.round(vectors)
    elif kind == "same":
        vectors[:] = vectors[0]
    elif kind == "scales":
        vectors *= 10.0 ** random.integers(-8, 9, (rows, 1)).astype(np.float32)
        queries[0] *= 1e15
    elif kind == "zero":
        vectors[::2], queries[1] = 0.0, 0.0
    _agree(vectors, queries, k, None if share is None else random.random(rows) < share)


@pytest.mark.parametrize(("rows", "k"), [(20_000, 10), (9_000, 300), (4_096, 1), (4_097, 2)])
def test_over_several_blocks(rows: int, k: int) -> None:
    random = np.random.default_rng(rows)
    vectors = random.standard_normal((rows, 48)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    queries = vectors[:40] + random.standard_normal((40, 48)).astype(np.float32) / 10
    assert _agree(vectors, queries, k, None) < 8 * k + 300  # it does sort out
    _agree(vectors, queries, k, random.random(rows) < 0.3)


def test_thousands_of_copies_are_left_to_float32() -> None:
    """Ten thousand copies of one vector once ran past the end of the list of candidates."""
    random = np.random.default_rng(0)
    vectors = np.repeat(random.standard_normal((3, 16)).astype(np.float32), 10_000, axis=0)
    queries = vectors[::10_000].copy()
    found = nearest(halved(vectors), queries, 10, None)
    assert found.doubtful.all()
    assert len(found.places) == 0
