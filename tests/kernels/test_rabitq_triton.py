"""The Triton version of estimates: interpreted against the reference, and compiled.

See ``test_maxsim_triton``.
"""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from cormorant.kernels.rabitq import MAX_BITS, encode, record_bytes, reference


def _in_a_process(job: str, **environment: str) -> None:
    pytest.importorskip("triton", reason="Triton is for Linux only")
    done = subprocess.run(
        [sys.executable, "-W", "error::RuntimeWarning", __file__, job],
        env=os.environ | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-6_000:]
    assert done.stdout.splitlines()[-1] == f"{job} done"


def test_interpreted_it_agrees_with_the_reference() -> None:
    _in_a_process("agree", TRITON_INTERPRET="1")


def test_it_compiles_for_two_generations() -> None:
    _in_a_process("compile", TRITON_INTERPRET="0")


def test_on_the_gpu_it_agrees_with_the_reference() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    _in_a_process("device", TRITON_INTERPRET="0")


def _agree(device: str) -> None:
    import torch

    from cormorant.kernels.rabitq import gpu

    for bits in range(1, MAX_BITS + 1):
        for n, dim in ((0, 64), (1, 64), (70, 192), (130, 448)):
            random = np.random.default_rng(n + bits)
            residuals = random.standard_normal((n, dim)).astype(np.float32)
            residuals[:1] = 0.0
            query = random.standard_normal(dim).astype(np.float32)
            record = np.zeros(record_bytes(n, dim, bits), np.uint8)
            encode(residuals, bits, record)
            held, asked = torch.from_numpy(record), torch.from_numpy(query)
            found = gpu.estimate(held.to(device), n, bits, asked.to(device))
            for own, wanted in zip(found, reference.estimate(record, n, bits, query), strict=True):
                np.testing.assert_allclose(own.cpu().numpy(), wanted, rtol=1e-4, atol=1e-3)


def _compile() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cormorant.kernels.rabitq.gpu import TILE, estimate_kernel

    numbers = ("steps", "squares", "spreads", "query", "sums", "squares_out", "spreads_out")
    for generation in (80, 90):
        for bits in (1, MAX_BITS):
            constants = {"BITS": bits, "HALF": 32, "TILE": TILE}
            signature = dict.fromkeys(estimate_kernel.arg_names, "i32")
            signature |= dict.fromkeys(numbers, "*fp32") | {"codes": "*i32"}
            signature |= dict.fromkeys(constants, "constexpr")
            places = {(list(signature).index(name),): value for name, value in constants.items()}
            source = ASTSource(fn=estimate_kernel, signature=signature, constexprs=places)
            made = triton.compile(source, target=GPUTarget("cuda", generation, 32))
            assert len(made.asm["cubin"]) > 1_000
            assert made.metadata.shared <= 48 * 1024


if __name__ == "__main__":
    chosen = sys.argv[1]
    if chosen == "compile":
        _compile()
    else:
        _agree("cpu" if chosen == "agree" else "cuda")
    print(f"{chosen} done")
