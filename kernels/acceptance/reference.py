"""The specification: numpy in float64, a row at a time."""

from __future__ import annotations

import numpy as np

from ...contracts import Array


def accept(
    target: Array,
    laws: Array | None,
    tokens: Array,
    parents: Array,
    coins: Array,
    picks: Array,
    rule: str,
) -> tuple[Array, Array]:
    """Tokens and nodes, (rows, n + 1) int64."""
    chosen = np.full((len(target), target.shape[1]), -1, np.int64)
    nodes = np.full_like(chosen, -1)
    drawn_from = np.zeros_like(target[:, 1:]) if laws is None else laws
    for row in range(len(target)):
        node = -1
        for depth in range(target.shape[1]):
            children = np.flatnonzero(parents[row] == node)
            law = target[row, node + 1].astype(np.float64)
            trials = [child for child in children if drawn_from[row, child].any()]
            trials = trials[: {"p_over_q": 1, "without_replacement": len(trials)}.get(rule, 0)]
            token = -1
            law = law if rule == "greedy" else law / law.sum()
            for number, child in enumerate(trials):
                q = drawn_from[row, child].astype(np.float64)
                q[tokens[row, trials[:number]]] = 0
                q /= q.sum()
                if coins[row, child + 1] < law[tokens[row, child]] / q[tokens[row, child]]:
                    token = int(tokens[row, child])
                    break
                left = np.maximum(law - q, 0)
                law = left / left.sum() if left.any() else law
            if rule == "greedy":
                token = int(np.argmax(law))
            elif token < 0:
                above = np.flatnonzero(np.cumsum(law) > picks[row, depth] * law.sum())
                token = int(above[0]) if len(above) else int(np.flatnonzero(law)[-1])
            chosen[row, depth] = token
            same = children[tokens[row, children] == token]
            if not len(same):
                break
            node = int(same[0])
            nodes[row, depth] = node
    return chosen, nodes
