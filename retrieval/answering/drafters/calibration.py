"""How often a drafter's nodes are right, by the length of context they go by."""

from __future__ import annotations

from collections import defaultdict

from .proposal import Proposal, depths

STRENGTH = 8.0
"""The prior counts as so many nodes seen."""
MEMORY = 0.995
"""Of a node seen, at the next of its kind."""
_LONGEST = 6


class Calibration:
    """The chance of a node whose parent is right: the drafter's share, by what shares were worth.

    Nodes are told apart by drafter and by the binary length of their context, which grows by a
    token a level. Before any is seen, shares are taken at their word; of what was seen, the last
    some hundred count.
    """

    def __init__(self) -> None:
        self._hits: dict[tuple[str, int], float] = defaultdict(float)
        self._shares: dict[tuple[str, int], float] = defaultdict(float)

    def chances(self, proposal: Proposal) -> list[float]:
        """Of each node of a proposal."""
        lengths = (proposal.contexts + depths(proposal.draft.parents) - 1).tolist()
        return [
            min(1.0, share * self._worth(source, length))
            for source, length, share in zip(
                proposal.draft.sources, lengths, proposal.shares.tolist(), strict=True
            )
        ]

    def learn(self, source: str, length: int, share: float, right: bool) -> None:
        """A node, offered where its parent was right, was right or was not."""
        key = source, min(length.bit_length(), _LONGEST)
        self._hits[key] = MEMORY * self._hits[key] + right
        self._shares[key] = MEMORY * self._shares[key] + share

    def _worth(self, source: str, length: int) -> float:
        key = source, min(length.bit_length(), _LONGEST)
        return (self._hits[key] + STRENGTH) / (self._shares[key] + STRENGTH)
