"""Where a text goes on from here, by texts that are known: a generalised suffix automaton.

Texts are token ids from 0 to 2**31 - 1. :class:`Automaton` holds every stretch of tokens of every
text, and never one that runs across the border of two: its states are the classes of stretches that
end at the same places (Blumer et al., "Complete inverted files for efficient text retrieval and
analysis", JACM 1987), at most two a token. A place is the number of a token, counted from 0 through
all texts in their order; ``locate(place)`` -> (text, offset in it).

The contract of every version::

    Automaton(texts)                 whole texts, each closed
    begin()                          the next tokens are a text of their own
    append(tokens)                   go on with the last text
    advance(match, tokens) -> Match  the longest stretch of the texts that ends the context read
    own() -> Match                   the longest end of the last text that stands elsewhere too
    count(match) -> int              at how many places the stretch ends
    expand(match, Rule) -> Continuations

A :class:`Match` is a state and a length. Its contexts are the match itself, then the longest end of
it that stands at more places, and so on, down to ``minimum`` tokens.

``expand`` draws a tree of what followed. Under a node, which is a stretch w, stand the tokens c
that follow it somewhere, in the order

* ``frequent``: by how often they do, ties by the latest place; its part is
  ``count(wc) / sum of count(wx) over all x``;
* ``latest``: only the one that followed last, with a part of 1;

and ``width`` of them at most. A node's share is its part times ``(m + 1) / (m + 2)`` for a stretch
of m tokens: the rule of succession, by which what agreed m times agrees once more. The root has the
continuations of every context, each token once, for the longest context that has it; a context is
worth ``1 / (1 + count)`` of the one before, the chance of the unseen in prediction by partial
matching (Moffat, "Implementing the PPM data compression scheme", 1990). Nodes are taken by the
product of the shares from the root, greatest first, ties by the latest place, then by the order in
which they were found; none whose product is below ``least_share``, none deeper than ``depth``, none
whose parent was not taken, and ``nodes`` in all.

``reference`` searches the texts by brute force; ``cpu`` is numba. There is no version for a GPU:
it is integers and latency.
"""

from __future__ import annotations

from .automaton import Automaton
from .words import Continuations, Match, Rule

__all__ = ["Automaton", "Continuations", "Match", "Rule"]
