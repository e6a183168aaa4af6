"""Sparse retrieval as an index: weighted terms, inverted, and statistics over all segments."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import (
    Allowed,
    Array,
    ArraySink,
    BoolArray,
    EncodedQueries,
    Encodings,
    Float32Array,
    Int64Array,
    Queries,
    Terms,
)
from ...documents import Chunk, JsonObject
from ...errors import InputError, ModelNotFoundError
from ...kernels import postings
from ...kernels.bm25 import heaps
from ...kernels.postings import layout, scoring
from ...ranking import Ranking
from ...statistics import Statistics
from ...vectors import Given, SparseVectors
from . import packing, tuning, weighing, writing
from .checking import check_layout, problems_of
from .explaining import explain, strongest
from .giving import statistics_of, terms_of_queries, terms_of_rows
from .segment import SparseSegment
from .settings import Sparse
from .weighted import Weighted, checked

if TYPE_CHECKING:
    from ..encoders.sparse import SparseEncoder


class SparseIndex:
    """Weighted terms of each passage; see :class:`Sparse`.

    A score is the inner product of the stored float32 weights with the query's, whichever way a row
    was found: an approximate search can miss a row, but gives no row another score.
    """

    def __init__(self, settings: Sparse) -> None:
        self.settings = settings
        self._numbers: dict[str, int] = {}

    @property
    def lowest_score(self) -> float | None:
        """0: no weight is below it."""
        return 0.0

    # -- encoding ---------------------------------------------------------------------------

    def encode(self, chunks: Sequence[Chunk]) -> Encodings:
        """Encode title and text of each passage."""
        encoder = self._encoder()
        texts = [chunk.indexed_text for chunk in chunks]
        bags = self.settings.documents == "tokens"
        encoded = encoder.bags_of_tokens(texts) if bags else encoder.encode_document(texts)

        def named(row: int) -> str:
            return f"the vector of document {chunks[row].id!r}"

        vectors = checked(encoded.vectors, None, encoder.vocabulary_size, "text", named)
        words = None
        if self.settings.idf == "collection":
            given = encoded.words
            ones = np.ones(len(given.terms), np.float32)
            words = SparseVectors(given.starts, given.terms, ones)
        data = packing.pack(packing.Encoded(vectors, words, encoded.cut))
        return Encodings(data, {"model": encoder.identity, "terms": "numbers"})

    @property
    def needs_vectors(self) -> bool:
        """Whether it has no encoder of its own and takes ready vectors only."""
        return self.settings.model is None

    def accept(self, vectors: Given, first: int = 0) -> Encodings:
        """Ready vectors of passages, checked.

        Where the collection weighs queries, all terms of a ready vector count as its words.
        """
        values = self._checked(vectors, lambda place: f"vector {first + place}")
        words = values if self.settings.idf == "collection" else None
        cut = np.zeros(len(values), np.bool_)
        return Encodings(packing.pack(packing.Encoded(values, words, cut)), _terms_of(values))

    def encode_queries(self, texts: Sequence[str]) -> EncodedQueries:
        """Encode queries; an inference-free encoder loads no model for it.

        Flags how many were longer than the model's window.
        """
        encoder = self._encoder()
        made_by: JsonObject = {"model": encoder.identity, "terms": "numbers"}
        if self.settings.idf == "collection":
            words = encoder.query_tokens(texts)
            ones = np.ones(len(words.terms), np.float32)
            asked = Weighted(words.starts, words.terms, ones, None, by_collection=True)
            return EncodedQueries(asked, made_by)
        encoded = encoder.encode_query(texts)
        n_cut = int(np.count_nonzero(encoded.cut))
        what = "the query was" if len(texts) == 1 else f"{n_cut} queries were"
        flags = (f"{what} cut to the model's {encoder.max_tokens} tokens",) if n_cut else ()
        size = encoder.vocabulary_size
        return EncodedQueries(
            checked(encoded.vectors, None, size, "query", "the vector of query {}".format),
            made_by,
            flags,
        )

    def accept_queries(self, vectors: Given) -> EncodedQueries:
        """Ready vectors of queries, checked; a token that no document has matches none."""
        values = self._checked(vectors, "vector {}".format)
        return EncodedQueries(values, _terms_of(values))

    def encodings(self, segments: Sequence[SparseSegment], rows: Int64Array) -> list[bytes | None]:
        """What the segments hold of given rows, as ``encode`` gave it; None where they do not."""
        found: list[bytes | None] = [None] * len(rows)
        for segment in segments:
            documents = segment.documents(rows, None)
            here = np.flatnonzero(documents >= 0)
            kept = [segment.encoded(document) for document in documents[here].tolist()]
            words = self.settings.idf == "collection"
            for place, encoded in zip(here.tolist(), kept, strict=True):
                own = encoded if words else encoded._replace(words=None)
                found[place] = packing.pack(own)[0]
        return found

    def _checked(self, vectors: Given, named: Callable[[int], str]) -> Weighted:
        if self.settings.model is None:
            return checked(vectors, None, None, "vectors", named)
        encoder = self._encoder()
        if not self._numbers:
            self._numbers = {token: number for number, token in enumerate(encoder.tokens)}
        numbers = self._numbers
        return checked(
            vectors, lambda token: numbers.get(token, -1), encoder.vocabulary_size, "vectors", named
        )

    def _encoder(self) -> SparseEncoder:
        if self.settings.model is None:
            raise InputError(
                "this sparse index has no model (model=None): give ready vectors, as "
                "add(documents, vectors={...}) and search_batch(vectors=...)"
            )
        from ..encoders.sparse import load_sparse_encoder

        encoder = load_sparse_encoder(
            self.settings.model,
            revision=self.settings.revision,
            precision=self.settings.precision,
            kind=self.settings.encoder,
            adapter=self.settings.adapter,
        )
        if self.settings.idf == "collection" and not encoder.inference_free:
            raise InputError(
                f"'collection' weighs the tokens of inference-free queries, and "
                f"{self.settings.model!r} encodes queries by a model; use idf='model'",
                field="idf",
            )
        return encoder

    # -- segments ---------------------------------------------------------------------------

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        return writing.build(chunks, self._flat_queries(), sink)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> SparseSegment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote.

        Raises :class:`~cormorant.errors.CormorantError` for arrays that cannot be a segment.
        """
        check_layout(arrays)
        return SparseSegment(arrays, summary)

    def merge(
        self,
        segments: Sequence[SparseSegment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""
        return writing.merge(segments, keep, self._flat_queries(), sink)

    def check(self, segment: SparseSegment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        return problems_of(segment)

    def describe(self, segments: Sequence[SparseSegment]) -> JsonObject:
        """Numbers of vectors and terms; with a target, the recall that was measured for it."""
        vectors = sum(len(segment.rows) for segment in segments)
        postings = sum(segment.summary["n_postings"] for segment in segments)
        facts: JsonObject = {
            "vectors": vectors,
            "terms": sum(segment.summary["n_terms"] for segment in segments),
            "mean_terms": postings / vectors if vectors else 0.0,
            "empty": sum(segment.summary["n_empty"] for segment in segments),
            "cut": sum(segment.summary["n_cut"] for segment in segments),
        }
        if self.settings.target_recall is not None:
            facts["target_recall"] = self.settings.target_recall
            facts["recall"] = min((self._level(s)[1] for s in segments), default=1.0)
        return facts

    def _flat_queries(self) -> bool | None:
        """Which queries will come: those of a few rare tokens, of many, or nobody knows."""
        if self.settings.model is None:
            return None
        try:
            return self._encoder().inference_free
        except ModelNotFoundError:  # merging goes on where the model is not
            return None

    def _level(self, segment: SparseSegment) -> tuple[int, float]:
        """How a segment is searched, and the recall measured for that."""
        recalls = segment.summary["recalls"]
        level = tuning.level_for(recalls, self.settings.target_recall)
        return level, recalls[level] if level else 1.0

    # -- searching --------------------------------------------------------------------------

    def search(
        self, segments: Sequence[SparseSegment], queries: Queries, k: int, allowed: Allowed
    ) -> Ranking:
        """The k best allowed rows of each query, of those that share a term with it."""
        asked = _weighted(queries)
        weights = weighing.weights_of(segments, asked, allowed.visible)
        best = layout.no_best(len(asked), k)
        reached = 1.0
        for segment in segments:
            level, recall = self._level(segment)
            own = segment.queries(asked, weights)
            effort = tuning.LEVELS[level]
            placed = segment.placed(len(asked))
            if placed is segment.impacts:  # a device looks at every document
                reached = min(reached, recall)
            postings.search(placed, own, effort, segment.bits(allowed), best)
        heaps.sort_best_first(best)
        flags = (f"approximate: found {reached:.3f} of the best 10 of samples",)
        return Ranking(best.rows, best.scores, flags if reached < 1.0 else ())

    def score(
        self,
        segments: Sequence[SparseSegment],
        queries: Queries,
        rows: Int64Array,
        allowed: Allowed,
    ) -> Float32Array:
        """True scores of given rows: rows (n_queries, m) int64 -> (n_queries, m) float32.

        -inf where a row is -1, absent, or not visible; 0 where the query and the row share nothing.
        """
        asked = _weighted(queries)
        weights = weighing.weights_of(segments, asked, allowed.visible)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for segment in segments:
            documents = segment.documents(rows, allowed.visible)
            scoring.score(segment.impacts, segment.queries(asked, weights), documents, scores)
        return scores

    def score_passages(self, query: Queries, chunks: Sequence[Chunk]) -> Float32Array:
        """Scores of passages, (n,) float32, by the vectors that the model makes of them now.

        Raises :class:`~cormorant.errors.InputError` for an index without a model, or one whose
        collection weighs the queries: such weights are those of the rows it holds.
        """
        if self.settings.idf == "collection":
            raise InputError("idf='collection' weighs queries by the rows held", field="index")
        asked = _weighted(query)
        weights = np.zeros(self._encoder().vocabulary_size)
        weights[asked.terms] = asked.weights
        made = self._encoder().encode_document([chunk.indexed_text for chunk in chunks]).vectors
        products = weights[made.terms] * made.weights.astype(np.float64)
        owners = np.repeat(np.arange(len(chunks)), np.diff(made.starts))
        return np.bincount(owners, products, len(chunks)).astype(np.float32)

    def explain(
        self,
        segments: Sequence[SparseSegment],
        query: Queries,
        rows: Sequence[int],
        allowed: Allowed,
    ) -> list[JsonObject]:
        """For each row its score, of which terms, and its strongest terms; {} if not visible.

        A term: ``term``, ``query_weight``, ``document_weight``, ``score``; the scores of the terms
        sum to that of the row. ``strongest`` decodes the row: its ten heaviest terms.
        """
        asked = _weighted(query)[:1]
        weights = weighing.weights_of(segments, asked, allowed.visible)
        reasons: list[JsonObject] = [{} for _ in rows]
        names = self._names()
        for segment in segments:
            own = segment.queries(asked, weights)
            documents = segment.documents(np.array(rows, np.int64), allowed.visible)
            for place, document in enumerate(documents.tolist()):
                if document >= 0:
                    reasons[place] = explain(segment, own, document, names)
                    level, recall = self._level(segment)
                    if level:
                        reasons[place]["recall"] = recall
        return reasons

    def decode(
        self, segments: Sequence[SparseSegment], rows: Int64Array, top: int | None = 10
    ) -> list[list[tuple[str, float]]]:
        """The heaviest terms of given rows, heaviest first, or all; none of absent rows."""
        decoded: list[list[tuple[str, float]]] = [[] for _ in rows]
        for segment in segments:
            for place, document in enumerate(segment.documents(rows, None).tolist()):
                if document >= 0:
                    decoded[place] = strongest(segment, document, self._names(), top)
        return decoded

    def query_terms(
        self, segments: Sequence[SparseSegment], queries: Queries, allowed: Allowed
    ) -> list[Terms]:
        """The terms of each query and their weights, as visible rows weigh them where they do."""
        asked = _weighted(queries)
        return list(terms_of_queries(asked, weighing.weights_of(segments, asked, allowed.visible)))

    def row_terms(
        self,
        segments: Sequence[SparseSegment],
        rows: Int64Array,
        allowed: Allowed,
        max_share: float,
    ) -> list[Terms]:
        """The stored terms of each row; see ``contracts.HasTerms``."""
        return list(terms_of_rows(segments, rows, allowed.visible, max_share))

    def asked_terms(self, queries: Queries) -> Sequence[int]:
        """The words of queries that the collection shall weigh."""
        asked = _weighted(queries)
        terms: list[int] = np.unique(asked.terms).tolist() if asked.by_collection else []
        return terms

    def statistics(
        self, segments: Sequence[SparseSegment], terms: Sequence[int], allowed: Allowed
    ) -> Statistics:
        """How many texts are visible, and how many of them have each of some words."""
        return weighing.statistics_of(segments, terms, allowed.visible)

    def with_statistics(self, queries: Queries, statistics: Statistics) -> Queries:
        """Queries whose words weigh as rare as these statistics make them."""
        return weighing.shared(_weighted(queries), statistics)

    def term_statistics(
        self, segments: Sequence[SparseSegment], terms: Sequence[Any], allowed: Allowed
    ) -> Statistics:
        """How many rows are visible, and how many of them hold each of some terms."""
        return statistics_of(segments, terms, allowed.visible)

    def term_queries(self, terms: Sequence[Terms]) -> Queries:
        """Queries of weighted terms, numbers or tokens as the index has them."""
        return checked(terms, None, None, "feedback", "the expanded query {}".format)

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """Character spans of the query's words in ``text``; none without a model here.

        Terms that the document was given and does not contain have no place in it.
        """
        if self.settings.model is None:
            return []
        try:
            return self._encoder().highlights(query, text)
        except ModelNotFoundError:
            return []

    def _names(self) -> Sequence[str] | None:
        """What numbered terms stand for; None where there is no model, or it is not here."""
        if self.settings.model is None:
            return None
        try:
            return self._encoder().tokens
        except ModelNotFoundError:
            return None


def _terms_of(vectors: Weighted) -> JsonObject:
    """What all vectors of one index share; vectors without terms say nothing."""
    if not len(vectors.terms):
        return {}
    return {"terms": "numbers" if vectors.tokens is None else "tokens"}


def _weighted(queries: Queries) -> Weighted:
    if isinstance(queries, Weighted):
        return queries
    if not isinstance(queries, SparseVectors):
        raise TypeError("a sparse index is searched with weighted terms; encode_queries makes them")
    return Weighted(queries.starts, queries.terms, queries.weights)
