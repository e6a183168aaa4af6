"""Count what a pipeline spends while it runs: language models asked, passages reranked, seconds.

A pipeline is a value, so its models and rankers can be exchanged for ones that count and then do
the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from threading import Lock
from typing import Any

from ..contracts import Float32Array
from ..rankers.cascade import Cascade
from ..rankers.cur.scorers import identity_of
from ..rankers.stage import Stage
from ..ranking import Ranking
from ..retrieval.pipeline import Pipeline, Retrieve
from ..stages import Budget, Candidates, Completion, CountsTokens, ScoresNextToken


@dataclass(slots=True)
class Spent:
    """What some queries took, all together.

    ``passages``: handed to rerankers and pair scorers. ``model_calls`` and tokens: of language
    models.
    """

    search_seconds: float = 0.0
    encode_seconds: float = 0.0
    passages: int = 0
    model_calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    _lock: Lock = field(default_factory=Lock, repr=False)

    def add_timings(self, timings_ms: Mapping[str, float]) -> None:
        """The parts of a batch's time that went to encoding queries."""
        parts = [took for part, took in timings_ms.items() if part.startswith("encode.")]
        self.encode_seconds += sum(parts) / 1000

    def add_call(self, prompt_tokens: int, completion_tokens: int) -> None:
        """One answer of a language model; from any thread."""
        with self._lock:
            self.model_calls += 1
            self.prompt_tokens += prompt_tokens
            self.completion_tokens += completion_tokens


def counted(pipeline: Any, spent: Spent) -> Any:
    """The same pipeline, with models and rankers that count; a pipeline's name as it is."""
    if not isinstance(pipeline, Pipeline):
        return pipeline
    return Pipeline(
        [_list(item, spent) for item in pipeline.retrieve],
        pipeline.fuse,
        [_with_models(stage, spent) for stage in pipeline.feedback],
        [_ranker(stage, spent) for stage in pipeline.rerank],
        _with_models(pipeline.reformulate, spent),
        pipeline.depth,
    )


def _list(item: Retrieve, spent: Spent) -> Retrieve:
    by: Any = item.by
    if not hasattr(by, "scorer"):
        return item
    return dataclasses.replace(item, by=dataclasses.replace(by, scorer=_Scorer(by.scorer, spent)))


def _ranker(stage: Any, spent: Spent) -> Any:
    if isinstance(stage, Stage):
        return dataclasses.replace(stage, ranker=_ranker(stage.ranker, spent))
    if isinstance(stage, Cascade):
        cheap = None if stage.cheap is None else _ranker(stage.cheap, spent)
        return dataclasses.replace(stage, expensive=_ranker(stage.expensive, spent), cheap=cheap)
    return _Ranker(_with_models(stage, spent), spent)


def _with_models(stage: Any, spent: Spent) -> Any:
    """A stage whose language model, if it has one, counts."""
    model = getattr(stage, "language_model", None)
    if model is None:
        return stage
    return dataclasses.replace(stage, language_model=_model(model, spent))


class _Ranker:
    """A ranker that counts the passages it is given."""

    def __init__(self, inner: Any, spent: Spent) -> None:
        self._inner, self._spent = inner, spent
        self.kind = getattr(inner, "kind", type(inner).__name__)
        self.depth: int = inner.depth

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """As the ranker inside."""
        self._spent.passages += sum(len(item.rows) for item in candidates)
        ranking: Ranking = self._inner.rank(candidates, budget)
        return ranking


class _Scorer:
    """A pair scorer that counts the passages it is given."""

    def __init__(self, inner: Any, spent: Spent) -> None:
        self._inner, self._spent = inner, spent

    @property
    def identity(self) -> str:
        """The scorer's inside."""
        return identity_of(self._inner)

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """As the scorer inside."""
        self._spent.passages += len(pairs)
        scores: Float32Array = self._inner.score_pairs(pairs)
        return scores


class _Model:
    """A language model that counts its answers; it is told what the model inside takes."""

    def __init__(self, inner: Any, spent: Spent) -> None:
        self.inner, self.spent = inner, spent
        self.kind = getattr(inner, "kind", type(inner).__name__)

        @wraps(inner.complete)
        def complete(prompt: str, max_tokens: int, **told: Any) -> Completion:
            answer: Completion = inner.complete(prompt, max_tokens, **told)
            spent.add_call(answer.prompt_tokens, answer.completion_tokens)
            return answer

        self.complete = complete


class _Prompts:
    inner: Any

    def count_prompt(self, prompt: str) -> int:
        """As the model inside."""
        n: int = self.inner.count_prompt(prompt)
        return n


class _Tokens:
    inner: Any

    def count_tokens(self, text: str) -> int:
        """As the model inside."""
        n: int = self.inner.count_tokens(text)
        return n


class _Logits:
    inner: Any
    spent: Spent

    def next_token_scores(self, prompt: str, options: Sequence[str]) -> Float32Array:
        """As the model inside; one token is made."""
        scores: Float32Array = self.inner.next_token_scores(prompt, options)
        counts = isinstance(self.inner, CountsTokens)
        self.spent.add_call(self.inner.count_tokens(prompt) if counts else 0, 1)
        return scores


def _model(inner: Any, spent: Spent) -> _Model:
    """It can do what the model inside can: stages ask what a model has."""
    bases: list[type] = [_Model]
    bases += [_Tokens] if isinstance(inner, CountsTokens) else []
    bases += [_Prompts] if hasattr(inner, "count_prompt") else []
    bases += [_Logits] if isinstance(inner, ScoresNextToken) else []
    made: _Model = type("_Counting", tuple(bases), {})(inner, spent)
    return made
