"""Toy components: the smallest things that satisfy the contracts. Register them with ``use``."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest

from cormorant.contracts import Allowed, ArraySink, BoolArray, Encoded, TrueScores
from cormorant.documents import Chunk
from cormorant.indexers.dense.index import DenseIndex
from cormorant.indexers.dense.settings import HNSW, IVF, Dense
from cormorant.indexers.table import INDEXES
from cormorant.rankers.table import FEEDBACKS, FUSIONS, RANKERS, REFORMULATIONS
from cormorant.ranking import Ranking
from cormorant.stages import Budget, Candidates, Evidence, RankedList


@dataclass(frozen=True, slots=True)
class Toy:
    """An index that scores a document by how often it holds the query's letters."""

    kind: ClassVar[str] = "toy"
    weight: float = 1.0

    def index(self) -> ToyIndex:
        return ToyIndex(self.weight)


@dataclass
class ToySegment:
    rows: np.ndarray
    counts: np.ndarray


class ToyIndex:
    """Counts of the letters a to z of each row."""

    lowest_score = 0.0

    def __init__(self, weight: float) -> None:
        self.weight = weight

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> dict[str, Any]:
        chunks = list(chunks)
        sink.put("rows", np.array([chunk.row for chunk in chunks], np.int64))
        counts = sink.create("counts", np.int32, (len(chunks), 26))
        for place, chunk in enumerate(chunks):
            counts[place] = _letters(chunk.indexed_text)
        return {}

    def open(self, arrays: Mapping[str, np.ndarray], summary: dict[str, Any]) -> ToySegment:
        return ToySegment(arrays["rows"], arrays["counts"])

    def merge(
        self, segments: Sequence[ToySegment], keep: Sequence[BoolArray | None], sink: ArraySink
    ) -> dict[str, Any]:
        kept = [slice(None) if mask is None else mask for mask in keep]
        rows = np.concatenate([s.rows[k] for s, k in zip(segments, kept, strict=True)])
        counts = np.concatenate([s.counts[k] for s, k in zip(segments, kept, strict=True)])
        order = np.argsort(rows)
        sink.put("rows", rows[order])
        sink.put("counts", counts[order])
        return {}

    def check(self, segment: ToySegment) -> list[str]:
        return []

    def describe(self, segments: Sequence[ToySegment]) -> dict[str, Any]:
        return {"rows": sum(len(segment.rows) for segment in segments)}

    def search(
        self, segments: Sequence[ToySegment], queries: Sequence[str], k: int, allowed: Allowed
    ) -> Ranking:
        rankings = [Ranking.empty(len(queries), k)]
        for segment in segments:
            scores = self._scores(segment, queries)
            hidden = scores <= 0
            for mask in allowed:
                if mask is not None:
                    hidden |= ~mask[segment.rows]
            scores[hidden] = -np.inf
            rows = np.where(hidden, -1, segment.rows)
            rankings.append(Ranking(rows, scores))
        return Ranking.merge(rankings, k)

    def score(
        self,
        segments: Sequence[ToySegment],
        queries: Sequence[str],
        rows: np.ndarray,
        allowed: Allowed,
    ) -> np.ndarray:
        result = np.full(rows.shape, -np.inf, np.float32)
        for segment in segments:
            scores = self._scores(segment, queries)
            for place, row in enumerate(segment.rows):
                query, column = np.nonzero(rows == row)
                result[query, column] = scores[query, place]
        return result

    def _scores(self, segment: ToySegment, queries: Sequence[str]) -> np.ndarray:
        wanted = np.array([_letters(query) > 0 for query in queries]).reshape(len(queries), 26)
        return (wanted @ segment.counts.T * self.weight).astype(np.float32)


