"""What all fusions of normalised scores share: weighted parts of each list, summed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..contracts import Float32Array, Int64Array, TrueScores
from ..ranking import Ranking
from ..stages import RankedList
from .candidates import Candidates, Float64Array, best, check_lists, gathered, look_up
from .checks import check_choice
from .norms import MISSING, NORMS, blocks_of, normalised


class ScoreFusion:
    """A fusion by scores: a frozen dataclass with ``norm`` and ``missing``, which has weights."""

    __slots__ = ()
    norm: str
    missing: str

    def __post_init__(self) -> None:
        check_choice("norm", self.norm, NORMS)
        check_choice("missing", self.missing, MISSING)

    def list_weights(self, lists: Sequence[RankedList]) -> Float64Array:
        """What each list weighs: (n_lists, n_queries or 1) float64."""
        raise NotImplementedError

    def counted(self, parts: Float64Array, block: Candidates) -> Float64Array:
        """The parts of the sum, (n_lists, n_queries, m), after what only their number decides."""
        return parts

    def fuse(self, lists: Sequence[RankedList], score: TrueScores, k: int) -> Ranking:
        """The k best rows of each query; asks each index at most once for true scores.

        Raises :class:`~cormorant.errors.InputError` for a wrong number of weights, and
        :class:`~cormorant.errors.CormorantError` for a list with a row twice or a score that is
        NaN or +inf.
        """
        n_queries = check_lists(lists)
        flags = tuple(dict.fromkeys(flag for item in lists for flag in item.ranking.flags))
        weights = self.list_weights(lists)
        blocks = []
        for block in blocks_of(lists, self.missing, score):
            total = np.zeros(block.rows.shape)
            for part in self._parts(lists, block, weights):
                total += part
            blocks.append(best(block, total, k))
        return gathered(blocks, flags) if blocks else Ranking.empty(n_queries, k, flags)

    def contributions(
        self, lists: Sequence[RankedList], score: TrueScores, rows: Int64Array
    ) -> Float32Array:
        """What each list adds to the fused scores of given rows: (n_lists, n_queries, m)."""
        check_lists(lists)
        weights = self.list_weights(lists)
        found = np.zeros((len(lists), *rows.shape), np.float32)
        for block in blocks_of(lists, self.missing, score):
            parts = self._parts(lists, block, weights)
            found[:, block.queries] = look_up(block, parts, rows[block.queries])
        return found

    def _parts(
        self, lists: Sequence[RankedList], block: Candidates, weights: Float64Array
    ) -> Float64Array:
        """Each list's weighted, normalised scores of a block's candidates."""
        many = weights.shape[1] > 1
        own = weights[:, block.queries] if many else weights
        parts = [
            weight[:, None] * normalised(scores, item.lowest_score, self.norm)
            for item, scores, weight in zip(lists, block.values, own, strict=True)
        ]
        return self.counted(np.stack(parts), block)
