"""What a model may answer, and what of it counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cormorant.rankers.listwise.parsing import parse


@pytest.mark.parametrize(
    ("reply", "order"),
    [
        ("[2] > [1] > [3]", (1, 0, 2)),
        ("  [2]>[1]>[3]  ", (1, 0, 2)),
        ("[2] >\n[1] >\n[3]", (1, 0, 2)),
        ("[2]\n> [1]\n> [3]", (1, 0, 2)),
        ("Here it is:\n[3] > [1] > [2]\nI hope this helps.", (2, 0, 1)),
        ("I ranked the 20 passages: [3] is best\n[2] > [3] > [1]", (1, 2, 0)),
        ("[1] > [2]\nOn second thought:\n[3] > [2] > [1]", (2, 1, 0)),
        ("[1] > [2] > [3]\nNo:\n[3] > [2] > [1]", (2, 1, 0)),
        ("<think>\n[1] > [2] > [3]\n</think>\n[3] > [1] > [2]", (2, 0, 1)),
        ("<think>a</think>\n[1] > [2] > [3]\n</think>\n[3] > [2]", (2, 1, 0)),
        ("<think>a</think>\n[3] > [1] > [2]\n<think>\n[1] > [2] > [3]", (2, 0, 1)),
        ("[2]", (1, 0, 2)),
        ("[3] > [1] > [2", (2, 0, 1)),
        ("[3] > [1] >", (2, 0, 1)),
    ],
)
def test_what_counts(reply: str, order: tuple[int, ...]) -> None:
    parsed = parse(reply, 3, 3)
    assert parsed.order == order
    assert parsed.problem is None


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ("", "empty"),
        (" \n", "empty"),
        ("<think>[1] > [2]</think>", "empty"),
        ("<think>\n[1] > [2] > [3]", "empty"),
        ("<think>a</think>\n<think>\n[3] > [2] > [1]", "empty"),
        ("I cannot help with that.", "no line"),
        ("The best are [3], then [1] and [2].", "no line"),
        ("I looked at 3 passages; 2 > 1 > 3", "no line"),
        ("B > A > C", "no line"),
        ("[B] > [A]", "no line"),
        ("[３] > [１] > [２]", "no line"),
        ("[²] > [¹]", "no line"),
        ("[2, 1, 3]", "no line"),
        ("[0] > [2] > [1]", "count from 0"),
        ("[1] > [0]", "count from 0"),
        ("[7] > [8]", "names no passage"),
        ("[99999999999999999999]", "no line"),
    ],
)
def test_what_does_not_count_keeps_the_prior_order(reply: str, problem: str) -> None:
    parsed = parse(reply, 3, 3)
    assert parsed.order == (0, 1, 2)
    assert parsed.named == 0
    assert problem in str(parsed.problem)


def test_a_line_of_spaces_takes_no_square_of_time() -> None:
    reply = "[1]" + " " * 200_000 + "x"
    assert parse(reply, 3, 3).problem == "the answer holds no line of identifiers"


def test_repair_says_what_it_did() -> None:
    parsed = parse("[4] > [4] > [9] > [2] > [4]", 5, 5)
    assert parsed.order == (3, 1, 0, 2, 4)
    assert (parsed.named, parsed.repeated, parsed.unknown, parsed.missing) == (2, 2, 1, 3)
    assert parsed.repaired


def test_passages_beyond_the_places_asked_for_are_not_missing() -> None:
    parsed = parse("[4] > [2]", 5, 2)
    assert parsed.missing == 0
    assert parsed.order == (3, 1, 0, 2, 4)


@given(
    st.text(max_size=80) | st.from_regex(r"(\[[0-9]{0,3}\]? ?>? ?|\n|x){0,12}"), st.integers(1, 9)
)
def test_any_reply_becomes_an_order_of_all(reply: str, n: int) -> None:
    parsed = parse(reply, n, n)
    assert sorted(parsed.order) == list(range(n))


@given(st.permutations(list(range(9))))
def test_a_whole_answer_is_taken_as_it_is(order: list[int]) -> None:
    reply = " > ".join(f"[{place + 1}]" for place in order)
    assert parse(reply, 9, 9)[:5] == (tuple(order), 9, 0, 0, 0)
