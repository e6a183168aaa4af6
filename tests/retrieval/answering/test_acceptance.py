"""How many tokens each drafter gets accepted, exactly, on a corpus that never changes.

A wrong index in a drafter changes no text: the target refuses what is wrong, and all that is lost
is acceptance. So the numbers are the test. Where one rises, take the new one over; where it falls,
something was broken.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from oracle import END, decode, prompt_of

from cormorant.retrieval.answering.decoding.types import Budget, Drafter
from cormorant.retrieval.answering.drafters.fuse import Fused
from cormorant.retrieval.answering.drafters.history import Histories, History, Key
from cormorant.retrieval.answering.drafters.passages import Passages
from cormorant.retrieval.answering.drafters.statistics import Statistics
from cormorant.retrieval.answering.drafters.text import Text


def numbers(seed: int) -> Iterator[int]:
    """A generator that no library can change: Lehmer's, modulo 2**31 - 1."""
    state = seed
    while True:
        state = state * 48271 % 2147483647
        yield state


def a_text(seed: int, length: int) -> list[int]:
    """Tokens from 3 on, low ones more often, as in a language."""
    draw = numbers(seed)
    return [3 + (next(draw) % 500) * (next(draw) % 500) // 500 for _ in range(length)]


PASSAGES = [a_text(seed, 120) for seed in range(1, 6)]
PASSAGES[3][40:58] = PASSAGES[1][40:58]  # three passages agree for a while,
PASSAGES[4][40:80] = PASSAGES[3][40:80]  # and two of them go on so
QUESTION = a_text(70, 20)
PROMPT = prompt_of(PASSAGES, QUESTION)
OWN = a_text(80, 30)
ANSWER = [
    *OWN[:4], *PASSAGES[2][10:50],              # a quotation from the middle
    *OWN[4:8], *QUESTION[3:17],                 # the question taken up
    *OWN[8:14], *PASSAGES[1][44:73],            # a quotation through where three agree
    *OWN[14:16], *PASSAGES[4][100:120],         # to the very end of a passage
    *OWN[16:20], *OWN[:4], *PASSAGES[2][10:30],  # what was said before, once more
]  # fmt: skip
KEY = Key("tenant", frozenset(), "papers", 1, "model")


def histories() -> Histories:
    """An answer of the same beginning, and an end."""
    made = Histories()
    made.remember(KEY, [*ANSWER[:90], *a_text(90, 10), END])
    made.remember(KEY, [*a_text(91, 10), *ANSWER[100:], END])
    return made


SHORT, CHAIN, TREE = Budget(5, 5), Budget(8, 8), Budget(16, 6)
CASES: dict[str, tuple[Drafter, Budget, int, int]] = {
    # drafter, budget, forwards, accepted tokens
    "passages": (Passages(), CHAIN, 54, 94),
    "passages, a tree": (Passages(), TREE, 56, 92),
    "passages, the latest": (Passages(order="latest"), SHORT, 61, 87),
    "passages, short": (Passages(), SHORT, 61, 87),
    "passages, two must match": (Passages(minimum_match=2), CHAIN, 58, 90),
    "text": (Text(), CHAIN, 115, 33),
    "text, the latest": (Text(order="latest"), CHAIN, 115, 33),
    "statistics": (Statistics(), CHAIN, 40, 108),
    "statistics, a tree": (Statistics(), TREE, 41, 107),
    "statistics, drawn": (Statistics(temperature=1.0), TREE, 55, 93),
    "history": (History().of(histories(), KEY), CHAIN, 30, 118),
    "fused": (Fused(), CHAIN, 40, 108),
    "fused, a tree": (Fused(), TREE, 41, 107),
    "fused, with statistics": (Fused((Passages(), Text(), Statistics())), TREE, 41, 107),
}


@pytest.mark.parametrize("case", CASES)
def test_accepted(case: str) -> None:
    drafter, budget, forwards, accepted = CASES[case]
    run = decode(drafter, PROMPT, ANSWER, budget)
    assert run.forwards + sum(run.accepted.values()) == len(ANSWER) + 1
    assert (run.forwards, sum(run.accepted.values())) == (forwards, accepted)


def test_where_each_copied_token_was_read() -> None:
    """Of every accepted token that came from a passage: that passage has it, there."""
    run = decode(Passages(), PROMPT, ANSWER, CHAIN)
    assert len(run.copied) == run.accepted["passages"] > 50
    for place, passage, offset in run.copied:
        assert PASSAGES[int(passage[1:])][offset] == ANSWER[place]
    assert sorted({place for place, *_ in run.copied}) == [place for place, *_ in run.copied]
