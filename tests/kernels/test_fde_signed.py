"""Products with columns of signs have the bits of their definition, on lesser processors too."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.fde import signed

SHAPES = [(1, 1, 1), (3, 7, 5), (4, 4, 16), (16, 5, 33), (24, 41, 70), (131, 6, 320), (384, 3, 112)]


def _drawn(seed: int, dim: int, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    tokens = np.zeros((rows, -(-dim // 4) * 4), np.float32)
    tokens[:, :dim] = random.standard_normal((rows, dim)) * 10.0 ** random.integers(-9, 9, dim)
    tokens[:, :dim][random.random((rows, dim)) < 0.1] = 0
    tokens[rows // 2 :, : dim // 2 * 2 : 2] = tokens[rows // 2 :, 1 : dim // 2 * 2 : 2]  # sums of 0
    return tokens, random.choice(np.array([-1, 1], np.float32), (columns, dim))


def _products(tokens: np.ndarray, signs: np.ndarray, scale: np.float32) -> np.ndarray:
    held = signed.packed_signs(signs)
    out = np.full((len(tokens), len(held) * 16), np.nan, np.float32)
    signed.project(
        len(tokens), tokens.ctypes.data, tokens.shape[1], held, scale,
        signed.tables_for(signs.shape[1]), out.ctypes.data,
    )  # fmt: skip
    return out[:, : len(signs)].view(np.int32)


def _defined(tokens: np.ndarray, signs: np.ndarray, scale: np.float32) -> np.ndarray:
    filled = np.ones((len(signs), tokens.shape[1]), np.float32)
    filled[:, : signs.shape[1]] = signs
    parts = tokens[:, None] * filled
    total = np.zeros(parts.shape[:2], np.float32)
    for i in range(0, tokens.shape[1], 4):
        total += ((parts[:, :, i] + parts[:, :, i + 1]) + parts[:, :, i + 2]) + parts[:, :, i + 3]
    return (total * scale).view(np.int32)


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 13), st.integers(1, 130))
@settings(deadline=None, max_examples=60)
def test_products_are_the_definitions(seed: int, dim: int, rows: int, columns: int) -> None:
    tokens, signs = _drawn(seed, dim, rows, columns)
    scale = np.float32(1 / np.sqrt(columns))
    assert np.array_equal(_products(tokens, signs, scale), _defined(tokens, signs, scale))


@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(0, 70))
@settings(deadline=None, max_examples=60)
def test_signs_come_out_as_they_went_in(seed: int, dim: int, columns: int) -> None:
    _, signs = _drawn(seed, dim, 1, columns)
    assert np.array_equal(signed.unpacked_signs(signed.packed_signs(signs), columns, dim), signs)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
@pytest.mark.parametrize(("features", "entries"), [("+avx2,+fma", 8), ("", 0)])
def test_products_are_the_definitions_on_lesser_processors(
    features: str, entries: int, tmp_path: Path
) -> None:
    environment = {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": features}
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | environment | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.split() == [str(entries), "done"]


if __name__ == "__main__":
    for dim, rows, columns in SHAPES:
        tokens, signs = _drawn(dim, dim, rows, columns)
        scale = np.float32(1 / np.sqrt(columns))
        assert np.array_equal(
            signed.unpacked_signs(signed.packed_signs(signs), columns, dim), signs
        )
        assert np.array_equal(_products(tokens, signs, scale), _defined(tokens, signs, scale))
    print(signed.entries(), "done")
