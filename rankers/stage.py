"""A stage of reranking: a ranker with the budget it has and what happens when it fails."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import InputError
from ..stages import Budget, Ranker
from .checks import check_number

ON_ERROR = ("raise", "keep")


@dataclass(frozen=True, slots=True)
class Stage:
    """A ranker in a pipeline, with more to say than its settings do.

    ``on_error``: ``raise`` (the default, as of a ranker that stands alone), or ``keep``: where the
    ranker raises, or answers with other rows or with NaN, the order before it stays and the result
    is flagged. Wrong settings, a damaged collection and a deadline are errors all the same.
    ``budget``: what each query may spend; None: what the search has left. ``prior_weight``, from 0
    (the ranker's word alone) to 1: the share that the scores before it have in its scores, both
    brought to 0 to 1 by the least and the greatest of the query's candidates (Akkalyoncu Yilmaz et
    al., "Cross-Domain Modeling of Sentence-Level Evidence for Document Retrieval", EMNLP 2019,
    interpolate so). What the ranker did not score stays behind, in its order.

    As JSON: ``{"stage": {"kind": ...}, "on_error": "keep", "budget": {"calls": 20}}``.
    """

    kind: ClassVar[str] = "stage"
    ranker: Ranker
    on_error: str = "raise"
    budget: Budget | None = None
    prior_weight: float = 0.0

    def __post_init__(self) -> None:
        ranker: Any = self.ranker
        if isinstance(ranker, Stage) or not (hasattr(ranker, "rank") and hasattr(ranker, "depth")):
            raise InputError(
                f"is a ranker such as CrossEncoder(...), got {ranker!r}", field="stage"
            )
        if self.on_error not in ON_ERROR:
            raise InputError(
                f"is one of {', '.join(ON_ERROR)}, got {self.on_error!r}", field="on_error"
            )
        check_number("prior_weight", self.prior_weight, 0, 1)
        if self.budget is not None:
            if not isinstance(self.budget, Budget):
                raise InputError(f"is a Budget, got {self.budget!r}", field="budget")
            check_budget(self.budget)

    @property
    def depth(self) -> int:
        """How many candidates the ranker is given."""
        return self.ranker.depth

    @property
    def name(self) -> str:
        """The ranker's kind."""
        return str(getattr(self.ranker, "kind", type(self.ranker).__name__))


def as_stage(value: Ranker | Stage) -> Stage:
    """A ranker as a stage."""
    return value if isinstance(value, Stage) else Stage(value)


def check_budget(budget: Budget) -> None:
    """Raises :class:`~cormorant.errors.InputError` for what is not a number of at least 0."""
    for name in ("calls", "tokens", "milliseconds"):
        value: Any = getattr(budget, name)
        kinds = int | float if name == "milliseconds" else int
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < float("inf"):
            raise InputError(
                f"{name} is a number of at least 0, or none at all, got {value!r}", field="budget"
            )
