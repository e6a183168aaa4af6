"""Reranking by a cross-encoder: query and passage through one model, a score out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ..contracts import Float32Array
from ..ranking import Ranking
from ..stages import Budget, Candidates
from .checks import check_choice, check_depth, check_integer, check_name
from .pairs import rank_pairs

if TYPE_CHECKING:
    from .pair_model import CrossEncoderScorer

PRECISIONS = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class CrossEncoder:
    """Reorder the first ``depth`` candidates by a cross-encoder's scores.

    ``model``: a folder, or a name in the Hugging Face hub's cache (``revision``: its commit);
    safetensors only, no code of its own, nothing is downloaded. ``window``: tokens of a pair that
    are read at once (None: the model's), ``passages``: of a longer text at most so many are read,
    and the best one counts. ``precision``: auto is bfloat16 where the processor has
    instructions for it, else float32; scores are float32 logits either way. Scores are remembered
    by model and texts while the process keeps the model: the last few that were asked for.

    Nogueira and Cho, "Passage Re-ranking with BERT", 2019; passages by their maximum: Dai and
    Callan, "Deeper Text Understanding for IR with Contextual Neural Language Modeling", SIGIR 2019.
    """

    kind: ClassVar[str] = "cross_encoder"
    model: str
    depth: int = 100
    revision: str | None = None
    window: int | None = None
    passages: int = 4
    precision: str = "auto"

    def __post_init__(self) -> None:
        check_name("model", self.model)
        check_depth(self.depth)
        check_integer("passages", self.passages, 1, 1000)
        if self.window is not None:
            check_integer("window", self.window, 16, 1 << 20)
        check_choice("precision", self.precision, PRECISIONS)

    @property
    def identity(self) -> str:
        """What decides a score: weights, vocabulary, configuration, and how pairs are read."""
        return self.scorer().identity

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """(n,) float32, higher is better: as a ``stages.PairScorer``."""
        return self.scorer().score_pairs(pairs)

    def scorer(self) -> CrossEncoderScorer:
        """The model, loaded when it is first asked for; whoever reads it in any way shares it.

        Raises:
            ModelNotFoundError, InputError, MissingDependencyError: see ``load_scorer``.
        """
        from .pair_model import Reading, load_scorer

        return load_scorer(
            self.model,
            revision=self.revision,
            reading=Reading(self.window, self.passages),
            precision=self.precision,
        )

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The candidates by their scores; see :func:`cormorant.rankers.pairs.rank_pairs`."""
        if not any(len(item.rows) for item in candidates):
            return Ranking.empty(len(candidates), 0)
        return rank_pairs(self.scorer(), candidates, budget)
