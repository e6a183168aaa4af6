"""What may be tuned in a pipeline: its lists and their indexes, depths, fusion and feedback.

Everything that a pipeline file can say is a parameter here. What only an index's settings say (a
quantiser, a target recall, BM25's k1) is tuned by choice: where a collection has several indexes of
a kind, a list may be answered by any of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..contracts import HasTerms, HasVectors, IndexSettings
from ..errors import InputError
from ..rankers.convex import Convex
from ..rankers.norms import NORMS
from ..rankers.rrf import RRF
from ..rankers.stage import Stage
from ..rankers.term_feedback import RM3
from ..rankers.vector_feedback import METHODS, VectorPRF
from ..retrieval.pipeline import Pipeline, Retrieve
from ..stages import Feedback, Fusion, Ranker

if TYPE_CHECKING:
    from optuna import Trial

DEPTHS = (50, 100, 200, 400)
RERANK_DEPTHS = (10, 20, 50, 100)
MOST_LISTS = 6


@dataclass(frozen=True, slots=True)
class Space:
    """The pipelines that are tried, around one to start from.

    ``indexes``: name -> settings of everything in the collection. ``at_least``: no list is handed
    on shorter than the measure is deep.
    """

    start: Pipeline
    indexes: Mapping[str, IndexSettings]
    at_least: int = 1

    def __post_init__(self) -> None:
        if len(self.start.retrieve) > MOST_LISTS:
            raise InputError(f"at most {MOST_LISTS} lists are tuned", field="retrieve")

    def suggest(self, trial: Trial) -> Pipeline:
        """The pipeline of one trial."""
        chosen = self._lists(trial)
        names = [item.index for item in chosen]
        feedback = [
            stage for item in chosen if (stage := self._feedback(trial, item.index)) is not None
        ]
        depths = [depth for depth in DEPTHS if depth >= self.at_least] or [self.at_least]
        return Pipeline(
            chosen,
            _fusion(trial, names) if len(chosen) > 1 else None,
            feedback,
            [_reranked(trial, place, stage) for place, stage in enumerate(self.start.rerank)],
            self.start.reformulate,
            trial.suggest_categorical("depth", depths),
        )

    def _lists(self, trial: Trial) -> list[Retrieve]:
        """Some of the start's lists, each from an index of its kind."""
        items = {item.index: item for item in self.start.retrieve}
        subsets = list(_subsets(list(items)))
        asked = subsets[0]
        if len(subsets) > 1:
            asked = trial.suggest_categorical("lists", subsets)
        return [self._served(trial, items[name]) for name in asked.split("+")]

    def _served(self, trial: Trial, item: Retrieve) -> Retrieve:
        settings = self.indexes.get(item.index)
        if item.by is not None or settings is None:
            return item
        alike = [name for name, other in self.indexes.items() if other.kind == settings.kind]
        taken = {other.index for other in self.start.retrieve} - {item.index}
        free = [name for name in alike if name not in taken]
        if len(free) == 1:
            return Retrieve(item.index)
        return Retrieve(trial.suggest_categorical(f"{item.index}.index", free))

    def _feedback(self, trial: Trial, index: str) -> Feedback | None:
        """Feedback for an index that takes it; none where several texts stand for a query."""
        if self.start.reformulate is not None and self.start.reformulate.fuse is not None:
            return None
        settings = self.indexes.get(index)
        made = None if settings is None else settings.index()
        terms, vectors = isinstance(made, HasTerms), isinstance(made, HasVectors)
        if not (terms or vectors) or not trial.suggest_categorical(f"{index}.feedback", [0, 1]):
            return None
        where = trial.suggest_categorical(f"{index}.interpolate", ["after", "both"])
        depth = trial.suggest_int(f"{index}.documents", 1, 20)
        if terms:
            words = trial.suggest_int(f"{index}.terms", 5, 50, step=5)
            original = trial.suggest_float(f"{index}.original", 0.1, 0.9, step=0.05)
            return RM3(index, depth, words, round(original, 2), interpolate=where)
        method = trial.suggest_categorical(f"{index}.method", METHODS)
        if method == "average":
            return VectorPRF(index, method, depth, interpolate=where)
        beta = round(trial.suggest_float(f"{index}.beta", 0.05, 0.7, step=0.05), 2)
        return VectorPRF(index, method, depth, round(1 - beta, 2), beta, interpolate=where)


def _subsets(names: Sequence[str]) -> Iterator[str]:
    """Every choice of at least one name, all of them first; joined by ``+``."""
    for size in range(len(names), 0, -1):
        yield from ("+".join(some) for some in itertools.combinations(names, size))


def _fusion(trial: Trial, names: Sequence[str]) -> Fusion:
    """A fusion whose weights are relative to the first list's, then brought to a sum of 1."""
    kind = trial.suggest_categorical("fuse", ["convex", "rrf"])
    heavy = [1.0] + [
        trial.suggest_float(f"{name}.weight", 0.05, 20, log=True) for name in names[1:]
    ]
    weights = tuple(round(weight / sum(heavy), 3) for weight in heavy)
    if kind == "rrf":
        return RRF(trial.suggest_int("rrf.k", 1, 200, log=True), weights)
    missing = trial.suggest_categorical("missing", ["computed", "zero"])
    return Convex(weights, trial.suggest_categorical("norm", NORMS), missing)


def _reranked(trial: Trial, place: int, stage: Ranker | Stage) -> Ranker | Stage:
    """The same stage, with a depth of its own where it is one of its settings."""
    ranker: Any = stage.ranker if isinstance(stage, Stage) else stage
    if "depth" not in getattr(ranker, "__dataclass_fields__", {}):
        return stage
    deep = replace(ranker, depth=trial.suggest_categorical(f"rerank.{place}", RERANK_DEPTHS))
    return replace(stage, ranker=deep) if isinstance(stage, Stage) else deep
