"""Every acceptance rule keeps the target's law, by enumeration with fractions; wrong ones fail."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from functools import cache, partial
from math import exp
from typing import Any

import numpy as np
import pytest
from drafting import tree

from cormorant.retrieval.answering.decoding import draws, verify
from cormorant.retrieval.answering.decoding.draws import Chance
from cormorant.retrieval.answering.decoding.trees import children, join
from cormorant.retrieval.answering.decoding.types import Budget, Draft

Text = tuple[int, ...]
Law = Callable[[Text], Any]


class Branch:
    """Draws that follow a script of outcomes, and then the first of each with a chance above 0."""

    def __init__(self, script: Sequence[int]) -> None:
        self.script = list(script)
        self.taken: list[int] = []
        self.untried: list[list[int]] = []
        self.weight = Fraction(1)

    def coin(self, probability: Any) -> bool:
        chance = min(Fraction(1), probability)
        return self.pick([1 - chance, chance]) == 1

    def pick(self, law: Any) -> int:
        possible = [place for place, weight in enumerate(law) if weight > 0]
        if len(self.taken) < len(self.script):
            outcome = self.script[len(self.taken)]
        else:
            outcome, *others = possible
            self.untried += [[*self.taken, other] for other in others]
        self.taken.append(outcome)
        self.weight *= law[outcome]
        return outcome


def every_outcome(run: Callable[[Branch], Text]) -> Iterator[tuple[Fraction, Text]]:
    scripts: list[list[int]] = [[]]
    while scripts:
        branch = Branch(scripts.pop())
        text = run(branch)
        scripts += branch.untried
        yield branch.weight, text


def law_of(size: int, seed: int) -> Law:
    """Some law of fractions for each text; it is 0 for a token now and then."""

    @cache
    def law(text: Text) -> Any:
        draw = np.random.default_rng([seed, size, *text])
        weights = draw.integers(0, 6, size)
        weights[draw.integers(size)] += 1
        return np.array([Fraction(int(weight), int(weights.sum())) for weight in weights])

    return law


Drafting = Callable[[Branch, Law, int], Draft]


def nothing(branch: Branch, q: Law, size: int) -> Draft:
    return tree([], [])


def fixed_tree(branch: Branch, q: Law, size: int) -> Draft:
    return tree([1, 0, 2, 0, 1], [-1, -1, 0, 0, 1])


def drawn_chain(branch: Branch, q: Law, size: int) -> Draft:
    first = branch.pick(q(()))
    second = branch.pick(q((first,)))
    return tree([first, second], [-1, 0], np.stack([q(()), q((first,))]))


def drawn_siblings(branch: Branch, q: Law, size: int, below: bool = True) -> Draft:
    """As many as there are (three at most), none twice, and one below the first."""
    tokens: list[int] = []
    left = q(()).copy()
    while left.sum() > 0 and len(tokens) < 3:
        tokens.append(branch.pick(left / left.sum()))
        left[tokens[-1]] = 0
    laws = [q(())] * len(tokens)
    parents = [-1] * len(tokens)
    if below:
        laws.append(q((tokens[0],)))
        tokens.append(branch.pick(q((tokens[0],))))
        parents.append(0)
    return tree(tokens, parents, np.stack(laws))


def drawn_and_fixed(branch: Branch, q: Law, size: int) -> Draft:
    """Siblings drawn, and what was read from a passage between and below them."""
    drawn = drawn_siblings(branch, q, size, below=False)
    count = len(drawn)
    assert drawn.laws is not None
    none = np.full(size, Fraction(0))
    tokens = [1, *drawn.tokens.tolist(), 2]
    parents = [-1, *[-1] * count, 1]
    return tree(tokens, parents, np.stack([none, *drawn.laws, none]))


def joined(*makers: Drafting) -> Drafting:
    """Drafts of several drafters in one tree, cut to what fits."""

    def drafting(branch: Branch, q: Law, size: int) -> Draft:
        return join([make(branch, q, size) for make in makers], Budget(6, 2), size, lambda _: 0.5)

    return drafting


def decode(rule: Any, drafting: Drafting, p: Law, q: Law, size: int) -> Any:
    """What one step of a decoder does with a rule."""

    def run(branch: Branch) -> Text:
        draft = drafting(branch, q, size)
        text: list[int] = []

        def choose(node: int, below: Sequence[int]) -> int:
            with_law = [child for child in below if draft.laws is not None]
            drawn = [
                (int(draft.tokens[child]), draft.laws[child])
                for child in with_law
                if draft.laws[child].any()
            ]
            return int(rule(p(tuple(text)), drawn, branch))

        def take(token: int, child: int | None) -> bool:
            text.append(token)
            return True

        verify.walk(draft, children(draft), choose, take)
        return tuple(text)

    return run


def keeps_the_law(run: Callable[[Branch], Text], p: Law, size: int) -> bool:
    """Whether each token has the target's law behind every text that goes on."""
    reached: dict[Text, Fraction] = defaultdict(Fraction)
    goes_on: dict[Text, Fraction] = defaultdict(Fraction)
    for weight, text in every_outcome(run):
        for end in range(len(text)):
            goes_on[text[:end]] += weight
            reached[text[: end + 1]] += weight
    assert goes_on[()] == 1
    return all(
        reached[(*text, token)] == weight * p(text)[token]
        for text, weight in list(goes_on.items())
        for token in range(size)
    )


