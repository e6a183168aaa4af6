"""The suffix automaton against a search of the texts from end to end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.kernels.suffix import Automaton, Match, Rule
from cormorant.kernels.suffix.reference import Texts

few_tokens = st.integers(0, 3)
a_text = st.lists(few_tokens, max_size=14)
rules = st.builds(
    Rule,
    nodes=st.integers(0, 12),
    depth=st.integers(0, 6),
    minimum=st.integers(1, 3),
    width=st.integers(1, 4),
    least_share=st.sampled_from([0.0, 0.1, 0.4]),
    order=st.sampled_from(["frequent", "latest"]),
)


def arrays(texts: list[list[int]]) -> list[np.ndarray]:
    return [np.array(text, np.int64) for text in texts]


def check(automaton: Automaton, match: Match, stretch: tuple[int, ...], texts: Texts, rule: Rule):
    """The match is the stretch, and goes on as the texts do."""
    assert match.length == len(stretch)
    if stretch:
        assert automaton.count(match) == len(texts.places(stretch))
    found = automaton.expand(match, rule)
    products: list[float] = []
    for parent, share in zip(found.parents.tolist(), found.shares.tolist(), strict=True):
        products.append(share * (products[parent] if parent >= 0 else 1.0))
    expected = texts.expand(stretch, rule)
    drawn = list(
        zip(
            found.tokens.tolist(), found.parents.tolist(), found.places.tolist(),
            found.contexts.tolist(), strict=True,
        )
    )  # fmt: skip
    assert drawn == [node[:4] for node in expected]
    assert products == pytest.approx([node[4] for node in expected])


@given(texts=st.lists(a_text, max_size=4), read=st.lists(few_tokens, max_size=12), rule=rules)
@settings(deadline=None, max_examples=200)
def test_it_finds_what_a_search_from_end_to_end_finds(texts, read, rule):
    automaton, expected = Automaton(arrays(texts)), Texts(texts)
    match, context = Match(0, 0), []
    for token in read:
        match = automaton.advance(match, [token])
        context.append(token)
        assert match.length == len(expected.longest(context))
    check(automaton, match, expected.longest(context), expected, rule)
    assert match == automaton.advance(Match(0, 0), read)


@given(
    texts=st.lists(a_text, max_size=3),
    pieces=st.lists(st.tuples(st.booleans(), a_text), max_size=6),
    rule=rules,
)
@settings(deadline=None, max_examples=150)
def test_a_text_that_grows_is_as_one_that_was_there(texts, pieces, rule):
    automaton, whole = Automaton(arrays(texts)), [*texts, []]
    for begins, piece in pieces:
        if begins:
            automaton.begin()
            whole.append([])
        automaton.append(piece)
        whole[-1].extend(piece)
    expected = Texts(whole)
    if whole[-1]:
        check(automaton, automaton.own(), expected.own(), expected, rule)
    else:
        assert automaton.own() == Match(0, 0)
    at_once = Automaton(arrays(whole))
    for text in whole:
        match = automaton.advance(Match(0, 0), text)
        check(automaton, match, tuple(text), expected, rule)
        check(at_once, at_once.advance(Match(0, 0), text), tuple(text), expected, rule)


def test_nothing_runs_across_a_border():
    automaton = Automaton(arrays([[1, 2, 3], [4, 5, 6]]))
    match = automaton.advance(Match(0, 0), [2, 3])
    assert match.length == 2
    assert len(automaton.expand(match, Rule(8, 8)).tokens) == 0
    assert automaton.advance(Match(0, 0), [3, 4]).length == 1


def test_where_it_was_read():
    automaton = Automaton(arrays([[7, 1, 2, 3], [], [9, 1, 2, 4, 5]]))
    match = automaton.advance(Match(0, 0), [0, 1, 2])
    found = automaton.expand(match, Rule(8, 8, least_share=0.0))
    assert found.tokens.tolist() == [4, 3, 5]  # equally often: the latest first
    assert [automaton.locate(place) for place in found.places.tolist()] == [(1, 3), (0, 3), (1, 4)]


def test_a_long_text_of_one_token_and_of_many():
    """Room is made as it is needed; the longest match of a text in itself is right at each step."""
    same = Automaton()
    for n in range(1, 300):
        same.append([5])
        assert same.own().length == n - 1
    random = np.random.default_rng(0)
    long = random.integers(0, 50_000, 20_000)
    automaton = Automaton([long])
    for begin in (0, 7_000, 19_000):
        match = automaton.advance(Match(0, 0), long[begin : begin + 500])
        assert match.length == 500
        found = automaton.expand(match, Rule(30, 30))
        assert found.tokens.tolist() == long[begin + 500 : begin + 530].tolist()
        assert np.prod(found.shares) == pytest.approx(501 / 531)
        assert found.places.tolist() == list(range(begin + 500, begin + 530))


@pytest.mark.parametrize("tokens", [[-1], [1 << 31]])
def test_ids_that_do_not_fit_are_refused(tokens):
    with pytest.raises(InputError, match="tokens"):
        Automaton([np.array(tokens, np.int64)])
