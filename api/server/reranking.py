"""The documents of a request in a ranker's order: no collection, no index, no retrieval before."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...documents import Chunk
from ...errors import InputError
from ...rankers.checks import MAX_DEPTH
from ...rankers.cross_encoder import CrossEncoder
from ...rankers.pairs import rank_pairs
from ...rankers.table import RANKERS
from ...ranking import Ranking
from ...retrieval.stages import check_answer, with_rest
from ...stages import Budget, Candidates, PairScorer, Ranker
from ...tagged import from_json
from .inference import unknown_model
from .searching import check_models
from .settings import Settings


@dataclass(frozen=True, slots=True)
class Scored:
    """A pair scorer that a program gave its server: it ranks, and its scores are shown as such."""

    scorer: PairScorer
    depth: int = MAX_DEPTH

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """The candidates by their scores; see :func:`cormorant.rankers.pairs.rank_pairs`."""
        return rank_pairs(self.scorer, candidates, budget)


class Given(NamedTuple):
    """What a request asks to be ranked, and when, by ``time.monotonic``, its time is over."""

    query: str
    texts: Sequence[str]
    expires: float


class Reranked(NamedTuple):
    """Places in the request's list, the best first: (n,) int64, their scores, and warnings."""

    places: Int64Array
    scores: Float32Array
    flags: tuple[str, ...]


def rankers_of(settings: Settings, scorers: Mapping[str, PairScorer]) -> dict[str, Ranker]:
    """The rankers that a request may name."""
    loaded = {name: CrossEncoder(name, MAX_DEPTH) for name in settings.rerankers}
    return {**loaded, **{name: Scored(scorer) for name, scorer in scorers.items()}}


def chosen_ranker(model: Any, there: Mapping[str, Ranker], settings: Settings) -> Ranker:
    """The ranker of a name, or the one that JSON describes as a pipeline's ``rerank`` does.

    Raises:
        Problem: no ranker of that name, or more than a limit of the server.
        InputError: settings that are none, or name a model that is not on the server's lists.
    """
    if isinstance(model, str):
        if model not in there:
            raise unknown_model(model, list(there))
        return there[model]
    try:
        ranker: Ranker = from_json(RANKERS, model, "ranker")
    except InputError as error:
        if error.field is not None:
            raise
        raise type(error)(str(error), field="model") from None
    settings.limits.check("depth", ranker.depth, "depth")
    check_models(ranker, (*settings.models, *settings.rerankers), settings.language_models)
    return ranker


def rank_together(ranker: Ranker, requests: Sequence[Given]) -> list[Reranked]:
    """The orders of several requests' documents, ranked as one batch. Runs in a thread.

    Documents come without scores, so before the ranker they are all alike, in the order given;
    those beyond its depth stay behind. Raises what the ranker raises.
    """
    width = max(len(item.texts) for item in requests)
    before = Ranking.empty(len(requests), width)
    for number, item in enumerate(requests):
        before.rows[number, : len(item.texts)] = np.arange(len(item.texts))
        before.scores[number, : len(item.texts)] = 0.0
    left_ms = 1000 * (max(item.expires for item in requests) - time.monotonic())
    head = before.cut(ranker.depth)
    ranked = ranker.rank(
        [_candidates(item, head.depth) for item in requests], Budget(milliseconds=max(0.0, left_ms))
    )
    check_answer(ranked, head, str(getattr(ranker, "kind", type(ranker).__name__)))
    whole = with_rest(ranked, before)
    flags = whole.flags
    if len(requests) > 1:  # which of them a flag is about is not known
        flags = tuple(f"of {len(requests)} requests answered together: {flag}" for flag in flags)
    ends = [len(item.texts) for item in requests]
    return [
        Reranked(rows[:end], scores[:end], flags)
        for rows, scores, end in zip(whole.rows, whole.scores, ends, strict=True)
    ]


def relevance(ranker: Ranker, scores: Float32Array) -> list[float]:
    """The scores as an answer shows them, from 0 to 1 by the logistic function, in float64.

    Where it comes out as 1 for several, the order is still that of the scores. Those of a scorer
    that a program gave are shown as they are.
    """
    shown = scores.astype(np.float64)
    if not isinstance(ranker, Scored):
        # The tangent does not overflow, as the exponential of a great logit would.
        shown = 0.5 + 0.5 * np.tanh(0.5 * shown)
    return [float(score) for score in shown]


def _candidates(item: Given, depth: int) -> Candidates:
    texts = item.texts[:depth]
    rows = np.arange(len(texts), dtype=np.int64)
    chunks = [Chunk(row, row, str(row), "", text) for row, text in enumerate(texts)]
    scores = np.zeros(len(texts), np.float32)
    return Candidates(item.query, rows, scores, chunks, _no_index)


def _no_index(index: str) -> Float32Array:
    raise InputError(
        f"there is no index {index!r}: these documents are in no collection", field="model"
    )
