"""Sampled drafts verified on a GPU: one call of ``kernels/acceptance`` for all rows of a step.

It chooses what the walk of :mod:`.verify` chooses, by the same draws, and spares a copy of a law to
the CPU for every token. For processors of the caller's that is no way: they see each token once,
and no rejected one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from ....contracts import Float32Array
from ....kernels import acceptance
from ....kernels.acceptance.checking import deepest
from .draws import Chance
from .processing import Processing
from .trees import children
from .types import Draft, Float64Array, Sampling


class Choices(NamedTuple):
    """What is chosen at a row's root (0) and nodes (i + 1), should the walk come there.

    ``tokens``: by node; ``processed``: the logits (1 + nodes, vocabulary) that they are chosen by.
    """

    tokens: Sequence[int]
    processed: Any


def choices(
    logits: Any,
    drafts: Sequence[Draft],
    positions: Sequence[int],
    sampling: Sampling,
    processing: Processing,
) -> list[Choices]:
    """Of every row: logits (rows, 1 + nodes, vocabulary), and the position of its next token."""
    import torch

    rows, steps, vocabulary = logits.shape
    processed = processing.of_all(logits)
    tokens = np.zeros((rows, steps - 1), np.int64)
    parents = np.full((rows, steps - 1), -2, np.int64)
    coins = np.zeros((rows, steps - 1))
    laws = torch.zeros((rows, steps - 1, vocabulary), dtype=torch.float32, device=logits.device)
    for row, draft in enumerate(drafts):
        tokens[row, : len(draft)], parents[row, : len(draft)] = draft.tokens, draft.parents
        if draft.laws is not None:
            laws[row, : len(draft)] = torch.from_numpy(draft.laws).to(laws)
            coins[row, : len(draft)] = _coins(draft, draft.laws, sampling.seed, positions[row])
    depths = range(1 + deepest(parents))
    noise = np.stack(
        [[_noise(sampling.seed, at + depth, vocabulary) for depth in depths] for at in positions]
    )
    chosen = acceptance.accept(
        processed.softmax(-1),
        laws if any(draft.laws is not None for draft in drafts) else None,
        tokens,
        parents,
        coins,
        torch.from_numpy(noise).to(logits.device),
        sampling.rule,
    )
    by_node = np.full((rows, steps), -1, np.int64)
    by_node[:, 0] = chosen.tokens[:, 0]
    for row, depth in np.argwhere(chosen.nodes >= 0).tolist():
        by_node[row, 1 + chosen.nodes[row, depth]] = chosen.tokens[row, depth + 1]
    return [Choices(*of) for of in zip(by_node.tolist(), processed, strict=True)]


def _coins(draft: Draft, laws: Float64Array, seed: int, position: int) -> Float64Array:
    """(nodes,): of each child with a law, in turn, the next coin of its position."""
    coins = np.zeros(len(draft))
    depths = [0]
    for parent in draft.parents.tolist():
        depths.append(1 + depths[parent + 1])
    for node, below in enumerate(children(draft)):
        drawn = [child for child in below if laws[child].any()]
        coins[drawn] = Chance(seed, position + depths[node]).coins(len(drawn))
    return coins


@lru_cache(maxsize=64)
def _noise(seed: int, position: int, vocabulary: int) -> Float32Array:
    """A rejected token's position comes again at the next step."""
    return Chance(seed, position).noise(vocabulary).astype(np.float32)
