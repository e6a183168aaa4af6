"""The Triton kernel: interpreted, against the reference; and compiled for two kinds of GPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

AGREES = """
import numpy as np
from cormorant.kernels.bm25 import heaps
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
        gpu.SPARE = 2
        pushed = no_best(4, k)
        gpu.push(gpu.on_device(impacts, "cpu"), queries, bits, pushed)
        heaps.sort_best_first(pushed)
        np.testing.assert_array_equal(pushed.rows, best.rows)
        np.testing.assert_array_equal(pushed.scores, best.scores)
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


SEARCHES = """
import sys
from pathlib import Path
import numpy as np
import cormorant as cm
from cormorant.indexers.sparse import segment
from cormorant.kernels.postings import dispatch, gpu
from cormorant.vectors import SparseVectors

random = np.random.default_rng(0)
lengths = random.integers(1, 9, 300)
starts = np.concatenate([[0], np.cumsum(lengths)])
terms = np.concatenate([np.sort(random.choice(40, n, replace=False)) for n in lengths])
vectors = SparseVectors(starts, terms, random.integers(1, 5, len(terms)).astype(np.float32))
asked = SparseVectors(np.arange(0, 61, 6), random.permuted(
    np.tile(np.arange(40), (10, 1)), axis=1)[:, :6].ravel(), np.ones(60, np.float32))
documents = [cm.Document(id=str(i), text="", metadata={"odd": i % 2}) for i in range(300)]
calls = []
place, push = gpu.on_device, gpu.push
dispatch.has_device = lambda: True
gpu.on_device = lambda impacts, _: place(impacts, "cpu")
gpu.push = lambda *rest: (calls.append(1), push(*rest))
with cm.Collection.create(Path(sys.argv[1]) / "own.cm", {"sparse": cm.Sparse()}) as own:
    own.add(documents, vectors={"sparse": vectors})
    own.merge()
    own.delete([str(i) for i in range(0, 300, 7)])
    for chosen in (None, {"odd": 1}):
        answers = []
        for device in (False, True):
            segment.FOR_A_DEVICE = 8 if device else 1_000
            calls.clear()
            found = own.search_batch(vectors=asked, k=7, pipeline="sparse", filter=chosen)
            answers.append([[(hit.id, hit.score) for hit in result] for result in found])
            assert bool(calls) == device
        assert answers[0] == answers[1]
print("same")
"""


@pytest.mark.parametrize(("script", "interpret"), [(AGREES, "1"), (COMPILES, "0"), (SEARCHES, "1")])
def test_triton(script: str, interpret: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    environment = os.environ | {
        "TRITON_INTERPRET": interpret,
        "TRITON_CACHE_DIR": str(tmp_path),
        "PYTHONPATH": str(Path(__file__).parent),
    }
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "same"
