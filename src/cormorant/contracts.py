"""What the floors agree on: the Protocols of an index and an encoder (of rankers: stages).

A new index is a class that satisfies one of these and one line in the table of its kind
(``indexers/table.py``). Tables map a tag to ``"module:Class"``, so that a
heavy module is imported when its kind is first used, never before.

Settings (``cm.BM25(k1=0.9)``, ``cm.Pipeline(...)``) are frozen dataclasses: values that print,
compare, and travel as tagged JSON, ``{"kind": "bm25", "k1": 0.9, ...}``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .documents import Chunk, JsonObject
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
        """Whether it is for files that stay: then work that only makes searches faster pays off."""

    def create(self, name: str, dtype: DTypeLike, shape: tuple[int, ...]) -> Array:
        """A zeroed array to fill in place; on disk it is memory-mapped."""

    def put(self, name: str, values: Array) -> None:
        """Write a whole array."""


@runtime_checkable
class Follows(ArraySink, Protocol):
    """A sink that is told how far its segment is, and keeps what took long until that is whole."""

    def tell(self, stage: str, rows: int) -> None:
        """So many more rows are done of a stage."""

    def kept(self, stage: str) -> Mapping[str, Array] | None:
        """What :meth:`keep` was given of a stage when the same segment was begun before."""

    def keep(self, stage: str, arrays: Mapping[str, Array]) -> None:
        """Keep a finished stage durably, in the place of an earlier one."""


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
class Postpones(Protocol[S_in]):
    """An index that leaves out what only makes searches faster where a sink is not lasting."""

    def unfinished(self, segment: S_in) -> bool:
        """Whether a segment lacks what a merge into lasting files would give it."""


@runtime_checkable
class Bounds(Protocol[S_in]):
    """An index whose merges may take only so much memory, and are kept small for it."""

    def most_rows(self, segments: Sequence[S_in], dim: int | None) -> int | None:
        """How many rows of segments like these one merge may write; None: any number.

        ``dim``: numbers of a vector, where they are known and there may be no segment yet.
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
class NamesTokens(Protocol):
    """An index of token vectors that can say what they stand for."""

    def name_tokens(
        self, query: str, chunks: Sequence[Chunk], reasons: Sequence[JsonObject]
    ) -> list[JsonObject]:
        """What ``Explains.explain`` said of rows, with words: the query's text, and each passage.

        Only for a query that the index itself encoded.
        """


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
