"""Accepting drafts: Triton's version against the reference, and the reference against the laws."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from cormorant.kernels import acceptance
from cormorant.kernels.acceptance.checking import deepest


def a_problem(seed: int, rows: int, n: int, vocabulary: int) -> dict:
    """Trees with padding, siblings that differ, laws of some nodes; some laws share the target's
    zeros, and some are the target's own."""
    random = np.random.default_rng(seed)
    parents = np.full((rows, n), -2, np.int64)
    tokens = np.zeros((rows, n), np.int64)
    target = random.gamma(0.3, size=(rows, n + 1, vocabulary)).astype(np.float32)
    target[random.random(target.shape) < 0.3] = 0
    target[..., 0] += 1e-3
    laws = random.gamma(0.3, size=(rows, n, vocabulary)).astype(np.float32) + np.float32(1e-6)
    laws /= laws.sum(axis=2, keepdims=True)
    for row in range(rows):
        taken: set[tuple[int, int]] = set()
        for node in range(random.integers(0, n + 1)):
            parent = int(random.integers(-1, node)) if node else -1
            token = int(random.integers(vocabulary))
            if (parent, token) in taken:
                break
            taken.add((parent, token))
            parents[row, node], tokens[row, node] = parent, token
            first = next(c for c in range(node + 1) if parents[row, c] == parent)
            laws[row, node] = laws[row, first]
    for row in range(rows):
        if random.random() < 0.2:
            laws[row, parents[row] == -1] = target[row, 0] / target[row, 0].sum() + 1e-9
        for node in range(n):
            if random.random() < 0.3:
                laws[row, node] = 0
    noise = -np.log(-np.log(random.random((rows, 1 + deepest(parents), vocabulary))))
    return {
        "target": torch.from_numpy(target), "laws": torch.from_numpy(laws), "tokens": tokens,
        "parents": parents, "coins": random.random((rows, n)),
        "noise": torch.from_numpy(noise.astype(np.float32)),
    }  # fmt: skip


def agree(problem: dict, rule: str, version, device: str) -> int:
    """Returns how many nodes were accepted."""
    expected = acceptance.accept(**problem, rule=rule)
    placed = {
        name: part.to(device) if isinstance(part, torch.Tensor) else part
        for name, part in problem.items()
    }
    found = version(**placed, rule=rule)
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.nodes.tolist() == expected.nodes.tolist()
    return int((expected.nodes >= 0).sum())


P = (0.5, 0.3, 0.2)
Q = (0.2, 0.2, 0.6)
GRID = 60
"""Coins at the middle of 1/60ths: every threshold here lies between two of them."""


def asked(p, q, drawn, coins, noise) -> dict:
    """One tree of siblings below the root for each row of coins and noise."""
    rows, siblings = coins.shape
    return {
        "target": torch.tensor(p, dtype=torch.float32).expand(rows, siblings + 1, -1),
        "laws": torch.tensor(q, dtype=torch.float32).expand(rows, siblings, -1),
        "tokens": np.tile(np.array(drawn, np.int64), (rows, 1)),
        "parents": np.full((rows, siblings), -1, np.int64),
        "coins": coins,
        "noise": torch.from_numpy(np.stack([noise, noise], axis=1).astype(np.float32)),
    }


