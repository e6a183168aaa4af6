"""In bfloat16, texts part from plain ones only where the two best tokens are within rounding."""

from __future__ import annotations

import copy

import drafting as support
import numpy as np
import pytest
from drafting import ARCHITECTURES, VOCABULARY, Scripted, model, prompts, tree

from cormorant.eval.divergence import Divergence, first_divergence
from cormorant.retrieval.answering.decoding.target import Target
from cormorant.retrieval.answering.decoding.types import Budget, Sampling

GREEDY = Sampling(max_tokens=32)


def divergences(name: str, seeds: range) -> tuple[int, list[Divergence]]:
    """How many texts were compared, and where they part."""
    low = model(name, precision="bfloat16")
    full = copy.deepcopy(low).float()
    draw = np.random.default_rng(2)

    def propose(tokens: list[int], budget: Budget) -> object:
        return tree(draw.integers(2, VOCABULARY, 7).tolist(), [-1, -1, 0, 0, 1, 3, 4])

    decoder = support.decoder(name, Budget(7, 4), precision="bfloat16")
    found, compared = [], 0
    for seed in seeds:
        batch = prompts(8, seed)
        drafted = decoder.generate(batch, GREEDY, [Scripted(propose)])  # type: ignore[arg-type]
        for prompt, other in zip(batch, drafted, strict=True):
            plain = decoder.generate([prompt], GREEDY)[0]
            compared += 1
            parted = first_divergence(low, full, prompt.tokens, plain, other)
            assert (parted is None) == (plain.tokens == other.tokens)
            found += [parted] if parted else []
    return compared, found


@pytest.mark.parametrize("name", ["qwen3-mixed", "mistral"])
def test_bfloat16_parts_only_within_its_rounding(name: str) -> None:
    _, found = divergences(name, range(2))
    assert all(parted.certified for parted in found), found


@pytest.mark.soak
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_divergence_in_bfloat16_is_certified(name: str) -> None:
    compared, found = divergences(name, range(12))
    print(f"{name}: {len(found)} of {compared} texts part", found[:3])
    assert all(parted.certified for parted in found), found


def test_a_fault_is_not_taken_for_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts that see what they must not part from the plain text by more than rounding."""
    verify = Target.verify

    def careless(self: Target, slots: object, tokens: object, ancestors: object) -> object:
        seen = np.array(ancestors)
        seen[:, 0] = True
        return verify(self, slots, tokens, seen)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Target, "verify", careless)
        _, found = divergences("llama", range(1))
    assert any(not parted.certified for parted in found)
