"""A draft, and what its drafter thinks of it: what the fusion goes by."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np

from ....contracts import Int64Array
from ..decoding.types import Budget, Draft, Drafting, Float64Array


class Proposal(NamedTuple):
    """A draft and its reasons.

    ``contexts``: (n,) int64, how many tokens of context a branch goes by. ``shares``: (n,) float64
    from 0 to 1, the drafter's own estimate of a node where its parent is right.
    """

    draft: Draft
    contexts: Int64Array
    shares: Float64Array

    @classmethod
    def empty(cls) -> Proposal:
        """Nothing drafted."""
        return cls(Draft.empty(), np.zeros(0, np.int64), np.zeros(0))


@runtime_checkable
class Proposing(Drafting, Protocol):
    """A drafter's state that says what it thinks of its drafts."""

    def proposal(self, budget: Budget) -> Proposal:
        """What ``propose`` gives, with the reasons."""
        ...


class Nodes:
    """A proposal that is drawn up node by node."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._nodes: list[tuple[int, int, int, float]] = []

    def __len__(self) -> int:
        return len(self._nodes)

    def add(self, token: int, parent: int, context: int, share: float) -> int:
        """A node more; its number."""
        self._nodes.append((token, parent, context, share))
        return len(self._nodes) - 1

    def proposal(self, laws: list[Float64Array] | None = None) -> Proposal:
        """All of them; ``laws``: of each, where they were drawn."""
        n = len(self._nodes)
        if not n:
            return Proposal.empty()
        tokens, parents, contexts = np.array([node[:3] for node in self._nodes], np.int64).T
        draft = Draft(
            tokens.copy(), parents.copy(), (self._source,) * n, (None,) * n,
            None if laws is None else np.array(laws),
        )  # fmt: skip
        return Proposal(draft, contexts, np.array([node[3] for node in self._nodes]))


def depths(parents: Int64Array) -> Int64Array:
    """How deep each node of a tree is, from 1: (n,) int64."""
    found = np.ones(len(parents), np.int64)
    for node, parent in enumerate(parents.tolist()):
        if parent >= 0:
            found[node] = found[parent] + 1
    return found
