"""What a user writes to rank by a language model, and the ranker that does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ...errors import InputError
from ...ranking import Ranking
from ...stages import Budget, Candidates, LanguageModel
from ..checks import check_number
from ..table import LANGUAGE_MODELS
from .asking import LETTERS
from .consistency import AGGREGATES
from .judging import Judged, judge
from .judging import rank as rank_all
from .prompts import LISTWISE, Template

METHODS = ("full", "windows", "first", "setwise", "tournament")
ON_ERROR = ("raise", "keep")


@dataclass(frozen=True, slots=True)
class Listwise:
    """Reorder the first ``depth`` candidates by a language model.

    ``method``: ``full``, all in one call; ``windows`` of ``window`` passages by ``stride``;
    ``first``, windows ordered by the logits of their identifiers' tokens (local models);
    ``setwise``, a heap of which the best are taken, ``children`` to a parent; ``tournament`` of
    groups of ``window``.

    ``top``: only so many places are asked for, and the rest keep their order (None: all; setwise:
    10). ``shuffles``: the passages are shown in so many orders, the first as they are, and the
    answers made one by ``aggregate`` (``kendall``, ``borda`` or ``rrf``). ``prior_weight``: what
    the first stage's ranks count beside the model's. A passage that talks the model into the first
    place is then still behind about this share of what was before it, however it does so.

    ``passage_tokens``: what is shown of a passage. ``calls`` and ``tokens``: the most that may be
    spent on a query; a call that fails and is tried again counts again, and tokens count by what
    the model says or an estimate, whichever is more. ``attempts``: how often a question is asked
    whose answer cannot be used. What is not answered moves nothing: ``setwise`` takes no more out,
    a round of ``tournament`` is void, and of several orders only those count for which all was
    answered; without any, the unshuffled one as far as it got.
    ``concurrency``: calls at a time, of all queries of a batch. ``on_error``: when the model fails,
    ``raise``, or ``keep`` the order, flagged.
    """

    kind: ClassVar[str] = "listwise"
    language_model: LanguageModel = field(metadata={"table": LANGUAGE_MODELS})
    method: str = "full"
    depth: int = 100
    top: int | None = None
    window: int = 20
    stride: int = 10
    children: int = 3
    rounds: int = 1
    shuffles: int = 1
    aggregate: str = "kendall"
    prior_weight: float = 0.2
    passage_tokens: int = 100
    calls: int | None = None
    tokens: int | None = None
    attempts: int = 2
    concurrency: int = 4
    seed: int = 0
    on_error: str = "raise"
    template: Template = LISTWISE

    def __post_init__(self) -> None:
        if not hasattr(self.language_model, "complete"):
            raise InputError(
                f"is a model such as OpenAIModel(...), got {self.language_model!r}",
                field="language_model",
            )
        for name, value, known in (
            ("method", self.method, METHODS),
            ("aggregate", self.aggregate, AGGREGATES),
            ("on_error", self.on_error, ON_ERROR),
        ):
            if value not in known:
                raise InputError(f"is one of {', '.join(known)}, got {value!r}", field=name)
        for name, low, high in (
            ("depth", 1, 1000),
            ("window", 2, 1000),
            ("stride", 1, 1000),
            ("children", 1, 100),
            ("rounds", 1, 100),
            ("shuffles", 1, 100),
            ("passage_tokens", 1, 100_000),
            ("attempts", 1, 10),
            ("concurrency", 1, 256),
            ("seed", 0, 1 << 32),
        ):
            _check(name, getattr(self, name), low, high)
        for name, low in (("top", 1), ("calls", 0), ("tokens", 0)):
            if getattr(self, name) is not None:
                _check(name, getattr(self, name), low, 1 << 40)
        if self.stride >= self.window:
            raise InputError(
                f"is below the window ({self.window}), or nothing would be carried up; "
                f"got {self.stride}",
                field="stride",
            )
        if self.method == "first" and self.window > len(LETTERS):
            raise InputError(f"is at most {len(LETTERS)} for 'first'", field="window")
        check_number("prior_weight", self.prior_weight, 0, 1)

    def judge(self, query: str, texts: Sequence[str], budget: Budget | None = None) -> Judged:
        """The order of passages in their prior order, with all that was spent and repaired."""
        return judge(self, query, texts, Budget() if budget is None else budget)

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The candidates in the model's order; scores fall from 1 by equal steps."""
        return rank_all(self, candidates, budget)


def _check(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"is an integer from {low} to {high:,}, got {value!r}", field=name)
