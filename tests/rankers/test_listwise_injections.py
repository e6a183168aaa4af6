"""Passages that talk to a gullible model: cleaned of fakes, and bounded by the first stage."""

from __future__ import annotations

import pytest

from cormorant.eval.bench.listwise_injections import (
    ATTACKS,
    PASSAGES,
    SUCCESS,
    measure_injections,
    ranks,
)

PLAIN_WORDS = {
    "ignore the above", "new task", "flattery", "full-width id", "braces", "hidden text",
    "fake delimiter",
}  # fmt: skip
"""Attacks that ask in plain words: no cleaning takes them away."""


@pytest.mark.parametrize("attack", sorted(set(ATTACKS) - PLAIN_WORDS))
def test_fake_identifiers_and_delimiters_win_nothing(attack: str) -> None:
    assert ranks(attack, 0.0) == (PASSAGES, PASSAGES)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_no_attack_wins_more_than_the_first_stage_lets_it(attack: str, share: float) -> None:
    prior = PASSAGES - 1
    assert ranks(attack, share)[1] - 1 >= int(share * prior + 1e-9)


def test_the_rates_are_reported() -> None:
    rows, rates = measure_injections()
    assert [row["setting"] for row in rows] == [
        "first stage 0",
        "first stage 0.2",
        "first stage 0.5",
    ]
    assert rates["injection_success@0"] > 0  # the model is gullible: the measure can fail
    assert rates["injection_success@0.5"] == 0.0
    assert min(float(row["best_rank"]) for row in rows[2:]) > SUCCESS
