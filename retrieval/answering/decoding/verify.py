"""Which drafted tokens stand: the acceptance rules, and the walk down a draft.

A rule chooses the next token at a node, given the target's law there and what was drafted below;
the walk goes on to the child that has that token, if any has. Every rule chooses by exactly the
target's law, which tests/retrieval/answering/test_rules.py proves by enumeration with fractions:
numbers here may be floats or :class:`~fractions.Fraction`.

* ``greedy``: the target's argmax. The text of plain greedy decoding.
* ``match``: draw from the target, then look whether that was drafted. It takes the same draw at
  every position with and without a draft, so the text is that of plain sampling.
* ``p_over_q`` (Leviathan et al. 2023, arXiv 2211.17192, algorithm 1; Chen et al. 2023): a token
  drawn from q is accepted with probability min(1, p/q), or the residual norm((p - q)+) is drawn.
* ``without_replacement`` (RSD, Jeon et al. 2024, arXiv 2402.14160, recursive rejection): siblings
  drawn from q one after the other, none twice; each is tried against what the earlier ones left.

The last two keep the law, not the text. What the residual draws may again be among the children
(those drafted without a law, say), and the walk goes on there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from .types import Draft

Drawn = Sequence[tuple[int, Any]]
"""Children drafted with a law: (token, q), in the order they were drawn."""


class Chance(Protocol):
    """See :class:`~cormorant.retrieval.answering.decoding.draws.Chance`."""

    def coin(self, probability: Any) -> bool:
        """True with this probability."""
        ...

    def pick(self, law: Any) -> int:
        """A token drawn from a law."""
        ...


RuleFunction = Callable[[Any, Drawn, Chance], int]
"""(law or logits (vocabulary,), children with a law, draws) -> the token chosen."""


def greedy(law: Any, drawn: Drawn, chance: Chance) -> int:
    """The most probable token, the first of several."""
    return int(np.argmax(law))


def match(law: Any, drawn: Drawn, chance: Chance) -> int:
    """A token of the target's law, whatever was drafted."""
    return chance.pick(law)


def p_over_q(law: Any, drawn: Drawn, chance: Chance) -> int:
    """The first child drawn, with probability min(1, p/q), or what it left."""
    return without_replacement(law, drawn[:1], chance)


def without_replacement(law: Any, drawn: Drawn, chance: Chance) -> int:
    """The first of the children to be accepted, or what all of them left."""
    earlier: list[int] = []
    for token, first_law in drawn:
        q = first_law.copy()
        q[earlier] = 0
        q = q / q.sum()
        if chance.coin(law[token] / q[token]):
            return token
        left = np.maximum(law - q, 0)
        total = left.sum()
        if total > 0:  # where p and q differ by rounding alone nothing is left: p stands
            law = left / total
        earlier.append(token)
    return chance.pick(law)


RULES: dict[str, RuleFunction] = {
    "match": match,
    "p_over_q": p_over_q,
    "without_replacement": without_replacement,
}


def walk(
    draft: Draft,
    children: Sequence[Sequence[int]],
    choose: Callable[[int, Sequence[int]], int],
    take: Callable[[int, int | None], bool],
) -> None:
    """Go down a draft from the last committed token, one token chosen at each node.

    ``children``: of node i at i + 1, the root's at 0. ``choose(node, children of it)`` is the rule
    (the root is node -1); ``take(token, the child that drafted it)`` says whether the text goes on.
    The walk takes one token more than there are accepted nodes, and ends there.
    """
    node: int | None = -1
    while node is not None:
        below = children[node + 1]
        token = choose(node, below)
        node = next((child for child in below if draft.tokens[child] == token), None)
        if not take(token, node):
            return
