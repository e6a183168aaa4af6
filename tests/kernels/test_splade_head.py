"""The SPLADE head: every version against the float64 reference; memory; gradients; Triton."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels import splade_head
from cormorant.kernels.splade_head import cpu, reference

TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
TOLERANCE = {"float32": 1e-5, "bfloat16": 2**-7, "float16": 1e-5}
"""Relative to the largest product; bfloat16's are rounded once to 8 bits."""


def _problem(lengths: list[int], vocabulary: int, dim: int, seed: int, dtype: torch.dtype):
    random = torch.Generator().manual_seed(seed)
    hidden = torch.randn(sum(lengths), dim, generator=random).to(dtype)
    weight = torch.randn(vocabulary, dim, generator=random).to(dtype)
    bias = torch.randn(vocabulary, generator=random)
    starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int64)
    return hidden, starts, weight, bias


def _expected(hidden, starts, weight, bias):
    return reference.maxima(
        hidden.float().numpy(),
        starts.numpy(),
        weight.float().numpy(),
        None if bias is None else bias.numpy(),
    )


@given(
    lengths=st.lists(st.integers(0, 20), min_size=0, max_size=6),
    vocabulary=st.integers(1, 40),
    dim=st.integers(1, 9),
    seed=st.integers(0, 1000),
    kind=st.sampled_from(sorted(TYPES)),
    with_bias=st.booleans(),
    activation=st.sampled_from(splade_head.ACTIVATIONS),
)
@settings(deadline=None, max_examples=150)
def test_weights_are_the_references(lengths, vocabulary, dim, seed, kind, with_bias, activation):
    hidden, starts, weight, bias = _problem(lengths, vocabulary, dim, seed, TYPES[kind])
    bias = bias if with_bias else None
    largest, places = splade_head.maxima(hidden, starts, weight, bias)
    expected, _ = _expected(hidden, starts, weight, bias)
    scale = 1 + float(np.abs(expected[np.isfinite(expected)]).max(initial=0))
    np.testing.assert_allclose(largest, expected, rtol=0, atol=TOLERANCE[kind] * scale)
    # The place named holds a largest product, up to the type's rounding.
    for text in range(len(lengths)):
        for term in range(vocabulary):
            place = int(places[text, term])
            assert (place == -1) == (lengths[text] == 0)
            if place >= 0:
                assert starts[text] <= place < starts[text + 1]
                there = float(hidden[place].double() @ weight[term].double())
                there += 0.0 if bias is None else float(bias[term])
                assert there >= expected[text, term] - TOLERANCE[kind] * scale
    found = splade_head.weights(hidden, starts, weight, bias, activation)
    wanted = reference.weights(
        hidden.float().numpy(),
        starts.numpy(),
        weight.float().numpy(),
        None if bias is None else bias.numpy(),
        activation,
    )
    np.testing.assert_allclose(found, wanted, rtol=0, atol=TOLERANCE[kind] * scale)


@pytest.mark.parametrize("kind", sorted(TYPES))
def test_of_equal_products_the_first_token_counts(kind):
    hidden = torch.tensor([[1.0], [2.0], [2.0], [-1.0], [-1.0]]).to(TYPES[kind])
    weight = torch.tensor([[1.0], [-1.0], [0.0]]).to(TYPES[kind])
    largest, places = splade_head.maxima(hidden, torch.tensor([0, 3, 5]), weight, None)
    assert largest.tolist() == [[2, -1, 0], [-1, 1, 0]]
    assert places.tolist() == [[1, 0, 0], [3, 3, 3]]


@pytest.mark.parametrize("kind", ["float32", "bfloat16"])
def test_chunks_do_not_change_a_weight(kind, monkeypatch):
    problem = _problem([7, 0, 30, 1, 12], 50, 8, 3, TYPES[kind])
    whole = splade_head.maxima(*problem)
    monkeypatch.setattr(cpu, "CHUNK_TERMS", 7)
    monkeypatch.setattr(cpu, "CHUNK_TOKENS", 5)
    for ours, theirs in zip(splade_head.maxima(*problem), whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)


def test_neighbours_in_the_batch_do_not_change_a_text():
    hidden, starts, weight, bias = _problem([9, 4, 13], 60, 8, 5, torch.float32)
    together, _ = splade_head.maxima(hidden, starts, weight, bias)
    for text in range(3):
        own = hidden[starts[text] : starts[text + 1]]
        alone, _ = splade_head.maxima(own, torch.tensor([0, len(own)]), weight, bias)
        torch.testing.assert_close(alone[0], together[text], rtol=1e-6, atol=1e-6)


