"""What the floors agree on: the Protocols of an index, an encoder, a ranker and their kin.

A new index or ranker is a class that satisfies one of these and one line in the table of its kind
(``indexers/table.py``, ``rankers/table.py``). Tables map a tag to ``"module:Class"``, so that a
heavy module is imported when its kind is first used, never before.

Settings (``cm.BM25(k1=0.9)``, ``cm.Pipeline(...)``) are frozen dataclasses: values that print,
compare, and travel as tagged JSON, ``{"kind": "bm25", "k1": 0.9, ...}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .documents import Chunk, JsonObject
from .errors import InputError
from .ranking import Ranking
from .vectors import Given, TokenVectors, Vectors

Array: TypeAlias = NDArray[Any]
Int64Array: TypeAlias = NDArray[np.int64]
Float32Array: TypeAlias = NDArray[np.float32]
BoolArray: TypeAlias = NDArray[np.bool_]
Queries: TypeAlias = Sequence[str] | Vectors
"""Query texts; or vectors, of the kind that the index they are for holds."""
TrueScores: TypeAlias = Callable[[str, Int64Array], Float32Array]


class Allowed(NamedTuple):
    """Which rows a search may see, as masks over all rows of the collection (None: every row).

    ``visible``: live, and sharing a label with the searcher. Nothing of another row may leave the
    index: no hit, no explanation, and no statistic (document frequencies, lengths) counts it.
    ``selected``: passed by the filter; restricts the hits and leaves the statistics alone.
    """

    visible: BoolArray | None = None
    selected: BoolArray | None = None


EVERYTHING = Allowed()


class ArraySink(Protocol):
    """Where a segment's arrays go: files, or memory for the tail."""

    @property
    def lasting(self) -> bool:
        """Whether it is for files: then work that only makes searches faster pays off."""

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array to fill in place; on disk it is memory-mapped."""

    def put(self, name: str, values: Array) -> None:
        """Write a whole array."""


class Segment(Protocol):
    """An immutable piece of one index over some rows, opened for searching."""

    @property
    def rows(self) -> Int64Array:
        """The rows it holds, ascending: (n_rows,) int64."""


S = TypeVar("S", bound=Segment)
S_in = TypeVar("S_in", bound=Segment, contravariant=True)


class Index(Protocol[S]):
    """One kind of index with its settings applied. Holds no rows: those are in its segments.

    Segments hold disjoint rows. Whatever the split into segments, ``search`` and ``score`` give the
    same scores; of equal scores the lower row comes first.
    """

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> S:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote."""

    def merge(
        self, segments: Sequence[S], keep: Sequence[BoolArray | None], sink: ArraySink
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""

    def check(self, segment: S) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""

    def describe(self, segments: Sequence[S]) -> JsonObject:
        """Numbers a person would ask for."""


@runtime_checkable
class Searchable(Index[S], Protocol[S]):
    """An index that answers queries."""

    def search(self, segments: Sequence[S], queries: Queries, k: int, allowed: Allowed) -> Ranking:
        """The k best allowed rows of each query."""

    @property
    def lowest_score(self) -> float | None:
        """The least a score can be, None where there is no bound; fusion needs it."""

    def score(
        self, segments: Sequence[S], queries: Queries, rows: Int64Array, allowed: Allowed
    ) -> Float32Array:
        """True scores of given rows: rows (n_queries, m) int64 -> (n_queries, m) float32.

        -inf where a row is -1, absent, or not visible.
        """


@runtime_checkable
class Explains(Protocol[S_in]):
    """An index that can say why a row has its score."""

    def explain(
        self, segments: Sequence[S_in], query: Queries, rows: Sequence[int], allowed: Allowed
    ) -> list[JsonObject]:
        """For each row, how its score came about; ``query`` is one, as ``search`` takes them."""

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """Character spans of ``text`` that match the query, ascending, disjoint."""


@runtime_checkable
class HasVectors(Protocol[S_in]):
    """An index that keeps its vectors."""

    def vectors(self, segments: Sequence[S_in], rows: Int64Array) -> Float32Array:
        """The stored vectors of given rows: (n,) int64 -> (n, dim) float32."""


Terms: TypeAlias = Mapping[Any, float]
"""Terms, by name or by number as an index has them, with weights."""


@runtime_checkable
class HasTerms(Protocol[S_in]):
    """An index of weighted terms that gives away what it holds, and takes such queries."""

    def query_terms(
        self, segments: Sequence[S_in], queries: Queries, allowed: Allowed
    ) -> list[Terms]:
        """Queries, as ``search`` takes them, as weighted terms."""

    def row_terms(
        self, segments: Sequence[S_in], rows: Int64Array, allowed: Allowed, max_share: float
    ) -> list[Terms]:
        """The terms of given rows, (n,) int64; none of a row that is -1, absent or not visible.

        Terms that more than ``max_share`` of the visible rows have are left out.
        """

    def term_queries(self, terms: Sequence[Terms]) -> Queries:
        """Queries of weighted terms, as ``search`` and ``score`` take them."""


@runtime_checkable
class ScoresPassages(Protocol):
    """An index whose encoder can score passages that it does not hold."""

    def score_passages(self, query: Queries, chunks: Sequence[Chunk]) -> Float32Array:
        """Scores of passages, (n,) float32, for one query as ``search`` takes them."""


@runtime_checkable
class Decodes(Protocol[S_in]):
    """An index that can say what a row's weighted terms stand for."""

    def decode(
        self, segments: Sequence[S_in], rows: Int64Array, top: int | None = 10
    ) -> list[list[tuple[str, float]]]:
        """The heaviest terms of given rows, heaviest first, or all; none of absent rows."""


class Encodings(NamedTuple):
    """What an index's encoder made of chunks.

    ``data``: one entry a chunk, which ``Index.build`` finds in ``Chunk.encoding``. ``made_by``:
    facts that all encodings of one index must share, such as the model and the dimension.
    """

    data: Sequence[bytes]
    made_by: JsonObject


class EncodedQueries(NamedTuple):
    """Queries ready for ``search`` and ``score``."""

    vectors: Vectors
    made_by: JsonObject
    flags: tuple[str, ...] = ()


@runtime_checkable
class Encodes(Protocol[S_in]):
    """An index that goes through an encoder: ``build`` reads ``Chunk.encoding``, not the texts.

    Documents are encoded once, when they are added, and queries once a search; both may come as
    ready vectors instead.
    """

    def encode(self, chunks: Sequence[Chunk]) -> Encodings:
        """Encode passages; loads the model when it is first needed."""

    @property
    def needs_vectors(self) -> bool:
        """Whether it has no encoder of its own and takes ready vectors only."""

    def accept(self, vectors: Given, first: int = 0) -> Encodings:
        """Ready vectors of passages, checked; errors count them from ``first``."""

    def encode_queries(self, texts: Sequence[str]) -> EncodedQueries:
        """Encode queries."""

    def accept_queries(self, vectors: Given) -> EncodedQueries:
        """Ready vectors of queries, checked."""

    def encodings(self, segments: Sequence[S_in], rows: Int64Array) -> list[bytes | None]:
        """What the segments hold of given rows, as ``encode`` gave it; None where they do not."""


class IndexSettings(Protocol):
    """What a user writes to ask for an index: a frozen dataclass such as ``cm.BM25()``."""

    kind: ClassVar[str]

    def index(self) -> Index[Any]:
        """The index these settings describe; imports what it needs."""


class Encoded(NamedTuple):
    """What texts became.

    ``vectors``: (n, dim) float32, finite. ``cut``: (n,) bool, the texts that were longer than the
    encoder's window and lost their end.
    """

    vectors: Float32Array
    cut: BoolArray


class EncodedTokens(NamedTuple):
    """What texts became: a vector for each token, of length 1 unless the model says otherwise.

    ``cut``: (n,) bool, the texts that were longer than the encoder's window.
    """

    vectors: TokenVectors
    cut: BoolArray


class TokenEncoder(Protocol):
    """Text -> one vector a token, for late interaction."""

    @property
    def identity(self) -> str:
        """Names the weights, and all else that decides what a vector means: a stable string."""

    @property
    def dim(self) -> int:
        """Numbers in a token's vector."""

    @property
    def max_tokens(self) -> int:
        """The window: how many tokens of a text are read."""

    def encode_query(self, texts: Sequence[str]) -> EncodedTokens:
        """Queries."""

    def encode_document(self, texts: Sequence[str]) -> EncodedTokens:
        """Passages."""


class Encoder(Protocol):
    """Text -> one vector each. A text's vector does not depend on the texts beside it."""

    @property
    def identity(self) -> str:
        """Names the weights, and all else that decides what a vector means: a stable string."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""

    @property
    def max_tokens(self) -> int:
        """The window: how many tokens of a text are read."""

    def encode_query(self, texts: Sequence[str]) -> Encoded:
        """Queries, with the model's prompt for queries where it has one."""

    def encode_document(self, texts: Sequence[str]) -> Encoded:
        """Passages, with the model's prompt for passages where it has one."""


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
    """What a query may still spend; it travels with the query and only shrinks. None: no limit."""

    calls: int | None = None
    tokens: int | None = None
    milliseconds: float | None = None

    def within(self, other: Budget) -> Budget:
        """The lesser of both, in each respect."""
        return Budget(
            _least(self.calls, other.calls),
            _least(self.tokens, other.tokens),
            _least(self.milliseconds, other.milliseconds),
        )

    def shrunk(self, *, calls: int = 0, tokens: int = 0, milliseconds: float = 0.0) -> Budget:
        """What is left after spending; never below zero."""
        return Budget(
            None if self.calls is None else max(0, self.calls - calls),
            None if self.tokens is None else max(0, self.tokens - tokens),
            None if self.milliseconds is None else max(0.0, self.milliseconds - milliseconds),
        )


N = TypeVar("N", int, float)


def _least(one: N | None, other: N | None) -> N | None:
    if one is None or other is None:
        return other if one is None else one
    return min(one, other)
