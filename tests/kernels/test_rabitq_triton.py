"""The Triton version of estimates: interpreted against the reference, and compiled.

See ``test_maxsim_triton``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np

from cormorant.kernels.rabitq import MAX_BITS, encode, record_bytes, reference


def test_interpreted_it_agrees_with_the_reference(interpreted: Callable[[str], None]) -> None:
    interpreted("agree")


def test_it_compiles_for_two_generations(compiled: Callable[[str], None]) -> None:
    compiled("compile")


def test_on_the_gpu_it_agrees_with_the_reference(on_cuda: Callable[[str], None]) -> None:
    on_cuda("device")


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
