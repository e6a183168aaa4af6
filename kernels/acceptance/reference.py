"""The specification: numpy in float64, a row at a time."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...contracts import Array, Int64Array
from . import Chosen


def accept(
    target: Any,
    laws: Any | None,
    tokens: Int64Array,
    parents: Int64Array,
    coins: Array,
    noise: Any,
    rule: str,
) -> Chosen:
    """See :mod:`cormorant.kernels.acceptance`."""
    target, noise = target.double().cpu().numpy(), noise.double().cpu().numpy()
    drawn_from = np.zeros_like(target[:, 1:]) if laws is None else laws.double().cpu().numpy()
    chosen = np.full(noise.shape[:2], -1, np.int64)
    nodes = np.full_like(chosen, -1)
    for row in range(len(target)):
        node = -1
        for depth in range(noise.shape[1]):
            children = np.flatnonzero(parents[row] == node)
            law = target[row, node + 1] / target[row, node + 1].sum()
            trials = [child for child in children if drawn_from[row, child].any()]
            trials = trials[: {"match": 0, "p_over_q": 1}.get(rule, len(trials))]
            token = -1
            for number, child in enumerate(trials):
                q = drawn_from[row, child].copy()
                q[tokens[row, trials[:number]]] = 0
                q /= q.sum()
                if coins[row, child] < law[tokens[row, child]] / q[tokens[row, child]]:
                    token = int(tokens[row, child])
                    break
                left = np.maximum(law - q, 0)
                law = left / left.sum() if left.any() else law
            if token < 0:
                with np.errstate(divide="ignore"):
                    token = int(np.argmax(np.log(law) + noise[row, depth]))
            chosen[row, depth] = token
            same = children[tokens[row, children] == token]
            if not len(same):
                break
            node = int(same[0])
            nodes[row, depth] = node
    return Chosen(chosen, nodes)
