"""Squared distances as scores, against the specification."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.distances import distances, reference


@given(st.integers(0, 5), st.integers(1, 70), st.integers(0, 9), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_any_shape(n_queries: int, dim: int, k: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    queries = (random.standard_normal((n_queries, dim)) * 1e3).astype(np.float32)
    vectors = random.standard_normal((20, dim)).astype(np.float32)
    places = random.integers(-1, 20, (n_queries, k))
    found = distances(queries, vectors, places)
    assert found.dtype == np.float32
    assert np.allclose(found, reference.distances(queries, vectors, places), rtol=1e-6)
    assert np.all((found == -np.inf) == (places < 0))


def test_a_vector_is_at_no_distance_of_itself() -> None:
    vectors = np.random.default_rng(0).standard_normal((4, 33)).astype(np.float32)
    assert distances(vectors, vectors, np.arange(4)[:, None]).tolist() == [[0.0]] * 4
