"""What one call chooses for all rows, as on a GPU, is what each row's own walk chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from drafting import VOCABULARY, Scripted, decoder, prompts, tree

from cormorant.retrieval.answering.decoding import engine, sampled
from cormorant.retrieval.answering.decoding.types import Budget, Drafter, Generation, Sampling
from cormorant.retrieval.answering.drafters.statistics import Statistics

LAW = np.full(VOCABULARY, 1 / VOCABULARY)


def drawn() -> Drafter:
    """Siblings drawn from a law, one below the second, and one that was not drawn."""
    draw = np.random.default_rng(3)

    def propose(tokens: list[int], budget: Budget) -> Any:
        siblings = draw.choice(VOCABULARY, 6, replace=False).tolist()
        laws = np.stack([LAW] * 5 + [0 * LAW, LAW])
        return tree([*siblings, int(draw.integers(VOCABULARY))], [-1] * 6 + [1], laws)

    return Scripted(propose)


def texts(sampling: Sampling, drafter: Drafter, **more: Any) -> list[Generation]:
    return decoder("qwen3", Budget(7, 2)).generate(prompts(5, seed=4), sampling, [drafter], **more)


@pytest.mark.parametrize("temperature", [0.8, 4.0])
@pytest.mark.parametrize("rule", ["match", "p_over_q", "without_replacement"])
def test_one_call_chooses_as_each_rows_walk(
    rule: Any, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    sampling = Sampling(temperature, top_k=20, top_p=0.95, seed=5, max_tokens=24, rule=rule)
    expected = texts(sampling, drawn()), texts(sampling, Statistics(temperature=1.0))
    monkeypatch.setattr(engine, "AT_ONCE", ("cpu",))
    calls = []
    choices = sampled.choices

    def counted(*given: Any) -> Any:
        calls.append(1)
        return choices(*given)

    monkeypatch.setattr(sampled, "choices", counted)
    found = texts(sampling, drawn()), texts(sampling, Statistics(temperature=1.0))
    assert len(calls) > 10
    for one, other in zip(expected, found, strict=True):
        assert [row.tokens for row in one] == [row.tokens for row in other]
        accepted = [row.statistics.accepted for row in one]
        assert accepted == [row.statistics.accepted for row in other]
        assert any(accepted)


def test_processors_of_the_callers_see_one_token_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(engine, "AT_ONCE", ("cpu",))
    monkeypatch.setattr(sampled, "choices", None)
    made = texts(Sampling(1.0, max_tokens=5), drawn(), processors=[lambda ids, scores: scores])
    assert all(row.tokens for row in made)
