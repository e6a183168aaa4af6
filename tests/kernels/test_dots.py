"""The fast inner products against the slow ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.dots import dots
from cormorant.kernels.dots.reference import dots as reference

SHAPES = st.tuples(st.integers(0, 5), st.integers(0, 9), st.integers(0, 7), st.integers(1, 70))


@given(SHAPES, st.integers(0, 2**32 - 1), st.sampled_from([1e-20, 1.0, 1e15]))
@settings(deadline=None, max_examples=150)
def test_dots_agree_with_the_reference(
    shape: tuple[int, int, int, int], seed: int, scale: float
) -> None:
    """Any shapes, missing places, equal vectors, and memory that is read-only as a file's is."""
    n, rows, k, dim = shape
    random = np.random.default_rng(seed)
    queries = (random.standard_normal((n, dim)) * scale).astype(np.float32)
    vectors = (random.standard_normal((rows, dim)) * scale).astype(np.float32)
    vectors[1::3] = vectors[:1]
    vectors.flags.writeable = bool(seed % 2)
    places = random.integers(-1, rows, (n, k)) if rows else np.full((n, k), -1)
    found, expected = dots(queries, vectors, places), reference(queries, vectors, places)
    assert found.dtype == np.float32
    assert found.shape == (n, k)
    assert np.array_equal(found == -np.inf, places < 0)
    there = places >= 0
    # Both sum in float64; orders of summing differ by far less than a float32's last place.
    bound = np.abs(queries).sum(axis=1, dtype=float).max(initial=0) * np.abs(vectors).max(initial=0)
    assert np.allclose(
        found[there], expected[there], rtol=np.finfo(np.float32).eps, atol=1e-15 * bound
    )


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
@settings(deadline=None, max_examples=50)
def test_a_score_depends_on_its_two_vectors_alone(seed: int, dim: int) -> None:
    """Not on the batch, the other places, nor where in memory the vectors lie."""
    random = np.random.default_rng(seed)
    queries = random.standard_normal((4, dim)).astype(np.float32)
    vectors = random.standard_normal((6, dim)).astype(np.float32)
    places = np.tile(np.arange(6), (4, 1))
    together = dots(queries, vectors, places)
    for query in range(4):
        for place in range(6):
            moved = np.zeros(dim * 2 + 3, np.float32)[1 + seed % 3 :][:dim]
            moved[:] = vectors[place]
            alone = dots(queries[query : query + 1], moved[None], np.zeros((1, 1), np.int64))
            assert alone[0, 0] == together[query, place]
