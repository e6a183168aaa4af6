"""What a pipeline's stages agree on: the Protocols of rankers, retrievers, fusions and feedback.

A new one is a class that satisfies one of these and one line in ``rankers/table.py``. What they ask
of others is here too: a collection's version, models that score or write, and a budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event
from typing import ClassVar, NamedTuple, Protocol, TypeVar, runtime_checkable

from .contracts import (
    Float32Array,
    Int64Array,
    Queries,
    Terms,
    TrueScores,
)
from .documents import Chunk, JsonObject
from .errors import InputError
from .ranking import Ranking


def _no_encoder(index: str) -> Float32Array:
    raise InputError(f"there is no encoder of {index!r} here", field="index")


class Candidates(NamedTuple):
    """What a ranker sees of one query: the query, the rows with their scores, and their texts.

    ``chunks`` are read when the first of them is asked for. ``true_scores(index)`` gives the scores
    of the rows, (n_rows,) float32, by an index of the collection (its name, or its kind), whether
    it was searched or not; -inf where that index does not hold a row. ``encoded_scores(index)``
    gives the scores of the passages as that index's encoder makes them now, (n_rows,) float32.
    """

    query: str
    rows: Int64Array
    scores: Float32Array
    chunks: Sequence[Chunk]
    true_scores: Callable[[str], Float32Array]
    encoded_scores: Callable[[str], Float32Array] = _no_encoder


class Ranker(Protocol):
    """(query, candidates) -> candidates reordered, with scores.

    ``depth``: how many candidates of a query it is given; the rest stay below, in their order.
    """

    @property
    def depth(self) -> int:
        """How many candidates of a query it is given."""

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        """One ranking row per query over the candidates' rows; it adds none and loses none.

        ``budget`` is each query's own, except for the milliseconds, which all queries share. What
        there was no budget for keeps its order, behind all others, and is flagged.
        """


class CollectionView(Protocol):
    """What a retriever may ask of the version that is searched; only rows that may be hits."""

    @property
    def budget(self) -> Budget:
        """What each query may spend; the milliseconds are shared."""

    def shares(self, calls: int) -> Sequence[int]:
        """Of the calls that each query may make in the whole search, what each text may now."""

    def out_of_time(self) -> bool:
        """Whether the search is to end with what there is.

        Raises :class:`~cormorant.errors.DeadlineError` where only a whole answer is wanted.
        """

    def rows(self) -> Int64Array:
        """Every row that may be a hit, ascending: (n,) int64."""

    def resolve(self, index: str) -> str | None:
        """The name of an index from its name or kind; None where there is none."""

    def search(self, index: str, queries: Sequence[str], k: int) -> RankedList:
        """An index's answer."""

    def score(self, index: str, rows: Int64Array) -> Float32Array:
        """True scores by an index that was searched, rows (n_queries, m) -> (n_queries, m)."""

    def score_one(self, index: str, number: int, rows: Int64Array) -> Float32Array:
        """True scores for one of the queries: (n,) -> (n,) float32, -inf of an absent row."""

    def vectors(self, index: str, rows: Int64Array) -> Float32Array:
        """Stored vectors of an index that keeps some, (n, dim) float32, NaN of an absent row."""

    def anchor_scores(self, index: str, rows: Int64Array) -> Float32Array:
        """What an index of anchor scores holds: (n, n_anchors) float32, NaN of an absent row."""

    def made_by(self, index: str) -> JsonObject:
        """What is recorded of the model that made what an index holds; empty: nothing."""

    def chunks(self, rows: Int64Array) -> Sequence[Chunk]:
        """The passages of rows, in their order."""


class Retrieved(NamedTuple):
    """A retriever's answer: the ranking, and for each query what an explanation says of it."""

    ranking: Ranking
    facts: Sequence[JsonObject]


@runtime_checkable
class Retriever(Protocol):
    """Stands in ``retrieve`` like an index, and searches the collection in its own way."""

    kind: ClassVar[str]

    def retrieve(self, queries: Sequence[str], view: CollectionView) -> Retrieved:
        """As many rows of each query as it can rank, best first."""


class PairScorer(Protocol):
    """Scores (query, passage) pairs: a cross-encoder, or whatever plays one."""

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """(n,) float32, higher is better; a pair's score does not depend on the others."""


class Completion(NamedTuple):
    """What a language model answered and what it cost.

    ``finish``: ``stop``, or ``length`` where the answer was cut at its limit. ``retries``: attempts
    that failed before it.
    """

    text: str
    prompt_tokens: int
    completion_tokens: int
    finish: str = "stop"
    retries: int = 0


class LanguageModel(Protocol):
    """Text in, text out."""

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        """Continue a prompt by at most ``max_tokens`` tokens."""


@runtime_checkable
class CountsTokens(Protocol):
    """A language model that says how long a text is."""

    def count_tokens(self, text: str) -> int:
        """Its tokens, or an estimate that is rather too high."""


@runtime_checkable
class ScoresNextToken(Protocol):
    """A language model whose logits can be read."""

    def next_token_scores(self, prompt: str, options: Sequence[str]) -> Float32Array:
        """The logits of the options' first tokens after a prompt: (n,) float32."""


@dataclass(frozen=True, slots=True)
class RankedList:
    """One index's answer, as a fusion sees it.

    ``index`` and ``kind`` name it; ``lowest_score`` is the least a score of that index can be (0
    for BM25, -1 for a cosine), None where there is no such bound.
    """

    index: str
    kind: str
    ranking: Ranking
    lowest_score: float | None


