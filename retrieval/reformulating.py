"""Queries in the place of those that were asked, and the answers to several of them made one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts import Float32Array, Int64Array
from ..errors import CormorantError
from ..rankers.rewriting import Rewrites
from ..ranking import Ranking
from ..stages import Budget, Fusion, RankedList, Reformulation

if TYPE_CHECKING:
    from .search import Search


def rewritten(
    search: Search | None, stage: Any, asked: Any, otherwise: Callable[[Any], Any]
) -> Any:
    """What a stage makes of what is asked; one that spends is given half of the time that is left.

    The other half is for searching with it.
    """
    if search is None or not isinstance(stage, Rewrites):
        return otherwise(asked)
    left = search.deadline.budget
    half = None if left.milliseconds is None else left.milliseconds / 2
    made = stage.rewrite(asked, left.within(Budget(milliseconds=half)))
    search.flags += made.flags
    return made.queries


def reformulated(
    stage: Reformulation, texts: Sequence[str], search: Search | None = None
) -> list[list[str]]:
    """For each query what to search for; ``search``: whose time it is, and who is flagged.

    Raises :class:`~cormorant.errors.CormorantError` where a query is left without any.
    """
    options = [list(own) for own in rewritten(search, stage, texts, stage.reformulate)]
    if len(options) != len(texts) or not all(options):
        raise CormorantError(
            f"the reformulation {getattr(stage, 'kind', type(stage).__name__)!r} gave queries for "
            f"{sum(map(bool, options))} of {len(texts)}"
        )
    return options


def over_options(fusion: Fusion, found: Ranking, counts: Sequence[int]) -> Ranking:
    """One answer a query of the answers to its options, which stand one after the other."""
    starts = np.cumsum([0, *counts[:-1]])
    lists = []
    for number in range(max(counts)):
        part = Ranking.empty(len(counts), found.depth)
        for query, (start, count) in enumerate(zip(starts.tolist(), counts, strict=True)):
            if number < count:
                part.rows[query] = found.rows[start + number]
                part.scores[query] = found.scores[start + number]
        lists.append(RankedList(f"option {number + 1}", "option", part, None))
    fused = fusion.fuse(lists, _no_true_scores, found.depth)
    return Ranking(fused.rows, fused.scores, (*found.flags, *fused.flags))


def _no_true_scores(index: str, rows: Int64Array) -> Float32Array:
    raise CormorantError(
        f"{index} has no true scores; fuse reformulated queries by rank (RRF) or with "
        "missing='zero'"
    )
