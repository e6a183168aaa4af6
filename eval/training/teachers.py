"""Teachers: what BM25, dense, sparse and cross-encoders think of a source's documents.

Those that score a whole collection cheaply (BM25, dense, sparse) also mine: a query's candidates
are the documents at the top of any of their lists. A cross-encoder scores candidates only. The
ensemble is made as in arXiv 2411.04403: per teacher and query min-max, mean over the teachers.

Which documents are in the list matters. Documents meet at random in a batch, so what a teacher
thinks of the hundredth and the thousandth document is asked far more often than of the first: where
every teacher scores the whole collection, its true scores are kept for all of it. Otherwise only
listed documents are compared with each other; to call the rest zero would teach that the hundredth
is far above the hundred-and-first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...contracts import EVERYTHING, Float32Array, Int64Array
from ...documents import Chunk
from ...errors import InputError
from ...indexers.bm25.settings import BM25
from ...retrieval.segments import MemorySink
from ...stages import PairScorer
from ..progress import Progress, silent
from .material import Source

QUERIES_AT_ONCE = 64
WHOLE_AT_MOST = 1 << 27
"""Scores of all documents for all queries are kept up to so many: 256 MiB."""
_TINY = 1e-6

Blocks: TypeAlias = Iterator[Float32Array]
"""Scores of all documents for some queries, (queries, documents) float32, queries in order."""


class Teacher(Protocol):
    """Scores a whole collection."""

    kind: ClassVar[str]

    def scores(self, documents: Sequence[str], queries: Sequence[str]) -> Blocks:
        """Every document for every query."""


@dataclass(frozen=True, slots=True)
class BM25Teacher:
    """BM25 with the index's own analysis."""

    kind: ClassVar[str] = "bm25"
    settings: BM25 = BM25(k1=0.9, b=0.4)

    def scores(self, documents: Sequence[str], queries: Sequence[str]) -> Blocks:
        """Every document for every query; 0 where no term is shared."""
        index, sink = self.settings.index(), MemorySink()
        chunks = (Chunk(row, row, str(row), "", text) for row, text in enumerate(documents))
        segment = index.open(sink.arrays, index.build(chunks, sink))
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            some = list(queries[first : first + QUERIES_AT_ONCE])
            found = index.search([segment], some, len(documents), EVERYTHING)
            scores = np.zeros((len(some), len(documents)), np.float32)
            query, place = np.nonzero(found.rows >= 0)
            scores[query, found.rows[query, place]] = found.scores[query, place]
            yield scores


@dataclass(frozen=True, slots=True)
class DenseTeacher:
    """A sentence encoder's inner products."""

    kind: ClassVar[str] = "dense"
    model: str
    revision: str | None = None

    def scores(self, documents: Sequence[str], queries: Sequence[str]) -> Blocks:
        """Every document for every query."""
        from ...indexers.encoders.encoder import load_encoder

        encoder = load_encoder(self.model, revision=self.revision)
        vectors = encoder.encode_document(documents).vectors
        asked = encoder.encode_query(queries).vectors
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            yield asked[first : first + QUERIES_AT_ONCE] @ vectors.T


@dataclass(frozen=True, slots=True)
class SparseTeacher:
    """A sparse encoder's inner products."""

    kind: ClassVar[str] = "sparse"
    model: str
    revision: str | None = None

    def scores(self, documents: Sequence[str], queries: Sequence[str]) -> Blocks:
        """Every document for every query."""
        from ...indexers.encoders.sparse import load_sparse_encoder
        from .scoring import by_term

        encoder = load_sparse_encoder(self.model, self.revision)
        postings = by_term(encoder.encode_document(documents).vectors, encoder.vocabulary_size)
        asked = encoder.encode_query(queries).vectors
        for first in range(0, len(queries), QUERIES_AT_ONCE):
            some = range(first, min(first + QUERIES_AT_ONCE, len(queries)))
            yield np.stack([postings.scores(*_row(asked, query)) for query in some])


@dataclass(frozen=True, slots=True)
class PairTeacher:
    """Anything that scores pairs, such as a cross-encoder; asked about candidates only."""

    kind: ClassVar[str] = "pairs"
    scorer: PairScorer


class Said(NamedTuple):
    """What the ensemble says.

    ``candidates``: for each query, document number -> score, 0 to 1: the best of each teacher that
    can mine, and every judged document. ``scores``: (queries, documents) float16, of all documents,
    where every teacher scored them all and there are few enough; else None.
    """

    candidates: list[dict[int, float]]
    scores: NDArray[np.float16] | None


def asked_of(
    source: Source,
    teachers: Sequence[Teacher],
    rescorers: Sequence[PairTeacher] = (),
    *,
    depth: int,
    progress: Progress = silent,
) -> Said:
    """What the ensemble says of a source's queries; ``depth``: how many each teacher mines.

    Min-max is over all documents where every teacher scores them all, else over the candidates.

    Raises:
        InputError: no teacher that can mine.
    """
    if not teachers:
        raise InputError("needs a teacher that scores whole collections: bm25, dense or sparse")
    texts = source.texts
    whole = not rescorers and len(texts) * len(source.queries) <= WHOLE_AT_MOST
    table = np.zeros((len(source.queries), len(texts)), np.float16) if whole else None
    streams = [teacher.scores(texts, source.queries) for teacher in teachers]
    found: list[dict[int, float]] = []
    for blocks in zip(*streams, strict=True):
        for place in range(len(blocks[0])):
            query = len(found)
            rows = [block[place] for block in blocks]
            numbers = _mined(rows, source.gains[query], depth)
            if table is not None:
                table[query] = ensemble(rows)
                together = table[query, numbers].astype(np.float32)
            else:
                scores = [row[numbers] for row in rows]
                asked = source.queries[query]
                scores += [_rescored(each.scorer, asked, texts, numbers) for each in rescorers]
                together = ensemble(scores)
            found.append(dict(zip(numbers.tolist(), together.tolist(), strict=True)))
        progress(f"teachers on {source.name}", len(found), len(source.queries))
    return Said(found, table)


def _mined(rows: Sequence[Float32Array], judged: Mapping[int, float], depth: int) -> Int64Array:
    """The numbers of the best of each row and of the judged, ascending."""
    depth = min(depth, len(rows[0]))
    best = [np.argpartition(-row, depth - 1)[:depth] for row in rows]
    return np.unique(np.concatenate([*best, np.array(list(judged), np.int64)]))


def _rescored(
    scorer: PairScorer, query: str, texts: Sequence[str], numbers: Int64Array
) -> Float32Array:
    return scorer.score_pairs([(query, texts[number]) for number in numbers])


def ensemble(scores: Sequence[Float32Array]) -> Float32Array:
    """Several teachers' scores of the same documents as one, from 0 to 1: each (n,) float32.

    Of each teacher (s - min) / (max - min + 1e-6), then the mean. Source: arXiv 2411.04403, section
    3.3, and its published code.
    """
    together: Float32Array = np.mean([_min_max(own) for own in scores], axis=0, dtype=np.float32)
    return together


def _min_max(scores: Float32Array) -> Float32Array:
    least, most = float(scores.min()), float(scores.max())
    return ((scores - least) / (most - least + _TINY)).astype(np.float32)


def _row(vectors: object, query: int) -> tuple[Int64Array, Float32Array]:
    from ...vectors import SparseVectors

    assert isinstance(vectors, SparseVectors)
    some = slice(int(vectors.starts[query]), int(vectors.starts[query + 1]))
    return vectors.terms[some], vectors.weights[some]
