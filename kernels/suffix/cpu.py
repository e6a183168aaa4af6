"""The numba version: building the automaton token by token, and reading along it."""

from __future__ import annotations

import numba
import numpy as np

from ...contracts import Int64Array
from .layout import LAST, N_EDGES, N_STATES, States


@numba.njit(cache=True, nogil=True)
def _slot(states: States, state: int, token: int) -> np.uint64:
    key = (np.uint64(state) << np.uint64(32)) | np.uint64(token)
    key = (key ^ (key >> np.uint64(29))) * np.uint64(0x9E3779B97F4A7C15)
    return (key >> np.uint64(32)) & np.uint64(len(states.slots) - 1)


@numba.njit(cache=True, nogil=True)
def find(states: States, state: int, token: int) -> int:
    """The edge of a state by a token; -1 where it has none."""
    slot = _slot(states, state, token)
    while states.slots[slot] != 0:
        edge = states.slots[slot] - 1
        if states.sources[edge] == state and states.tokens[edge] == token:
            return int(edge)
        slot = (slot + np.uint64(1)) & np.uint64(len(states.slots) - 1)
    return -1


@numba.njit(cache=True, nogil=True)
def _enter(states: States, edge: int) -> None:
    slot = _slot(states, states.sources[edge], states.tokens[edge])
    while states.slots[slot] != 0:
        slot = (slot + np.uint64(1)) & np.uint64(len(states.slots) - 1)
    states.slots[slot] = edge + 1


@numba.njit(cache=True, nogil=True)
def enter_all(states: States) -> None:
    """Fill the slots of an automaton that was moved into larger arrays."""
    for edge in range(states.sizes[N_EDGES]):
        _enter(states, edge)


@numba.njit(cache=True, nogil=True)
def _add_edge(states: States, state: int, token: int, target: int) -> None:
    edge = states.sizes[N_EDGES]
    states.sizes[N_EDGES] += 1
    states.sources[edge] = state
    states.tokens[edge] = token
    states.targets[edge] = target
    states.following[edge] = states.edges[state]
    states.edges[state] = edge
    _enter(states, edge)


@numba.njit(cache=True, nogil=True)
def _add_state(states: States, length: int) -> int:
    state = states.sizes[N_STATES]
    states.sizes[N_STATES] += 1
    states.lengths[state] = length
    states.counts[state] = 0
    states.latest[state] = -1
    states.edges[state] = -1
    return int(state)


@numba.njit(cache=True, nogil=True)
def _split(states: States, parent: int, token: int, whole: int, counted: bool) -> int:
    """Part from a state its stretches of at most the parent's length and the token."""
    part = _add_state(states, states.lengths[parent] + 1)
    edge = states.edges[whole]
    while edge >= 0:
        _add_edge(states, part, states.tokens[edge], states.targets[edge])
        edge = states.following[edge]
    if counted:
        states.counts[part] = states.counts[whole]
        states.latest[part] = states.latest[whole]
    states.links[part] = states.links[whole]
    states.links[whole] = part
    while parent >= 0:
        edge = find(states, parent, token)
        if edge < 0 or states.targets[edge] != whole:
            break
        states.targets[edge] = part
        parent = states.links[parent]
    return int(part)


@numba.njit(cache=True, nogil=True)
def _step(states: States, token: int, counted: bool) -> int:
    """The state of the text so far and one token more."""
    last = int(states.sizes[LAST])
    edge = find(states, last, token)
    if edge >= 0:
        target = int(states.targets[edge])
        if states.lengths[target] == states.lengths[last] + 1:
            return target
        return int(_split(states, last, token, target, counted))
    state = _add_state(states, states.lengths[last] + 1)
    parent = last
    while parent >= 0 and edge < 0:
        _add_edge(states, parent, token, state)
        parent = int(states.links[parent])
        if parent >= 0:
            edge = find(states, parent, token)
    states.links[state] = 0
    if parent >= 0:
        target = int(states.targets[edge])
        if states.lengths[target] != states.lengths[parent] + 1:
            target = _split(states, parent, token, target, counted)
        states.links[state] = target
    return int(state)


@numba.njit(cache=True, nogil=True)
def insert(states: States, tokens: Int64Array, first: int, counted: bool) -> None:
    """Go on with the last text; the first token's place is ``first``.

    ``counted``: keep counts and latest places true after every token, for as many steps as the text
    has ends that stood before; else only each text's own are noted, for :func:`count_all`.
    """
    for number in range(len(tokens)):
        state = _step(states, tokens[number], counted)
        states.sizes[LAST] = state
        while state > 0:
            states.counts[state] += 1
            states.latest[state] = first + number
            state = int(states.links[state]) if counted else 0


@numba.njit(cache=True, nogil=True)
def count_all(states: States) -> None:
    """Counts and latest places of all states, from those of whole texts and their beginnings."""
    n = states.sizes[N_STATES]
    order = np.argsort(states.lengths[:n], kind="mergesort")
    for number in range(n - 1, 0, -1):
        state = order[number]
        link = states.links[state]
        states.counts[link] += states.counts[state]
        states.latest[link] = max(states.latest[link], states.latest[state])


@numba.njit(cache=True, nogil=True)
def advance(states: States, state: int, length: int, tokens: Int64Array) -> tuple[int, int]:
    """See :mod:`cormorant.kernels.suffix`."""
    for token in tokens:
        edge = find(states, state, token)
        while edge < 0 and state > 0:
            state = int(states.links[state])
            length = int(states.lengths[state])
            edge = find(states, state, token)
        if edge >= 0:
            state = int(states.targets[edge])
            length += 1
    return state, length
