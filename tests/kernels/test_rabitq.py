"""Codes that estimate distances, against the specification and against the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.rabitq import (
    MAX_BITS,
    QUERY_BITS,
    encode,
    estimate,
    padded,
    record_bytes,
    reference,
    rotate,
    signs_for,
)
from cormorant.kernels.rabitq.layout import HEAD_BYTES

SEEDS = st.integers(0, 2**32 - 1)
WIDTHS = st.sampled_from([64, 128, 192, 448])
BITS = st.integers(1, MAX_BITS)


def encoded(residuals: np.ndarray, bits: int) -> np.ndarray:
    record = np.zeros(record_bytes(*residuals.shape, bits), np.uint8)
    encode(residuals, bits, record)
    return record


@given(WIDTHS, SEEDS)
@settings(deadline=None, max_examples=30)
def test_a_rotation_is_the_matrix_and_keeps_lengths(dim: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).standard_normal((5, dim)).astype(np.float32)
    signs = signs_for(dim, seed)
    turned = vectors.copy()
    rotate(turned, signs)
    assert np.allclose(turned, reference.rotated(vectors, signs), atol=1e-4)
    assert np.allclose(turned @ turned.T, vectors @ vectors.T, atol=1e-3)


def test_a_rotation_spreads_one_number_over_all() -> None:
    turned = np.zeros((1, 448), np.float32)
    turned[0, 3] = 1.0
    rotate(turned, signs_for(448, 1))
    assert np.count_nonzero(np.abs(turned) > 1e-3) > 400
    assert np.abs(turned).max() < 0.3


@given(WIDTHS, BITS, st.integers(0, 9), SEEDS)
@settings(deadline=None, max_examples=60)
def test_an_estimate_is_the_specifications(dim: int, bits: int, n: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    residuals = random.standard_normal((n, dim)).astype(np.float32) * random.uniform(1e-6, 1e6)
    query = random.standard_normal(dim).astype(np.float32) * random.uniform(1e-6, 1e6)
    record = encoded(residuals, bits)
    squares, spreads = np.zeros(n, np.float32), np.zeros(n, np.float32)
    estimate(record, n, bits, query, squares, spreads)
    wanted, wide = reference.estimate(record, n, bits, query)
    assert np.allclose(spreads, wide, rtol=1e-3, atol=0)
    # The query's rounding: half a step in each number, at random.
    step = (query.max() - query.min()) / (2**QUERY_BITS - 1)
    held = reference.read(record, n, dim, bits)
    noise = held.steps * np.linalg.norm(held.points, axis=1) * step
    size = held.squares + float(query @ query)
    assert np.all(np.abs(squares - wanted) <= 2 * 5 * noise + 1e-5 * size)


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_the_error_is_as_wide_as_is_said(bits: int) -> None:
    random = np.random.default_rng(bits)
    residuals = random.standard_normal((4000, 128)).astype(np.float32)
    query = random.standard_normal(128).astype(np.float32)
    squares, spreads = np.zeros(4000, np.float32), np.zeros(4000, np.float32)
    estimate(encoded(residuals, bits), 4000, bits, query, squares, spreads)
    true = ((residuals - query) ** 2).sum(axis=1)
    apart = (squares - true) / spreads
    assert abs(apart.mean()) < 0.1
    assert 0.8 < apart.std() < 1.2
    assert np.abs(apart).max() < 6


def test_more_bits_say_more() -> None:
    random = np.random.default_rng(0)
    residuals = random.standard_normal((500, 192)).astype(np.float32)
    query = random.standard_normal(192).astype(np.float32)
    widths = []
    for bits in range(1, MAX_BITS + 1):
        squares, spreads = np.zeros(500, np.float32), np.zeros(500, np.float32)
        estimate(encoded(residuals, bits), 500, bits, query, squares, spreads)
        widths.append(float(spreads.mean()))
    assert all(later < 0.65 * earlier for earlier, later in zip(widths, widths[1:], strict=False))


def test_a_code_is_nearly_the_best_point_of_the_grid() -> None:
    """Cosines of code and vector for Gaussian vectors, as the grids' theory has them."""
    residuals = np.random.default_rng(3).standard_normal((300, 448)).astype(np.float32)
    for bits, least in ((1, 0.79), (2, 0.935), (3, 0.98), (4, 0.993)):
        points = reference.read(encoded(residuals, bits), 300, 448, bits).points
        cosines = (points * residuals).sum(axis=1)
        cosines /= np.linalg.norm(points, axis=1) * np.linalg.norm(residuals, axis=1)
        assert cosines.mean() > least


@pytest.mark.parametrize("bits", range(1, MAX_BITS + 1))
def test_a_residual_of_zero_and_a_query_on_the_centroid(bits: int) -> None:
    residuals = np.zeros((2, 64), np.float32)
    residuals[1, 5] = 3.0
    record = encoded(residuals, bits)
    squares, spreads = np.zeros(2, np.float32), np.zeros(2, np.float32)
    query = np.ones(64, np.float32)
    estimate(record, 2, bits, query, squares, spreads)
    assert squares[0] == 64.0
    assert spreads[0] == 0.0
    estimate(record, 2, bits, np.zeros(64, np.float32), squares, spreads)
    assert squares.tolist() == [0.0, 9.0]
    assert spreads.tolist() == [0.0, 0.0]


def test_places_are_left_alone_and_bytes_repeat() -> None:
    residuals = np.random.default_rng(1).standard_normal((3, 64)).astype(np.float32)
    record = np.full(record_bytes(3, 64, 2), 255, np.uint8)
    encode(residuals, 2, record)
    assert record[:12].tolist() == [255] * 12
    again = np.zeros_like(record)
    again[:12] = 255
    encode(residuals, 2, again)
    assert record.tobytes() == again.tobytes()
    assert len(record) == 3 * (HEAD_BYTES + 2 * 8)
    assert [padded(dim) for dim in (1, 64, 65, 384)] == [64, 64, 128, 384]
