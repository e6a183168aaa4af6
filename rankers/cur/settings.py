"""What a user writes to search a collection by a pair scorer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import InputError
from ...stages import CollectionView, PairScorer, Retrieved
from ..table import PAIR_SCORERS
from .rounds import METHODS

ON_ERROR = ("raise", "keep")


@dataclass(frozen=True, slots=True)
class CUR:
    """Search the whole collection by a pair scorer, with at most ``budget`` calls for a query.

    It stands in ``retrieve`` like an index. A few items are scored, the scores of the others are
    estimated, the best of these are scored, and so on; see ``rankers/cur/rounds.py``.

    ``scorer``: a cross-encoder, or anything with ``score_pairs``. ``method``: ``axn`` (the
    default), ``adacur`` or ``anncur``. ``budget`` counts every call that the query makes, anchor
    items included; no pair is scored twice by a retrieval. Texts that are searched for one query
    share it; where feedback may write new ones, half is left for a second retrieval. ``anchors``:
    the index of the anchor queries' scores (:class:`~cormorant.rankers.cur.anchors.Anchors`), by
    name or kind; scores of another scorer are flagged; only AXN does without any (None).
    ``first``: the indexes of the first stage, fused where there are two; None: bm25 and dense,
    where the collection has them. ``side``: an index with vectors, which AXN learns from; None:
    none.

    ``rounds``: how often the estimate is renewed; ``first_share``: how much of the budget the first
    round spends. ``pool``: how many rows, the first of the first stage, are searched at most.
    ``on_error``: when the scorer raises, ``raise``, or ``keep`` what was scored, flagged.
    """

    kind: ClassVar[str] = "cur"
    scorer: PairScorer = field(metadata={"table": PAIR_SCORERS})
    method: str = "axn"
    budget: int = 200
    anchors: str | None = "anchors"
    first: tuple[str, ...] | None = None
    side: str | None = "dense"
    rounds: int = 8
    first_share: float = 0.3
    pool: int = 10_000
    seed: int = 0
    on_error: str = "raise"

    def __post_init__(self) -> None:
        if not hasattr(self.scorer, "score_pairs"):
            raise InputError(
                f"scores pairs, as CrossEncoder(...) does; got {self.scorer!r}", field="scorer"
            )
        for name, value, known in (
            ("method", self.method, METHODS),
            ("on_error", self.on_error, ON_ERROR),
        ):
            if value not in known:
                raise InputError(f"is one of {', '.join(known)}, got {value!r}", field=name)
        for name, low, high in (
            ("budget", 1, 1_000_000),
            ("rounds", 1, 1000),
            ("pool", 1, 100_000),
            ("seed", 0, 1 << 32),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise InputError(f"is an integer from {low} to {high:,}, got {value!r}", field=name)
        share: Any = self.first_share
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InputError(f"is above 0 and at most 1, got {share!r}", field="first_share")
        if self.anchors is None and self.method != "axn":
            raise InputError(
                f"{self.method} reads the scores of anchor queries; name their index, or take "
                "method='axn'",
                field="anchors",
            )

    def retrieve(self, queries: Sequence[str], view: CollectionView) -> Retrieved:
        """The rows of each query: those with exact scores, best first, then the estimates."""
        from .searching import retrieve

        return retrieve(self, queries, view)