EXACT: list[tuple[Any, Drafting]] = [
    *((verify.match, drafting) for drafting in (nothing, fixed_tree, drawn_chain, drawn_siblings)),
    (verify.match, drawn_and_fixed),
    *((verify.p_over_q, drafting) for drafting in (nothing, fixed_tree, drawn_chain)),
    *((verify.without_replacement, drafting) for drafting in (nothing, fixed_tree, drawn_chain)),
    (verify.without_replacement, drawn_siblings),
    (verify.without_replacement, drawn_and_fixed),
    (verify.without_replacement, joined(fixed_tree, drawn_siblings)),
    (verify.without_replacement, joined(drawn_siblings, fixed_tree)),
    (verify.without_replacement, joined(drawn_chain, drawn_siblings)),
    (verify.p_over_q, joined(drawn_chain, fixed_tree)),
]


@pytest.mark.parametrize("size", [3, 4, 5])
@pytest.mark.parametrize(("rule", "drafting"), EXACT)
def test_a_rule_keeps_the_law_exactly(rule: Any, drafting: Drafting, size: int) -> None:
    for seed in range(3 if size == 3 else 1):
        p, q = law_of(size, seed), law_of(size, 100 + seed)
        assert keeps_the_law(decode(rule, drafting, p, q, size), p, size)


def test_greedy_takes_the_argmax_at_every_node() -> None:
    p = law_of(4, 3)
    for weight, text in every_outcome(decode(verify.greedy, fixed_tree, p, p, 4)):
        assert weight == 1
        assert all(token == np.argmax(p(text[:end])) for end, token in enumerate(text))


def steps_of(p: Law, verified: Callable[[Text], Text]) -> tuple[Text, Text]:
    """Twelve tokens and more, by what each step adds; and as many of plain greedy decoding."""
    text: Text = ()
    while len(text) < 12:
        text += verified(text)
    plain: Text = ()
    while len(plain) < len(text):
        plain += (int(np.argmax(p(plain))),)
    return text, plain


BRANCHES = [(1,), (2, 1)]


def padded_paths(p: Law, text: Text, padding: int) -> Text:
    """REST: a matrix of paths, the short ones padded with an id, and with the last node's logits.

    The id is 0, which is a token; EAGLE's -1 is none.
    """
    nodes = [branch[:end] for branch in BRANCHES for end in range(1, len(branch) + 1)]
    best = [int(np.argmax(p(text + path))) for path in [(), *nodes]]
    accepted: Text = ()
    behind = best[0]
    for branch in BRANCHES:
        padded = (branch + (padding, padding))[:2]
        places = [0, *(nodes.index(branch[:end]) + 1 for end in range(1, len(branch) + 1)), -1][:3]
        agree = [best[place] == token for place, token in zip(places, padded, strict=False)]
        length = agree.index(False) if False in agree else 2
        if length > len(accepted):
            accepted, behind = padded[:length], best[places[length]]
    return (*accepted, behind)


def walked(p: Law, text: Text) -> Text:
    draft = tree([1, 2, 1], [-1, -1, 1])
    added: list[int] = []

    def choose(node: int, below: Sequence[int]) -> int:
        return verify.greedy(p(text + tuple(added)), [], Branch([]))

    def take(token: int, child: int | None) -> bool:
        added.append(token)
        return True

    verify.walk(draft, children(draft), choose, take)
    return tuple(added)


def test_padding_that_may_be_accepted_fails_the_greedy_identity() -> None:
    failed = 0
    for seed in range(20):
        p = law_of(3, seed)
        for right in (partial(walked, p), partial(padded_paths, p, padding=-1)):
            text, plain = steps_of(p, right)
            assert text == plain
        text, plain = steps_of(p, partial(padded_paths, p, padding=0))
        failed += text != plain
    assert failed > 0


def test_the_rules_accept_as_often_as_published() -> None:
    """RSD: p = (.5, .3, .2), q = (.2, .2, .6): 0.9 with two siblings, 1 with three."""
    p = np.array([Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)])
    q = np.array([Fraction(2, 10), Fraction(2, 10), Fraction(6, 10)])
    for count, expected in ((2, Fraction(9, 10)), (3, Fraction(1))):
        accepted = Fraction(0)

        def run(branch: Branch, count: int = count) -> Text:
            siblings = drawn_siblings(branch, lambda text: q, 3, below=False)
            drawn = [(int(token), q) for token in siblings.tokens[:count]]
            token = verify.without_replacement(p, drawn, branch)
            return (token, int(token in [drafted for drafted, _ in drawn]))

        for weight, (_, was_drafted) in every_outcome(run):
            accepted += weight * was_drafted
        assert accepted == expected


