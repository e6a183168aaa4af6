"""Several proposals in one tree, each token once under its parent, and the best part of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..decoding.types import Budget, Draft, Float64Array
from .proposal import Proposal, depths


class Offer(NamedTuple):
    """What a drafter said of a node: its name, length of context and share."""

    source: str
    length: int
    share: float


@dataclass(slots=True)
class Node:
    """A token under its parent; ``path``: the chance that all from the root to it is right."""

    token: int
    parent: int
    path: float
    law: Float64Array | None
    passage: tuple[str, int] | None = None
    offers: list[Offer] = field(default_factory=list)


class Merged:
    """The nodes of several proposals, a parent before its children."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self._at: dict[tuple[int, int], int] = {}

    def add(
        self,
        proposal: Proposal,
        chances: Sequence[float],
        laws: Float64Array | None = None,
        barred: Collection[int] = (),
    ) -> None:
        """Merge a proposal, without the nodes ``barred`` and what is below them.

        ``laws``: of nodes that were drawn; these are added first.
        """
        draft = proposal.draft
        lengths = proposal.contexts + depths(draft.parents) - 1
        place = {-1: -1}
        for number, parent in enumerate(draft.parents.tolist()):
            if parent not in place or number in barred:
                continue
            above, token = place[parent], int(draft.tokens[number])
            path = chances[number] * (self.nodes[above].path if above >= 0 else 1.0)
            at = place[number] = self._at.setdefault((above, token), len(self.nodes))
            if at == len(self.nodes):
                law = None if laws is None else laws[number]
                self.nodes.append(Node(token, above, path, law))
            node = self.nodes[at]
            node.path = max(node.path, path)
            node.passage = node.passage or draft.passages[number]
            share = float(proposal.shares[number])
            node.offers.append(Offer(draft.sources[number], int(lengths[number]), share))

    def chosen(self, budget: Budget) -> list[int]:
        """The nodes to draft: all that were drawn, then the likeliest; parents first."""
        nodes = self.nodes
        kept: set[int] = set()
        for at in sorted(
            range(len(nodes)), key=lambda at: (nodes[at].law is None, -nodes[at].path)
        ):
            if len(kept) < budget.nodes and (nodes[at].parent < 0 or nodes[at].parent in kept):
                kept.add(at)
        return sorted(kept)

    def draft(self, kept: Sequence[int], vocabulary: int) -> Draft:
        """Some of the nodes as a draft; each is its first drafter's."""
        nodes = [self.nodes[at] for at in kept]
        place = {-1: -1} | {at: number for number, at in enumerate(kept)}
        laws = None
        if any(node.law is not None for node in nodes):
            none = np.zeros(vocabulary)
            laws = np.array([none if node.law is None else node.law for node in nodes])
        return Draft(
            np.array([node.token for node in nodes], np.int64),
            np.array([place[node.parent] for node in nodes], np.int64),
            tuple(node.offers[0].source for node in nodes),
            tuple(node.passage for node in nodes),
            laws,
            np.array([node.path for node in nodes]),
        )
