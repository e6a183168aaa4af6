"""The automaton as arrays, and what they have room for.

State 0 is the empty stretch. Edges of a state are a list through ``following``; ``slots`` finds one
by its state and token (open addressing, linear probing; an edge's number plus one, 0 for none).
A set of texts of N tokens has at most 2 N states and 3 N edges.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...contracts import Int64Array

Int32Array = NDArray[np.int32]

N_STATES, N_EDGES, LAST = 0, 1, 2


class States(NamedTuple):
    """What there is of each state, of each edge, and of all.

    Of a state: its longest stretch's length, the state of its longest end that stands at more
    places, how many places, the last of them, its first edge. Of an edge: its state, token, target,
    and the state's next edge. ``sizes``: states, edges, and the state of the last text so far.
    """

    lengths: Int32Array
    links: Int32Array
    counts: Int32Array
    latest: Int32Array
    edges: Int32Array
    sources: Int32Array
    tokens: Int32Array
    targets: Int32Array
    following: Int32Array
    slots: Int32Array
    sizes: Int64Array


def states_for(n_tokens: int) -> States:
    """An automaton of no text, with room for texts of ``n_tokens`` together."""
    n_states, n_edges = 2 * n_tokens + 2, 3 * n_tokens + 4
    lengths, links, counts, latest, edges = np.zeros((5, n_states), np.int32)
    sources, tokens, targets, following = np.zeros((4, n_edges), np.int32)
    links[0] = latest[0] = edges[0] = -1
    slots = np.zeros(1 << (2 * n_edges - 1).bit_length(), np.int32)
    return States(
        lengths, links, counts, latest, edges, sources, tokens, targets, following, slots,
        np.array([1, 0, 0], np.int64),
    )  # fmt: skip


def grown(states: States, n_tokens: int) -> States:
    """The same automaton with room for ``n_tokens``; its slots are yet to be filled."""
    larger = states_for(n_tokens)
    for before, after in zip(states[:-2], larger[:-2], strict=True):
        after[: len(before)] = before
    larger.sizes[:] = states.sizes
    return larger