@pytest.mark.parametrize(("rule", "siblings"), [("p_over_q", 1), ("without_replacement", 2)])
def test_what_is_chosen_has_the_targets_law(rule, siblings):
    """All drafts, by their probability, against all coins, and many draws of noise.

    Of 2402.14160's rule the paper's example: two siblings drawn without replacement are 0.90 likely
    to hold the token, where the law is p whatever is drawn.
    """
    law, accepted = np.zeros(3), 0.0
    random = np.random.default_rng(0)
    middles = (np.arange(GRID) + 0.5) / GRID
    coins = np.stack(np.meshgrid(*[middles] * siblings, indexing="ij"), axis=-1)
    coins = coins.reshape(-1, siblings).repeat(7200 // GRID**siblings, axis=0)
    noise = -np.log(-np.log(random.random((len(coins), 3))))
    for first in range(3):
        for second in range(3) if siblings == 2 else (first,):
            if siblings == 2 and second == first:
                continue
            weight = Q[first] * (Q[second] / (1 - Q[first]) if siblings == 2 else 1.0)
            drawn = [first, second][:siblings]
            found = acceptance.accept(**asked(P, Q, drawn, coins, noise), rule=rule)
            law += weight * np.bincount(found.tokens[:, 0], minlength=3) / len(coins)
            accepted += weight * float((found.nodes[:, 0] >= 0).mean())
    assert law == pytest.approx(P, abs=0.01)
    assert accepted == pytest.approx({1: 0.6, 2: 0.9}[siblings], abs=1 / GRID)


def test_a_token_that_the_target_forbids_is_never_chosen():
    """A coin of 0 accepts nothing that has probability 0, and no noise draws such a token."""
    problem = asked([0, 1, 0], [0.9, 0.1, 0], [0], np.zeros((1, 1)), np.array([[90, 0, 90]]))
    found = acceptance.accept(**problem, rule="p_over_q")
    assert found.tokens.tolist() == [[1, -1]]
    assert found.nodes.tolist() == [[-1, -1]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rule": "typical"}, "a rule is one of"),
        ({"tokens": np.full((2, 3), 9)}, "tokens are from 0 to 4"),
        ({"parents": np.tile(np.arange(3), (2, 1))}, "before its children"),
        ({"parents": np.full((2, 3), -3)}, "before its children"),
        ({"laws": torch.zeros(2, 3, 4)}, "laws is"),
        ({"target": torch.zeros(2, 4, 5, dtype=torch.float64)}, "target is"),
        ({"coins": np.zeros((2, 4))}, "coins is"),
        ({"noise": torch.zeros(2, 9, 5)}, "noise is"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        acceptance.accept(**(a_problem(0, 2, 3, 5) | {"rule": "p_over_q"} | change))


def test_interpreted_it_chooses_what_the_reference_chooses(interpreted):
    interpreted("interpret")


def test_it_compiles_for_two_generations(compiled):
    compiled("compile")


def test_on_the_gpu_it_chooses_what_the_reference_chooses(on_cuda):
    on_cuda("device")


def _versions(device: str, problems: int) -> None:
    from cormorant.kernels.acceptance import gpu

    gpu.TILE = 16  # so that a vocabulary is several tiles
    accepted = dict.fromkeys(acceptance.RULES, 0)
    for seed in range(problems):
        problem = a_problem(seed, 3, 5, 40 if seed % 2 else 4)
        for rule in acceptance.RULES:
            accepted[rule] += agree(problem, rule, gpu.accept, device)
    agree(a_problem(1, 2, 0, 5), "without_replacement", gpu.accept, device)
    agree(a_problem(1, 2, 3, 5) | {"laws": None}, "p_over_q", gpu.accept, device)
    assert min(accepted.values()) > 0


def _compile() -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from cormorant.kernels.acceptance import gpu

    for rule, generation in ((0, 80), (2, 80), (2, 90)):
        constants = {"RULE": rule, "NODES": 16, "TILE": gpu.TILE}
        signature = (
            {"target": "*fp32", "laws": "*fp32", "lawful": "*i64", "tokens": "*i64"}
            | {"parents": "*i64", "coins": "*fp64", "noise": "*fp32", "scratch": "*fp32"}
            | {"chosen": "*i64", "nodes": "*i64", "steps": "i32", "depths": "i32"}
            | {"vocabulary": "i32"}
            | dict.fromkeys(constants, "constexpr")
        )
        places = {(list(signature).index(name),): value for name, value in constants.items()}
        source = ASTSource(fn=gpu.accept_kernel, signature=signature, constexprs=places)
        made = triton.compile(source, target=GPUTarget("cuda", generation, 32))
        assert len(made.asm["cubin"]) > 1_000
        assert made.metadata.shared <= 48 * 1024


if __name__ == "__main__":
    chosen = sys.argv[1]
    if chosen == "compile":
        _compile()
    elif chosen == "device":
        _versions("cuda", 200)
    else:
        _versions("cpu", 4)
    print(f"{chosen} done")
