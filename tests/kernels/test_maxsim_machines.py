"""Scores and encodings have the same bits on processors that have less."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cormorant.kernels import fde, maxsim
from cormorant.vectors import TokenVectors


@pytest.mark.soak  # everything is compiled anew for each
@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 processors")
@pytest.mark.parametrize("processor", ["haswell", "nehalem"])  # AVX2 and FMA; neither
def test_the_same_bits_on(processor: str, tmp_path: Path) -> None:
    environment = {"NUMBA_CPU_NAME": processor, "NUMBA_CPU_FEATURES": ""}
    done = subprocess.run(
        [sys.executable, __file__],
        env=os.environ | environment | {"NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4_000:]
    assert done.stdout.strip() == _digest()


def _digest() -> str:
    random = np.random.default_rng(5)
    starts = np.concatenate([[0], np.cumsum(random.integers(0, 60, 40))])
    vectors = random.standard_normal((starts[-1], 130)).astype(np.float32)
    vectors[::7] *= np.float32(1e-6)  # halves without a leading one
    queries = TokenVectors(np.array([0, 7, 47]), vectors[:47].copy())
    scales = (np.abs(vectors).max(axis=1) / 127).astype(np.float32)
    codes = np.rint(vectors / scales[:, None]).astype(np.int8)
    halves = vectors.astype(np.float16)
    mask = random.random(len(vectors)) < 0.7
    few = fde.Fde(130, 5, 4, 16)
    digest = hashlib.sha256()
    for tokens in (
        maxsim.tokens_of(vectors, starts),
        maxsim.tokens_of(halves, starts, mask=mask),
        maxsim.tokens_of(codes, starts, scales=scales),
    ):
        digest.update(maxsim.score(queries, tokens).tobytes())
        digest.update(maxsim.search(queries, tokens, 5).places.tobytes())
        encoded = fde.encode_documents(few, tokens, mean=vectors.mean(axis=0))
        asked = fde.sparse(few, fde.encode_queries(few, queries))
        digest.update(encoded.tobytes())
        digest.update(fde.score_sparse(asked, encoded).tobytes())
        for final in ("sketch", "dense"):
            projected = fde.Fde(130, 5, 4, 16, 100, final)
            digest.update(fde.encode_documents(projected, tokens).tobytes())
    halves[3, :3] = np.inf, np.nan, -np.inf
    scores = maxsim.score(queries, maxsim.tokens_of(halves, starts))
    digest.update(scores.tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    print(_digest())