P = np.array([Fraction(5, 10), Fraction(3, 10), Fraction(2, 10)])
Q = np.array([Fraction(7, 10), Fraction(2, 10), Fraction(1, 10)])


def wrong_draw_per_path(branch: Branch) -> Text:
    """REST, Medusa's lineage: each path draws for itself, and the longest that agrees is kept."""
    for drafted in (0, 1):
        if branch.pick(P) == drafted:
            return (drafted,)
    return (branch.pick(P),)


def wrong_argmax_with_a_softmax(branch: Branch) -> Text:
    """transformers' single-position drafts: the argmax, said to be drawn from all of q."""
    return (verify.p_over_q(P, [(int(np.argmax(Q)), Q)], branch),)


def wrong_unprocessed_law(branch: Branch) -> Text:
    """The same: drawn at temperature 1/2, and q is given at temperature 1."""
    drawn = branch.pick(Q * Q / (Q * Q).sum())
    return (verify.p_over_q(P, [(drawn, Q)], branch),)


def wrong_original_law(branch: Branch) -> Text:
    """Siblings without replacement, each tried against the q of the first."""
    law = P
    for token in drawn_siblings(branch, lambda text: Q, 3, below=False).tokens[:2].tolist():
        if branch.coin(law[token] / Q[token]):
            return (token,)
        left = np.maximum(law - Q, 0)
        law = left / left.sum()
    return (branch.pick(law),)


def wrong_knowledge_transfer(branch: Branch) -> Text:
    """RAPID with eta = 10: accepted by an adjusted p, and a residual that is of neither."""
    scores = [
        float(p) * exp(-10 * (float(p) - float(q)) * (q >= Q.max() / 10))
        for p, q in zip(P, Q, strict=True)
    ]
    weights = np.array([Fraction(score).limit_denominator(1000) for score in scores])
    adjusted = weights / weights.sum()
    token = branch.pick(Q)
    if branch.coin(adjusted[token] / Q[token]):
        return (token,)
    left = np.maximum(np.maximum(P - Q, P - adjusted), 0)
    return (branch.pick(left / left.sum()),)


@pytest.mark.parametrize(
    "wrong",
    [
        wrong_draw_per_path,
        wrong_argmax_with_a_softmax,
        wrong_unprocessed_law,
        wrong_original_law,
        wrong_knowledge_transfer,
    ],
)
def test_wrong_rules_of_others_fail_the_proof(wrong: Callable[[Branch], Text]) -> None:
    assert not keeps_the_law(wrong, lambda text: P, 3)


def test_the_wrong_draw_per_path_is_wrong_by_what_was_found() -> None:
    law: dict[Text, Fraction] = defaultdict(Fraction)
    for weight, text in every_outcome(wrong_draw_per_path):
        law[text] += weight
    assert [law[(token,)] for token in range(3)] == [
        Fraction(675, 1000),
        Fraction(255, 1000),
        Fraction(70, 1000),
    ]


def test_no_token_of_probability_0_is_accepted_by_the_least_draw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``r <= p/q`` accepts one where r is 0: a token that a mask forbids."""
    smallest = draws._uniform
    monkeypatch.setattr(draws, "_uniform", lambda stream, count: 0 * smallest(stream, count))
    p, q = np.array([0.0, 1.0]), np.array([1.0, 0.0])
    assert not Chance(0, 0).coin(0.0)
    monkeypatch.undo()
    for position in range(50):
        assert verify.without_replacement(p, [(0, q)], Chance(0, position)) == 1


def test_nothing_left_but_rounding_is_no_error() -> None:
    """p and q are the same but for rounding; a rejection then draws from p."""

    class Rejects(Chance):
        def coin(self, probability: Any) -> bool:
            return False

    law = np.full(3, 1 / 3)
    drawn = [verify.p_over_q(law, [(0, law)], Rejects(1, place)) for place in range(60)]
    assert set(drawn) == {0, 1, 2}


def test_what_is_drawn_has_its_law() -> None:
    """Pearson's statistic of 6,000 draws; above 27.9 by chance once in 20,000 times."""
    law = np.array([0.4, 0.25, 0.2, 0.1, 0.04, 0.01])
    count = 6000
    counts = np.bincount([Chance(9, place).pick(law) for place in range(count)], minlength=6)
    assert ((counts - count * law) ** 2 / (count * law)).sum() < 27.9
    heads = sum(Chance(9, place).coin(0.3) for place in range(count))
    assert abs(heads - 0.3 * count) < 4 * (count * 0.3 * 0.7) ** 0.5


def test_draws_depend_on_the_seed_and_the_position_alone() -> None:
    noise = Chance(1, 5).noise(4)
    chance = Chance(1, 5)
    chance.coin(0.5)
    assert (chance.noise(4) == noise).all()
    assert (Chance(1, 5).noise(9)[:4] == noise).all()
    assert (Chance(1, 6).noise(4) != noise).all()
    assert (Chance(2, 5).noise(4) != noise).all()
    assert (Chance(-1, 5).noise(4) != noise).all()