class Fusion(Protocol):
    """Several ranked lists of the same queries -> one."""

    def fuse(self, lists: Sequence[RankedList], score: TrueScores, k: int) -> Ranking:
        """The k best rows of each query.

        ``score(index, rows)`` gives true scores, rows (n_queries, m) int64 -> (n_queries, m)
        float32, for candidates that the list of that index lacks; -inf where the index does not
        hold the row.
        """


@runtime_checkable
class ExplainsFusion(Protocol):
    """A fusion that can say how much of a score is owed to which list."""

    def contributions(
        self, lists: Sequence[RankedList], score: TrueScores, rows: Int64Array
    ) -> Float32Array:
        """What each list adds to the fused scores: rows (n_queries, m) -> (n_lists, n_queries, m).

        They add up to the scores of ``fuse``, up to rounding; 0 for a row that no list holds.
        """


class Evidence(Protocol):
    """What a feedback sees: the first answer, and what the index it is for holds of it.

    Rows that the searcher may not see, or that the filter does not let through, are no part of it.
    """

    @property
    def candidates(self) -> Sequence[Candidates]:
        """The first answer to each query, at most the feedback's ``depth`` rows."""

    def query_vectors(self) -> Float32Array:
        """The queries as the index takes them: (n_queries, dim) float32.

        Raises :class:`~cormorant.errors.InputError` for an index without such vectors.
        """

    def row_vectors(self, rows: Int64Array) -> Float32Array:
        """Stored vectors: (n,) int64 -> (n, dim) float32, NaN for a row the index does not hold."""

    def query_terms(self) -> Sequence[Terms]:
        """The queries as weighted terms.

        Raises :class:`~cormorant.errors.InputError` for an index without terms.
        """

    def row_terms(self, rows: Int64Array, max_share: float) -> Sequence[Terms]:
        """The weighted terms of rows, without those in more than a share of all visible rows."""

    def term_queries(self, terms: Sequence[Terms]) -> Queries:
        """Queries of weighted terms, as the index takes them."""


class Feedback(Protocol):
    """A first answer -> better queries of one index for a second retrieval.

    ``index`` names it, or its kind; None: the new queries are texts, for every index. ``depth``:
    how many documents feed back. ``interpolate`` says where several lists are fused: ``before``
    (the fused answer feeds back, and the index's second list is the answer), ``after`` (the index's
    own first list feeds back, and its second list is fused with the others) or ``both``. A feedback
    for all indexes may have a ``fuse``, and then makes a list of several texts for each query,
    whose answers are fused as those of a :class:`Reformulation` are.
    """

    @property
    def index(self) -> str | None:
        """The index whose queries are rewritten; None: all, as texts."""

    @property
    def depth(self) -> int:
        """How many documents feed back."""

    @property
    def interpolate(self) -> str:
        """``before``, ``after`` or ``both``."""

    def expand(self, evidence: Evidence) -> Queries:
        """The new queries, as many as there were."""


class Reformulation(Protocol):
    """A query -> the queries to retrieve with. Rankers still see the query as it was asked."""

    @property
    def fuse(self) -> Fusion | None:
        """How the answers to several queries become one; None: only the first is searched.

        It is asked with no true scores to be had: a fusion of ranks, or of the scores listed.
        """

    def reformulate(self, queries: Sequence[str]) -> Sequence[Sequence[str]]:
        """For each query at least one."""


@dataclass(frozen=True, slots=True)
class Budget:
    """What a query may still spend; it travels with the query and only shrinks. None: no limit.

    ``cancelled`` is set once nobody waits for the answer any more; None: somebody always does.
    """

    calls: int | None = None
    tokens: int | None = None
    milliseconds: float | None = None
    cancelled: Event | None = field(default=None, compare=False, repr=False)

    def is_over(self, milliseconds: float) -> bool:
        """Whether, so long after this was all there was, nothing more is to be begun."""
        if self.cancelled is not None and self.cancelled.is_set():
            return True
        return self.milliseconds is not None and milliseconds >= self.milliseconds

    def within(self, other: Budget) -> Budget:
        """The lesser of both, in each respect."""
        return Budget(
            _least(self.calls, other.calls),
            _least(self.tokens, other.tokens),
            _least(self.milliseconds, other.milliseconds),
            _either(self.cancelled, other.cancelled),
        )

    def shrunk(self, *, calls: int = 0, tokens: int = 0, milliseconds: float = 0.0) -> Budget:
        """What is left after spending; never below zero."""
        return Budget(
            None if self.calls is None else max(0, self.calls - calls),
            None if self.tokens is None else max(0, self.tokens - tokens),
            None if self.milliseconds is None else max(0.0, self.milliseconds - milliseconds),
            self.cancelled,
        )


class _Either(Event):
    """Set once one of two events is."""

    def __init__(self, one: Event, other: Event) -> None:
        super().__init__()
        self._events = one, other

    def is_set(self) -> bool:
        return super().is_set() or any(event.is_set() for event in self._events)

    def wait(self, timeout: float | None = None) -> bool:
        end = None if timeout is None else time.monotonic() + timeout
        while not self.is_set():
            left = _LOOK_SECONDS if end is None else min(_LOOK_SECONDS, end - time.monotonic())
            if left <= 0:
                break
            super().wait(left)
        return self.is_set()


_LOOK_SECONDS = 0.05
"""Between two looks of who waits for either of two events: nobody tells it of them."""

N = TypeVar("N", int, float)


def _either(one: Event | None, other: Event | None) -> Event | None:
    if one is None or other is None or one is other:
        return other if one is None else one
    return _Either(one, other)


def _least(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
