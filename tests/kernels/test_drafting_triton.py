"""Whole texts decoded by the Triton kernels: tree attention, and one call that accepts and draws.

The same tokens come out as of the CPU's versions and of transformers. Whether a kernel is
interpreted is settled when it is decorated, so each check runs this file in a process of its own.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

LENGTH = 7


def test_interpreted_the_kernels_decode_the_same_texts(interpreted):
    interpreted("decode")


def test_on_the_gpu_the_kernels_decode_the_same_texts(on_cuda):
    on_cuda("device")


def _decode(device: str) -> None:
    from drafting import ARCHITECTURES, VOCABULARY, Scripted, decoder, model, prompts, tree

    from cormorant.retrieval.answering.decoding import engine
    from cormorant.retrieval.answering.decoding.types import Budget, Sampling

    draw = np.random.default_rng(2)
    law = np.full(VOCABULARY, 1 / VOCABULARY)

    def drafts(tokens: list[int], budget: Budget) -> Any:
        """Siblings, drawn from a law, and one below the first."""
        drawn = [*draw.choice(VOCABULARY, 6, replace=False).tolist(), int(draw.integers(40))]
        return tree(drawn, [-1] * 6 + [0], np.stack([law] * 7))

    greedy = Sampling(max_tokens=LENGTH)
    warm = Sampling(temperature=4.0, top_k=30, seed=3, max_tokens=LENGTH)
    rules = [
        Sampling(temperature=4.0, top_k=30, seed=3, max_tokens=LENGTH, rule=rule)
        for rule in ("p_over_q", "without_replacement")
    ]
    batch = prompts(2, seed=4)

    def texts(name: str, sampling: Sampling, drafters: list[Any]) -> list[tuple[int, ...]]:
        nonlocal draw
        draw = np.random.default_rng(2)
        made = decoder(name, Budget(8, 2)).generate(batch, sampling, drafters)
        for row in made:
            accepted.update(row.statistics.accepted)
        return [row.tokens for row in made]

    accepted: Counter[str] = Counter()
    expected = {
        name: [
            texts(name, greedy, []),
            texts(name, warm, []),
            *(texts(name, rule, [Scripted(drafts)]) for rule in rules),
        ]
        for name in ARCHITECTURES
    }
    calls = _by_triton(device)
    engine.AT_ONCE = (device,)
    accepted.clear()
    for name in ARCHITECTURES:
        model(name).to(device)
        found = [texts(name, how, [Scripted(drafts)]) for how in (greedy, warm, *rules)]
        assert found == expected[name], name
    assert accepted["scripted"] > 0
    assert calls["attend"] > 100
    assert calls["accept"] > 50


def _by_triton(device: str) -> Counter[str]:
    """Count the kernels' calls, and have them asked for tensors on a CPU too."""
    from cormorant.kernels.acceptance import gpu as accepting
    from cormorant.kernels.acceptance import reference
    from cormorant.kernels.tree_attention import cpu
    from cormorant.kernels.tree_attention import gpu as attending

    calls: Counter[str] = Counter()

    def counted(kernel: Any) -> Any:
        def call(*given: Any) -> Any:
            calls.update([kernel.__name__])
            return kernel(*given)

        return call

    accept, attend = counted(accepting.accept), counted(attending.attend)
    if device == "cpu":
        reference.accept, cpu.attend = accept, attend
    else:
        accepting.accept, attending.attend = accept, attend
    return calls


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parents[1] / "support"))
    chosen = sys.argv[1]
    _decode("cuda" if chosen == "device" else "cpu")
    print(f"{chosen} done")