PEAK = """
import resource, torch
from cormorant.kernels import splade_head
torch.set_num_threads(1)
hidden = torch.randn(64 * 256, 64).bfloat16()
weight = torch.randn(30000, 64).bfloat16()
starts = torch.arange(0, 64 * 256 + 1, 256)
splade_head.maxima(hidden[:256], starts[:2], weight, None)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = splade_head.maxima(hidden, starts, weight, None)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""


def test_peak_memory_is_the_answer_and_a_chunk_of_products():
    """16,384 tokens x 30,000 terms would be 983 MB in bfloat16; the answer is 15 MB."""
    grown = int(_python(PEAK).stdout)
    answer = 64 * 30000 * 8
    assert grown < answer + 64e6


@pytest.mark.parametrize("activation", splade_head.ACTIVATIONS)
def test_gradients_are_plain_autograds(activation):
    hidden, starts, weight, bias = _problem([6, 0, 11, 1], 40, 8, 1, torch.float32)
    upstream = torch.randn(4, 40, generator=torch.Generator().manual_seed(2))
    grads = []
    for kernel in (True, False):
        inputs = [part.clone().requires_grad_() for part in (hidden, weight, bias)]
        if kernel:
            found = splade_head.weights(inputs[0], starts, inputs[1], inputs[2], activation)
        else:
            logits = inputs[0] @ inputs[1].T + inputs[2]
            rows = [
                logits[starts[text] : starts[text + 1]].amax(0).relu()
                if starts[text] < starts[text + 1]
                else torch.zeros(40)
                for text in range(4)
            ]
            found = torch.stack(rows).log1p()
            found = found.log1p() if activation == "log1p_log1p" else found
        (found * upstream).sum().backward()
        grads.append([part.grad for part in inputs])
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_gradient_by_finite_differences():
    hidden, starts, weight, bias = _problem([5, 3], 12, 4, 8, torch.float32)
    upstream = torch.randn(2, 12, generator=torch.Generator().manual_seed(3))

    def value(moved: torch.Tensor) -> float:
        expected = reference.weights(
            moved.double().numpy(), starts.numpy(), weight.numpy(), bias.numpy(), "log1p"
        )
        return float((expected * upstream.double().numpy()).sum())

    free = hidden.clone().requires_grad_()
    (splade_head.weights(free, starts, weight, bias, "log1p") * upstream).sum().backward()
    assert free.grad is not None
    for place in [(0, 0), (3, 1), (6, 2), (7, 3)]:
        step = torch.zeros_like(hidden, dtype=torch.float64)
        step[place] = 1e-6
        slope = (value(hidden.double() + step) - value(hidden.double() - step)) / 2e-6
        assert slope == pytest.approx(float(free.grad[place]), abs=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden": torch.full((3, 4), torch.nan)}, "not finite"),
        ({"hidden": torch.full((3, 4), torch.inf)}, "not finite"),
        ({"hidden": torch.zeros(3, 5)}, "dim"),
        ({"weight": torch.zeros(6, 4, dtype=torch.bfloat16)}, "both float32"),
        ({"starts": torch.tensor([0, 2])}, "ascend from 0"),
        ({"starts": torch.tensor([0, 5, 3])}, "ascend from 0"),
        ({"starts": torch.tensor([0, 3], dtype=torch.int32)}, "int64"),
        ({"bias": torch.zeros(5)}, "bias"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    given = {
        "hidden": torch.zeros(3, 4),
        "starts": torch.tensor([0, 3]),
        "weight": torch.zeros(6, 4),
        "bias": torch.zeros(6),
    }
    with pytest.raises(ValueError, match=message):
        splade_head.maxima(**(given | change))


def test_an_unknown_activation_is_refused():
    with pytest.raises(ValueError, match="log1p, log1p_log1p"):
        splade_head.activate(torch.zeros(1, 1), "gelu")


INTERPRETED = """
import numpy as np, torch
from cormorant.kernels.splade_head import gpu, reference
random = torch.Generator().manual_seed(4)
for dtype in (torch.float32, torch.float16):
    for lengths, vocabulary, dim in (([5, 0, 80, 1], 150, 40), ([], 5, 8), ([64, 65], 128, 32)):
        hidden = torch.randn(sum(lengths), dim, generator=random).to(dtype)
        weight = torch.randn(vocabulary, dim, generator=random).to(dtype)
        weight[1] = weight[0]
        if len(hidden) > 70:
            hidden[70] = hidden[6]
        starts = torch.tensor(np.concatenate([[0], np.cumsum(lengths)]), dtype=torch.int64)
        for bias in (torch.randn(vocabulary, generator=random), None):
            found, places = gpu.maxima(hidden, starts, weight, bias)
            expected, expected_places = reference.maxima(
                hidden.float().numpy(), starts.numpy(), weight.float().numpy(),
                None if bias is None else bias.numpy(),
            )
            np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)
            assert (places.numpy() != expected_places).sum() <= 0.001 * places.numel()
print("same")
"""

COMPILED = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from cormorant.kernels.splade_head import gpu
constants = {"WITH_BIAS": True, "BLOCK_TOKENS": gpu.BLOCK_TOKENS, "BLOCK_TERMS": gpu.BLOCK_TERMS,
             "BLOCK_DIM": gpu.BLOCK_DIM}
for capability in (80, 90):
    for kind in ("fp32", "bf16", "fp16"):
        signature = {"hidden": "*" + kind, "starts": "*i64", "weight": "*" + kind, "bias": "*fp32",
                     "largest": "*fp32", "places": "*i32", "vocabulary": "i32", "dim": "i32"}
        signature |= dict.fromkeys(constants, "constexpr")
        source = ASTSource(fn=gpu.maxima_kernel, signature=signature, constexprs=constants)
        compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32))
        assert len(compiled.asm["cubin"]) > 1000
print("compiled")
"""


def test_triton_in_its_interpreter_is_the_reference():
    pytest.importorskip("triton", reason="Triton is for Linux")
    assert _python(INTERPRETED, TRITON_INTERPRET="1").stdout.strip() == "same"


def test_triton_compiles_for_sm_80_and_sm_90():
    pytest.importorskip("triton", reason="Triton is for Linux")
    assert _python(COMPILED).stdout.strip() == "compiled"


def test_tensors_on_a_gpu_go_to_triton(monkeypatch):
    """The dispatch, with a stand-in for the kernel: there need be no GPU here."""
    pytest.importorskip("triton", reason="Triton is for Linux")
    from cormorant.kernels.splade_head import checking, gpu

    class OnGpu:
        device = torch.device("cuda")

    monkeypatch.setattr(checking, "check", lambda *_: None)
    monkeypatch.setattr(gpu, "maxima", lambda *_: ("went", "there"))
    assert splade_head.maxima(OnGpu(), None, None, None) == ("went", "there")


def _python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1", **environment},
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr
    return done
