"""The Triton version of the encodings: interpreted against the reference, and compiled.

See ``test_maxsim_triton``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.kernels import fde, maxsim
from cormorant.kernels.fde import reference

ENCODINGS = [
    fde.Fde(16, 3, 3, 8, seed=1),
    fde.Fde(12, 0, 2, None, seed=2),
    fde.Fde(40, 4, 1, None, seed=3),
    fde.Fde(24, 7, 1, 20, seed=4),
    fde.Fde(24, 4, 2, 7, 33, "dense", seed=5),
    fde.Fde(24, 7, 9, 16, 64, seed=6),
]


def test_interpreted_it_agrees_with_the_reference(interpreted: Callable[[str], None]) -> None:
    interpreted("agree")


def test_it_compiles_for_two_generations(compiled: Callable[[str], None]) -> None:
    compiled("compile")


def test_on_the_gpu_it_agrees_with_the_reference(on_cuda: Callable[[str], None]) -> None:
    on_cuda("device")


def _agree(device: str) -> None:
    from cormorant.kernels.fde import gpu as fde_gpu
    from cormorant.kernels.maxsim import gpu

    for number, parameters in enumerate(ENCODINGS):
        random = np.random.default_rng(number)
        lengths = random.integers(0, 50, 5)
        lengths[1] = 0
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        vectors = random.standard_normal((starts[-1], parameters.dim)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        mask = random.random(len(vectors)) < 0.6 if number % 2 else None
        if mask is not None:
            mask[starts[3] : starts[4]] = False
        mean = vectors.mean(axis=0) if number % 3 else None
        tokens = maxsim.tokens_of(vectors, starts, mask=mask)
        placed = gpu.on_device(tokens, device)
        fde_gpu.TOKENS = 90  # so that documents come in several batches
        for filled in (True, False):
            np.testing.assert_allclose(
                fde.encode_documents(parameters, placed, mean=mean, filled=filled),
                reference.documents(parameters, tokens, mean, filled),
                atol=2e-5,
            )
        if number == 0:
            batches = _batches(fde_gpu, parameters, placed)
            assert max(batches) > 1 and sum(batches) == 5
            fde_gpu.NUMBERS = 1  # less than a text has: one at a time
            assert _batches(fde_gpu, parameters, placed) == [1] * 5
            fde_gpu.NUMBERS = 1 << 27
    scales = np.full(len(vectors), 0.01, np.float32)
    for tokens in (
        maxsim.tokens_of(vectors.astype(np.float16), starts),
        maxsim.tokens_of((vectors.view(np.uint32) >> 16).astype(np.uint16), starts),
        maxsim.tokens_of(np.rint(vectors * 100).astype(np.int8), starts, scales=scales),
    ):
        for filled in (True, False):
            np.testing.assert_allclose(
                fde.encode_documents(parameters, gpu.on_device(tokens, device), filled=filled),
                reference.documents(parameters, tokens, None, filled),
                atol=2e-5,
            )
    vectors[2, 1] = np.inf
    broken = gpu.on_device(maxsim.tokens_of(vectors, starts), device)
    with pytest.raises(InputError, match="finite"):
        fde.encode_documents(parameters, broken)


def _batches(gpu: Any, parameters: fde.Fde, tokens: Any) -> list[int]:
    """How many texts each batch has."""
    seen: list[int] = []
    real = gpu._batch

    def noted(fde: Any, tokens: Any, mean: Any, filled: Any, first: int, last: int) -> Any:
        seen.append(last - first)
        return real(fde, tokens, mean, filled, first, last)

    gpu._batch = noted
    fde.encode_documents(parameters, tokens)
    gpu._batch = real
    return seen


def _compile() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cormorant.kernels.fde.gpu import TOKEN_TILE, cells_kernel
    from cormorant.kernels.fde.settings import TIE_BITS

    shapes = ((3, 16, 16), (5, 32, 16), (12, 64, 32))  # Muvera's own, Fde's own, the largest
    for (bits, cell_tile, width_tile), filled, generation in product(
        shapes, (False, True), (80, 90)
    ):
        constants = {
            "FILLED": filled, "BITS": bits, "TIE_BITS": TIE_BITS, "CELL_TILE": cell_tile,
            "TOKEN_TILE": TOKEN_TILE, "WIDTH_TILE": width_tile,
        }  # fmt: skip
        signature = {
            "numbers": "*i32", "ties": "*i64", "projected": "*fp32", "starts": "*i64",
            "encodings": "*fp32",
            "n_repetitions": "i32", "projected_stride": "i32", "repetition_step": "i32",
            "width": "i32", "cells": "i32",
        } | dict.fromkeys(constants, "constexpr")  # fmt: skip
        places = {(list(signature).index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=cells_kernel, signature=signature, constexprs=places)
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
