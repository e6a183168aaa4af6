"""A draft as a tree: joined with others, cut to its best part, seen as ancestors and depths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from ....contracts import BoolArray, Int64Array
from .types import Budget, Draft, Float64Array


def join(
    drafts: Sequence[Draft], budget: Budget, vocabulary: int, rate: Callable[[str], float]
) -> Draft:
    """Drafts merged by their common beginnings, the earlier ones first, within the budget.

    What does not fit is left out, and so is all below it: nodes too many or too deep, tokens that
    are not in the vocabulary. Where two drafters agree on a node, the first one's stays. Below
    each node, only the children of the draft that came there first keep the law they were drawn
    from: those of another are not all there in their order any more, and are taken as drafted
    without a law, which is exact too. Where a draft tells no chances, they are the product of its
    sources' rates.
    """
    tokens: list[int] = []
    parents: list[int] = []
    sources: list[str] = []
    passages: list[tuple[str, int] | None] = []
    laws: list[Float64Array | None] = []
    chances: list[float] = []
    depths: list[int] = []
    found: dict[tuple[int, int], int] = {}
    came_first: dict[int, int] = {}
    for number, draft in enumerate(drafts):
        place = {-1: -1}
        for node, (token, parent) in enumerate(
            zip(draft.tokens.tolist(), draft.parents.tolist(), strict=True)
        ):
            if parent not in place or not 0 <= token < vocabulary:
                continue
            above = place[parent]
            if (above, token) in found:
                place[node] = found[above, token]
                continue
            depth = 1 if above < 0 else depths[above] + 1
            if depth > budget.depth or len(tokens) == budget.nodes:
                continue
            place[node] = found[above, token] = len(tokens)
            drawn = came_first.setdefault(above, number) == number and draft.laws is not None
            law = draft.laws[node] if drawn and draft.laws is not None else None
            tokens.append(token)
            parents.append(above)
            sources.append(draft.sources[node])
            passages.append(draft.passages[node])
            laws.append(law)
            over = 1.0 if above < 0 else chances[above]
            chances.append(
                over * rate(draft.sources[node])
                if draft.chances is None
                else min(over, float(draft.chances[node]))
            )
            depths.append(depth)
    return Draft(
        np.array(tokens, np.int64),
        np.array(parents, np.int64),
        tuple(sources),
        tuple(passages),
        _stacked(laws, vocabulary),
        np.array(chances),
    )


def cut(draft: Draft, nodes: int) -> Draft:
    """The so many nodes of a joined draft that are likeliest to be right.

    Nodes that were drawn by a law are all kept: which of them are offered may not depend on what
    was drawn.
    """
    if len(draft) <= nodes or draft.laws is not None or draft.chances is None:
        return draft
    kept = np.sort(np.argsort(-draft.chances, kind="stable")[:nodes])
    place = np.full(len(draft) + 1, -1)
    place[kept] = np.arange(len(kept))
    return replace(
        draft,
        tokens=draft.tokens[kept],
        parents=place[draft.parents[kept]],
        sources=tuple(draft.sources[node] for node in kept),
        passages=tuple(draft.passages[node] for node in kept),
        chances=draft.chances[kept],
    )


def _stacked(laws: Sequence[Float64Array | None], vocabulary: int) -> Float64Array | None:
    if all(law is None for law in laws):
        return None
    none = np.zeros(vocabulary)
    return np.stack([none if law is None else law for law in laws])


def children(draft: Draft) -> list[list[int]]:
    """The children of node i at i + 1, those of the root at 0, in their order."""
    below: list[list[int]] = [[] for _ in range(len(draft) + 1)]
    for node, parent in enumerate(draft.parents.tolist()):
        below[parent + 1].append(node)
    return below


def depths_and_ancestors(draft: Draft, width: int) -> tuple[Int64Array, BoolArray]:
    """(width,) depths and (width, width) [node, ancestor or itself], the root first.

    ``width`` is at least 1 + n: what is beyond the draft is padding, which sees itself alone.
    """
    depths = np.zeros(width, np.int64)
    seen = np.eye(width, dtype=np.bool_)
    for node, parent in enumerate(draft.parents.tolist(), start=1):
        depths[node] = depths[parent + 1] + 1
        seen[node] |= seen[parent + 1]
    return depths, seen