def _letters(text: str) -> np.ndarray:
    return np.array([text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"])


@dataclass(frozen=True, slots=True)
class ToyDense:
    """A dense index with an encoder that is a hashed bag of words; ``seed`` is the model."""

    kind: ClassVar[str] = "toy-dense"
    dim: int = 8
    seed: int = 0
    cut_to: int | None = None
    similarity: str = "cosine"
    ann: HNSW | IVF | None = None
    ann_rows: int = 10_000
    max_tokens: int = 32
    delay_ms: int = 0

    def index(self) -> ToyDenseIndex:
        return ToyDenseIndex(self)


class ToyDenseIndex(DenseIndex):
    def __init__(self, settings: ToyDense) -> None:
        super().__init__(
            Dense(
                model=f"toy-{settings.seed}",
                dim=settings.cut_to,
                similarity=settings.similarity,
                ann=settings.ann,
                ann_rows=settings.ann_rows,
            )
        )
        self.encoder = ToyEncoder(settings)

    def _encoder(self) -> ToyEncoder:
        return self.encoder


class ToyEncoder:
    """Sums a random vector for each of the first ``max_tokens`` words, and one for the text itself.

    What tests turn and read is shared by all: ``retrained`` changes the weights under the same
    settings, ``error`` is raised instead of encoding, and ``documents`` is every text encoded.
    """

    retrained: ClassVar[int] = 0
    error: ClassVar[Exception | None] = None
    documents: ClassVar[list[str]] = []

    def __init__(self, settings: ToyDense) -> None:
        self.dim = settings.dim
        self.max_tokens = settings.max_tokens
        self._seed = settings.seed
        self._delay = settings.delay_ms / 1000

    @property
    def identity(self) -> str:
        return f"toy-{self.dim}-{self._seed + 1000 * ToyEncoder.retrained}"

    def encode_query(self, texts: Sequence[str]) -> Encoded:
        return self._encode(texts)

    def encode_document(self, texts: Sequence[str]) -> Encoded:
        time.sleep(self._delay)
        if ToyEncoder.error is not None:
            raise ToyEncoder.error
        ToyEncoder.documents += texts
        return self._encode(texts)

    def _encode(self, texts: Sequence[str]) -> Encoded:
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for row, text in enumerate(texts):
            for word in ["", *text.split()[: self.max_tokens]]:
                vectors[row] += _word_vector(self.identity, word, self.dim)
        return Encoded(vectors, np.array([len(t.split()) > self.max_tokens for t in texts], bool))


@functools.cache
def _word_vector(identity: str, word: str, dim: int) -> np.ndarray:
    seed = hashlib.blake2b(f"{identity} {word}".encode(), digest_size=8).digest()
    return np.random.default_rng(list(seed)).standard_normal(dim).astype(np.float32)


@dataclass(frozen=True, slots=True)
class ToySum:
    """Fuses by summing true scores."""

    kind: ClassVar[str] = "toy-sum"

    def fuse(self, lists: Sequence[RankedList], score: TrueScores, k: int) -> Ranking:
        rows = [
            np.unique(np.concatenate([item.ranking.rows[q] for item in lists]))
            for q in range(lists[0].ranking.n_queries)
        ]
        width = max(len(row) for row in rows)
        every = np.array([np.pad(row, (0, width - len(row)), constant_values=-1) for row in rows])
        total = sum(score(item.index, every) for item in lists)
        total = np.where(every < 0, -np.inf, total).astype(np.float32)
        return _sorted(every, total, k)


def _sorted(rows: np.ndarray, scores: np.ndarray, k: int) -> Ranking:
    order = np.lexsort((rows, -scores), axis=1)[:, :k]
    return Ranking(np.take_along_axis(rows, order, 1), np.take_along_axis(scores, order, 1))


@dataclass(frozen=True, slots=True)
class ToyShortest:
    """Reranks by length, the shortest passage first."""

    kind: ClassVar[str] = "toy-shortest"
    depth: int = 10

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        width = max((len(item.rows) for item in candidates), default=0)
        rows = np.full((len(candidates), width), -1, np.int64)
        scores = np.full((len(candidates), width), -np.inf, np.float32)
        for place, item in enumerate(candidates):
            lengths = np.array([-len(chunk.text) for chunk in item.chunks], np.float32)
            order = np.argsort(-lengths, kind="stable")
            rows[place, : len(order)] = item.rows[order]
            scores[place, : len(order)] = lengths[order]
        return Ranking(rows, scores)


@dataclass(frozen=True, slots=True)
class ToyFirstText:
    """Feeds the best passage back as the query."""

    kind: ClassVar[str] = "toy-first-text"
    index: str | None = None
    depth: int = 1
    interpolate: str = "both"

    def expand(self, evidence: Evidence) -> Sequence[str]:
        return [item.chunks[0].text if item.chunks else item.query for item in evidence.candidates]


@dataclass(frozen=True, slots=True)
class ToyLower:
    """Reformulates by lower-casing."""

    kind: ClassVar[str] = "toy-lower"
    fuse: ClassVar[None] = None

    def reformulate(self, queries: Sequence[str]) -> Sequence[Sequence[str]]:
        return [[query.lower()] for query in queries]


_TABLES = (
    (INDEXES, Toy),
    (INDEXES, ToyDense),
    (FUSIONS, ToySum),
    (RANKERS, ToyShortest),
    (FEEDBACKS, ToyFirstText),
    (REFORMULATIONS, ToyLower),
)


def use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register every toy for one test, as a room would: one line in a table."""
    for table, toy in _TABLES:
        monkeypatch.setitem(table, toy.kind, f"{__name__}:{toy.__name__}")
    monkeypatch.setattr(ToyEncoder, "retrained", 0)
    monkeypatch.setattr(ToyEncoder, "error", None)
    monkeypatch.setattr(ToyEncoder, "documents", [])


def use_here() -> None:
    """Register every toy for the rest of this process: for a child that a test started."""
    for table, toy in _TABLES:
        table[toy.kind] = f"{__name__}:{toy.__name__}"
