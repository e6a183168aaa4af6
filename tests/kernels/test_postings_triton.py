"""The Triton kernel: interpreted, against the reference; and compiled for two kinds of GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGREES = """
import numpy as np
from cormorant.kernels.postings import gpu, reference
from cormorant.kernels.postings.layout import EXACT, no_best
from test_postings import NO_BITS, documents_of, impacts_of, queries_of
import torch

random = np.random.default_rng(3)
for n, shape, k in ((0, "plain", 3), (1, "plain", 3), (130, "ties", 5), (300, "repeated", 400)):
    impacts = impacts_of(*documents_of(random, n, 30, shape), 30, 2 * np.arange(n))
    queries = queries_of(random, 4, 30)
    for through in (None, random.random(n) < 0.5):
        bits = NO_BITS
        if through is not None and n:
            padded = np.zeros((n + 63) // 64 * 64, np.bool_)
            padded[:n] = through
            bits = np.packbits(padded, bitorder="little").view(np.uint64)
        best = no_best(4, k)
        reference.search(impacts, queries, EXACT, bits, best)
        mask = None if through is None else torch.from_numpy(through.astype(np.uint8))
        rows, scores = gpu.search(gpu.on_device(impacts, "cpu"), queries, k, mask)
        np.testing.assert_array_equal(rows.numpy(), best.rows)
        np.testing.assert_allclose(scores.numpy(), best.scores, rtol=2e-7)
print("same")
"""

COMPILES = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from cormorant.kernels.postings import gpu

types = {
    "starts": "*i64", "terms": "*i32", "weights": "*fp32", "asked": "*fp32", "allowed": "*u8",
    "keys": "*i64", "n_documents": "i64", "n_terms": "i64",
}
for masked in (True, False):
    sizes = {"MASKED": masked, "DOCUMENTS": gpu.DOCUMENTS, "TERMS": gpu.TERMS, "KEPT": 16}
    signature = types | {name: "constexpr" for name in sizes}
    if not masked:
        signature["allowed"] = "*i64"
    for architecture in (80, 90):
        places = {(list(signature).index(name),): value for name, value in sizes.items()}
        source = ASTSource(gpu.score_kernel, signature, constexprs=places)
        made = triton.compile(source, target=GPUTarget("cuda", architecture, 32))
        assert len(made.asm["cubin"]) > 0
print("same")
"""


@pytest.mark.parametrize(("script", "interpret"), [(AGREES, "1"), (COMPILES, "0")])
def test_triton(script: str, interpret: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = os.environ | {
        "TRITON_INTERPRET": interpret,
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"
