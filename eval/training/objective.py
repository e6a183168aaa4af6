"""The loss that the trainer calls: every query of the batch's sources against every document."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from ...indexers.training.losses import distillation, flops, ranking, scores_of_queries
from ...indexers.training.whole_batch import gather_numbers, whole_batch
from .material import Targets

QUERIES_AT_MOST = 1024
"""Of a source, in one step: those with most to say."""


class Asked(NamedTuple):
    """A source's queries as terms: (n_queries + 1,) starts, terms, and their weights."""

    starts: Int64Array
    terms: Int64Array
    weights: Float32Array


@dataclass(slots=True)
class Clock:
    """How far training is, from 0 to 1: by steps, or by wall-clock time where that is limited."""

    steps: int
    seconds: float | None = None
    spent: float = 0.0
    """Seconds before this process, when training was resumed."""
    now: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.now()

    @property
    def elapsed(self) -> float:
        """Seconds of training so far, other processes' included."""
        return self.spent + self.now() - self.started

    def progress(self, step: int) -> float:
        """0 at the start, 1 when it is to stop."""
        by_steps = step / self.steps
        by_time = 0.0 if self.seconds is None else self.elapsed / self.seconds
        return min(1.0, max(by_steps, by_time))


@dataclass(slots=True)
class Regulariser:
    """The weight of the FLOPS loss: quadratic until ``warm_up`` of the way, then full.

    ``target``: the measured FLOPS (expected products of a query and a document) that training is
    steered to once the weight is half warm, by a factor on it; None leaves the weight alone.
    """

    weight: float
    warm_up: float = 1 / 3
    target: float | None = None
    factor: float = 1.0
    progress: float = 0.0
    smooth: float | None = None
    """Measured FLOPS of late: one batch says little."""

    @property
    def current(self) -> float:
        """The weight now."""
        return self.weight * self.factor * min(1.0, self.progress / self.warm_up) ** 2

    def steer(self, measured: float) -> None:
        """One step of control: at most 5% up or down."""
        before = measured if self.smooth is None else self.smooth
        self.smooth = 0.9 * before + 0.1 * measured
        if self.target is not None and self.progress > self.warm_up / 2 and self.smooth > 0:
            off = float(np.clip(np.log(self.smooth / self.target), -1.0, 1.0))
            self.factor *= float(np.exp(0.05 * off))


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the parts of the loss are made and added.

    ``score_scale``: what the ensemble's 0 to 1 is multiplied by. ``student_scale``: what the
    student's inner products are multiplied by in both losses. A new head's are two to five times as
    far apart as the teachers' and the judgements want; at 1 the quickest way to a lower loss is to
    shrink every weight until most terms are gone. ``distillation`` and ``ranking``:
    the weights of the two losses. ``threshold``: the l0 mask. ``plain_flops``: regularise the
    matched weight u = idf x w instead of w (see ``losses.flops``).
    """

    score_scale: float = 30.0
    student_scale: float = 0.35
    distillation: float = 1.0
    ranking: float = 1.0
    threshold: int = 0
    plain_flops: bool = False

    def __post_init__(self) -> None:
        for name in ("score_scale", "student_scale", "distillation", "ranking", "threshold"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0:
                raise InputError(f"is 0 or more, got {value}", field=name)


@functools.cache
def objective_class() -> Any:
    """The torch module; made when first used, so that torch is not imported with this one."""
    import torch

    class Objective(torch.nn.Module):  # type: ignore[misc]
        """``forward(features, labels)`` as sentence-transformers' trainer calls it.

        Labels are passages' numbers; the features are theirs, tokenised. ``idf`` and
        ``query_shares``, both (vocabulary,): of the first source, the latter the share of its
        queries that have a term.
        """

        def __init__(
            self,
            model: Any,
            *,
            recipe: Recipe,
            regulariser: Regulariser,
            sources: Sequence[tuple[Targets, Asked]],
            passage_source: Int64Array,
            passage_document: Int64Array,
            idf: Float32Array,
            query_shares: Float32Array,
            piece: int,
        ) -> None:
            super().__init__()
            self.model = model
            self.recipe, self.regulariser = recipe, regulariser
            self.parts: dict[str, float] = {}
            self.collapsed = 0
            self._sources = sources
            self._source, self._document = passage_source, passage_document
            self._idf = torch.from_numpy(idf)
            self._query_shares = torch.from_numpy(query_shares)
            self._piece = piece

        def forward(self, features: Sequence[dict[str, Any]], labels: Any) -> Any:
            (documents,) = features
            many = len(documents["input_ids"])
            pieces = [
                {
                    name: value[first : first + self._piece]
                    if isinstance(value, torch.Tensor)
                    else value
                    for name, value in documents.items()
                }
                for first in range(0, many, self._piece)
            ]
            numbers = gather_numbers(labels).numpy()
            return whole_batch(pieces, self._encode, lambda w: self._loss(w, numbers))

        def _encode(self, piece: dict[str, Any]) -> Any:
            features = {**piece, "task": "document"}
            longest = int(features["attention_mask"].sum(1).max())
            for name in ("input_ids", "attention_mask", "token_type_ids"):
                if name in features:
                    features[name] = features[name][:, :longest]
            return self.model(features, task="document")["sentence_embedding"]

        def _loss(self, weights: Any, passages: Int64Array) -> Any:
            kl = rank = weights.sum() * 0.0
            asked = 0
            for number in np.unique(self._source[passages]):
                places = np.flatnonzero(self._source[passages] == number)
                own_kl, own_rank, queries = self._of_source(
                    self._sources[number], weights[torch.from_numpy(places)], passages[places]
                )
                kl, rank = kl + own_kl * queries, rank + own_rank * queries
                asked += queries
            kl, rank = kl / max(asked, 1), rank / max(asked, 1)
            scale = self._idf if self.recipe.plain_flops else None
            cost = flops(weights, scale, self.recipe.threshold)
            shares = (weights.detach() > 0).float().mean(0)
            fired, products = float(shares.sum()), float(shares @ self._query_shares)
            self.collapsed = self.collapsed + 1 if fired < 1 else 0
            self.regulariser.steer(products)
            self.parts = {
                "kl": float(kl.detach()),
                "ranking": float(rank.detach()),
                "flops_loss": float(cost.detach()),
                "flops_weight": self.regulariser.current,
                "flops": products,
                "nonzeros": fired,
                "queries": float(asked),
            }
            return (
                self.recipe.distillation * kl
                + self.recipe.ranking * rank
                + self.regulariser.current * cost
            )

        def _of_source(
            self, source: tuple[Targets, Asked], weights: Any, passages: Int64Array
        ) -> tuple[Any, Any, int]:
            targets, asked = source
            met = targets.met(self._document[passages], QUERIES_AT_MOST)
            if not len(met.queries):
                return weights.sum() * 0.0, weights.sum() * 0.0, 0
            starts, terms, query_weights = _rows(asked, met.queries)
            scores = scores_of_queries(
                weights,
                torch.from_numpy(starts),
                torch.from_numpy(terms),
                torch.from_numpy(query_weights),
            )
            scores = scores * self.recipe.student_scale
            teacher = torch.from_numpy(met.teacher) * self.recipe.score_scale
            gains = torch.from_numpy(met.gains)
            judged = gains.sum(1) > 0
            kl = distillation(scores, teacher)
            # The mean over all queries: a batch with few judged ones must not shout.
            rank = ranking(scores[judged], gains[judged]) * (judged.sum() / len(judged))
            return kl, rank, len(met.queries)

    return Objective


def _rows(asked: Asked, queries: Int64Array) -> tuple[Int64Array, Int64Array, Float32Array]:
    """The chosen queries: where each begins, terms, weights."""
    firsts, lengths = asked.starts[queries], np.diff(asked.starts)[queries]
    starts = np.cumsum(lengths) - lengths
    entries = np.repeat(firsts - starts, lengths) + np.arange(lengths.sum())
    return starts, asked.terms[entries], asked.weights[entries]
