"""Tree attention: every version against the float64 reference; Triton interpreted and compiled.

Whether a kernel is interpreted is settled when it is decorated, so each of those checks runs this
file in a process of its own.
"""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels import tree_attention
from cormorant.kernels.tree_attention import reference

TYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
TOLERANCE = {"float32": 2e-5, "float16": 4e-3, "bfloat16": 3e-2}


def a_problem(
    seed: int, rows: int, key_heads: int, group: int, n: int, slots: int, width: int, kind: str
) -> dict:
    """Trees of ragged sizes in scattered slots; the last query of row 0 sees nothing."""
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    heads = key_heads * group
    holds = np.where(random.random((rows, slots)) < 0.7, -1, -2).astype(np.int8)
    seen = np.tile(np.eye(n, dtype=bool), (rows, 1, 1))
    for row in range(rows):
        places = random.permutation(slots)[:n]
        holds[row, places] = np.arange(n)[: len(places)]
        for node in range(1, random.integers(1, n + 1)):
            seen[row, node] |= seen[row, random.integers(0, node)]
    positions = np.tile(np.arange(slots), (rows, 1))
    query_positions = random.integers(slots // 2, slots, (rows, n))
    # Views into larger buffers, as a cache hands them out.
    keys, values = torch.randn(2, rows + 1, key_heads, slots + 3, width).to(TYPES[kind])
    bits = tree_attention.bits(seen)
    if slots > n:
        bits[0, -1] = 0
        holds[0] = np.where(holds[0] == -1, -2, holds[0])
    return {
        "queries": torch.randn(rows, heads, n, width).to(TYPES[kind]),
        "keys": keys[:rows, :, :slots],
        "values": values[:rows, :, :slots],
        "holds": torch.from_numpy(holds),
        "ancestors": torch.from_numpy(bits),
        "positions": torch.from_numpy(positions),
        "query_positions": torch.from_numpy(query_positions),
    }


def attend(problem: dict, window: int | None, scale: float, version=tree_attention.attend):
    limits = {name: problem[name] for name in ("positions", "query_positions")}
    visible = tree_attention.seen(problem["holds"], problem["ancestors"], window=window, **limits)
    parts = [problem[name] for name in ("queries", "keys", "values")]
    return version(*parts, visible, scale=scale)


def agree(
    problem: dict, window: int | None, kind: str, device: str = "cpu", version=tree_attention.attend
) -> None:
    expected = reference.attend(
        *(problem[name].float().numpy() for name in ("queries", "keys", "values")),
        problem["holds"].numpy(), problem["ancestors"].numpy(), 0.3,
        window and (window, problem["positions"].numpy(), problem["query_positions"].numpy()),
    )  # fmt: skip
    placed = {name: tensor.to(device) for name, tensor in problem.items()}
    found = attend(placed, window, 0.3, version or tree_attention.attend)
    assert found.dtype == problem["queries"].dtype
    np.testing.assert_allclose(found.float().cpu().numpy(), expected, atol=TOLERANCE[kind])


@given(
    seed=st.integers(0, 1000), rows=st.integers(1, 3), key_heads=st.integers(1, 3),
    group=st.integers(1, 4), n=st.integers(1, 9), slots=st.integers(9, 40),
    width=st.sampled_from([4, 16, 24]), kind=st.sampled_from(sorted(TYPES)),
    window=st.one_of(st.none(), st.integers(1, 30)),
)  # fmt: skip
@settings(deadline=None, max_examples=100)
def test_it_agrees_with_the_reference(seed, rows, key_heads, group, n, slots, width, kind, window):
    agree(a_problem(seed, rows, key_heads, group, n, slots, width, kind), window, kind)


def test_all_64_bits_count():
    seen = np.tril(np.ones((64, 64), bool))[None]
    bits = tree_attention.bits(seen)
    assert bits[0, 0] == 1
    assert bits[0, 63] == -1
    problem = a_problem(3, 1, 1, 1, 64, 64, 16, "float32") | {"ancestors": torch.from_numpy(bits)}
    agree(problem, None, "float32")


def test_a_query_that_sees_nothing_is_0():
    problem = a_problem(1, 1, 2, 2, 3, 8, 16, "float32")
    found = attend(problem, None, 1.0)
    assert found[0, :, -1].tolist() == [[0.0] * 16] * 4
    assert torch.isfinite(found).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keys": torch.zeros(2, 2, 7, 16)}, "keys and values"),
        ({"queries": torch.zeros(2, 3, 3, 16)}, "multiple of key heads"),
        ({"queries": torch.zeros(2, 4, 3, 16, dtype=torch.float16)}, "all float32"),
        ({"holds": torch.zeros(2, 9, dtype=torch.int8)}, "what is seen"),
        ({"holds": torch.zeros(2, 8)}, "holds is"),
        ({"ancestors": torch.zeros(2, 4, dtype=torch.int64)}, "what is seen"),
        ({"ancestors": torch.zeros(3, 4, dtype=torch.int64)}, "ancestors"),
        ({"window": 0}, "1 or more"),
        ({"window": 4, "positions": None}, "positions is"),
        ({"ancestors": torch.zeros(2, 65, dtype=torch.int64)}, "at most 64"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        problem = {"window": None} | a_problem(0, 2, 2, 2, 3, 8, 16, "float32") | change
        attend(problem, problem["window"], 1.0)


def test_interpreted_it_agrees_with_the_reference(interpreted):
    interpreted("interpret")


def test_it_compiles_for_two_generations(compiled):
    compiled("compile")


def test_on_the_gpu_it_agrees_with_the_reference(on_cuda):
    on_cuda("device")


def _versions(device: str, kinds: tuple[str, ...]) -> None:
    from cormorant.kernels.tree_attention import gpu

    gpu.LEAST_SLOTS = 40  # so that the slots are shared out
    for kind in kinds:
        for seed, shape, window in (
            (0, (2, 2, 3, 5, 70, 24), None),
            (1, (1, 1, 4, 20, 130, 16), 40),
            (2, (2, 1, 1, 1, 33, 64), None),
        ):
            if kind == "float16" and seed > 0:  # only the types differ
                continue
            agree(a_problem(seed, *shape, kind), window, kind, device, gpu.attend)


def _compile() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cormorant.kernels.tree_attention import gpu

    integers = ("n_rows", "key_heads", "group", "n", "slots", "stretch", "window")
    strides = [f"{part}_{axis}" for part in ("key", "value") for axis in ("row", "head", "slot")]
    for kind, width, rows, generation in (
        ("fp32", 64, 16, 80), ("bf16", 128, gpu.MOST_ROWS, 80), ("bf16", 128, gpu.MOST_ROWS, 90),
        ("fp32", 256, gpu.MOST_ROWS, 80),
    ):  # fmt: skip
        constants = {
            "WIDTH": width, "WINDOWED": kind == "bf16", "ROW_TILE": rows,
            "SLOT_TILE": gpu.WIDE_SLOT_TILE if width == 256 else gpu.SLOT_TILE,
            "WIDTH_TILE": width,
        }  # fmt: skip
        signature = (
            dict.fromkeys(("queries", "keys", "values"), f"*{kind}")
            | {"holds": "*i8", "ancestors": "*i64", "positions": "*i64"}
            | {"query_positions": "*i64", "sums": "*fp32", "logs": "*fp32", "scale": "fp32"}
            | dict.fromkeys(integers, "i32") | dict.fromkeys(strides, "i64")
            | dict.fromkeys(constants, "constexpr")
        )  # fmt: skip
        places = {(list(signature).index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=gpu.attend_kernel, signature=signature, constexprs=places)
        made = triton.compile(source, target=GPUTarget("cuda", generation, 32))
        assert len(made.asm["cubin"]) > 1_000
        assert made.metadata.shared <= 160 * 1024


if __name__ == "__main__":
    chosen = sys.argv[1]
    if chosen == "compile":
        _compile()
    elif chosen == "device":
        _versions("cuda", ("float32", "float16", "bfloat16"))
    else:
        _versions("cpu", ("float32", "float16"))
    print(f"{chosen} done")
