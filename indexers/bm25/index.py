"""BM25 as an index: statistics over all segments, scores in each."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from ...contracts import (
    Allowed,
    Array,
    ArraySink,
    BoolArray,
    Float32Array,
    Int64Array,
    Queries,
    Terms,
)
from ...documents import Chunk, JsonObject
from ...kernels.bm25 import cpu, heaps, layout
from ...ranking import Ranking
from ...statistics import Statistics
from ..analysis import Analyzer
from . import asking, builder, merger, variants
from .checking import problems_of
from .explaining import explain
from .giving import statistics_of, terms_of_rows
from .segment import BM25Segment, View
from .settings import BM25


class Asked(NamedTuple):
    """Queries with the statistics of all segments, ready for each of them."""

    names: Sequence[str]
    """The distinct terms of all queries."""
    numbers: list[Int64Array]
    """For each segment, the number of each term, -1 for those no visible row has."""
    places: Int64Array
    """The distinct terms of the queries, one query after the other, by their numbers."""
    counts: NDArray[np.int64] | NDArray[np.float64]
    """How often each is asked for; weights, where a feedback made the queries."""
    offsets: Int64Array
    """Where each query begins in ``places``."""
    frequencies: Int64Array
    """In how many visible rows each term is."""
    idfs: NDArray[np.float64]
    """Of each term; 0 where no visible row has it."""
    weights: NDArray[np.float64]
    """Of each of ``places``."""
    constants: NDArray[np.float64]
    """Of each query."""
    constant_of_idf: float
    saturation: layout.Saturation
    n_documents: int
    average_length: float

    def of_segment(self, segment: int) -> layout.Queries:
        """The queries in the terms of one segment."""
        return layout.Queries(
            self.numbers[segment][self.places], self.weights, self.offsets, self.constants
        )


class BM25Index:
    """Exact BM25 over inverted indexes; see :class:`BM25`.

    N, document frequencies and the average length count the visible rows of all segments given.
    """

    def __init__(self, settings: BM25) -> None:
        self.settings = settings
        self._analyzer = Analyzer(settings.language)
        self._mean_idf: tuple[tuple[weakref.ref[View], ...], float] = ((), 0.0)

    @property
    def lowest_score(self) -> float | None:
        """0; but Okapi's idf, and with it a score, can be negative without a bound."""
        return None if self.settings.variant == "okapi" else 0.0

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        summary = builder.build(chunks, self._analyzer.lexicon(), sink)
        return {**summary, "analysis": self._analyzer.identity}

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> BM25Segment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote."""
        return BM25Segment(arrays, summary)

    def merge(
        self,
        segments: Sequence[BM25Segment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""
        summary = merger.merge(segments, keep, sink)
        return {**summary, "analysis": self._analyzer.identity}

    def check(self, segment: BM25Segment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        return problems_of(segment)

    def describe(self, segments: Sequence[BM25Segment]) -> JsonObject:
        """Numbers of documents, postings and terms (those of a segment counted for each)."""
        documents = sum(segment.summary["n_documents"] for segment in segments)
        total_length = sum(segment.summary["total_length"] for segment in segments)
        return {
            "documents": documents,
            "average_length": total_length / documents if documents else 0.0,
            "postings": sum(segment.summary["n_postings"] for segment in segments),
            "terms": sum(segment.summary["n_terms"] for segment in segments),
            "variant": self.settings.variant,
            "language": self._analyzer.language,
        }

    def search(
        self, segments: Sequence[BM25Segment], queries: Queries, k: int, allowed: Allowed
    ) -> Ranking:
        """The k best allowed rows of each query, of those that share a term with it."""
        views = [segment.view(allowed.visible) for segment in segments]
        asked = self._ask(segments, views, queries)
        best = layout.no_best(len(queries), k)
        for number, (segment, view) in enumerate(zip(segments, views, strict=True)):
            bits = segment.allowed(view, allowed.selected)
            cpu.search(segment.postings, asked.of_segment(number), asked.saturation, bits, best)
        heaps.sort_best_first(best)
        return Ranking(best.rows, best.scores)

    def score(
        self,
        segments: Sequence[BM25Segment],
        queries: Queries,
        rows: Int64Array,
        allowed: Allowed,
    ) -> Float32Array:
        """True scores of given rows: rows (n_queries, m) int64 -> (n_queries, m) float32.

        -inf where a row is -1, absent, or not visible; 0 where the query and the row share nothing.
        """
        views = [segment.view(allowed.visible) for segment in segments]
        asked = self._ask(segments, views, queries)
        scores = np.full(rows.shape, -np.inf, np.float32)
        for number, (segment, view) in enumerate(zip(segments, views, strict=True)):
            documents = segment.documents(rows, view)
            cpu.score(
                segment.postings, asked.of_segment(number), asked.saturation, documents, scores
            )
        return scores

    def explain(
        self,
        segments: Sequence[BM25Segment],
        query: Queries,
        rows: Sequence[int],
        allowed: Allowed,
    ) -> list[JsonObject]:
        """For each row its score, of which terms, and the statistics; {} if it is not visible.

        A term: ``term``, ``count`` (how often it is asked for), ``tf``, ``df``, ``idf``, ``score``;
        the scores of the terms sum to that of the row.
        """
        views = [segment.view(allowed.visible) for segment in segments]
        asked = self._ask(segments, views, query)
        reasons: list[JsonObject] = []
        for row in rows:
            reason: JsonObject = {}
            for number, (segment, view) in enumerate(zip(segments, views, strict=True)):
                document = int(segment.documents(np.array([row], np.int64), view)[0])
                if document >= 0:
                    reason = explain(segment.postings, asked, number, document)
            reasons.append(reason)
        return reasons

    def query_terms(
        self, segments: Sequence[BM25Segment], queries: Queries, allowed: Allowed
    ) -> list[Terms]:
        """The terms of each query and how often it has them."""
        return list(asking.weights_of(asking.asked_of(queries, self._analyzer)))

    def row_terms(
        self,
        segments: Sequence[BM25Segment],
        rows: Int64Array,
        allowed: Allowed,
        max_share: float,
    ) -> list[Terms]:
        """The terms of each row and how often it has them; see ``contracts.HasTerms``."""
        views = [segment.view(allowed.visible) for segment in segments]
        return list(terms_of_rows(segments, views, rows, max_share))

    def asked_terms(self, queries: Queries) -> Sequence[str]:
        """The distinct terms of queries."""
        return list(asking.asked_of(queries, self._analyzer).names)

    def statistics(
        self, segments: Sequence[BM25Segment], terms: Sequence[str], allowed: Allowed
    ) -> Statistics:
        """N, the sum of the lengths, and the document frequencies: Okapi's idf needs them all."""
        if self.settings.variant == "okapi":
            text, offsets = merger.all_terms(segments)
            raw, ends = text.tobytes(), offsets.tolist()
            terms = [raw[start:end].decode() for start, end in pairwise(ends)]
        return self.term_statistics(segments, terms, allowed)

    def term_statistics(
        self, segments: Sequence[BM25Segment], terms: Sequence[str], allowed: Allowed
    ) -> Statistics:
        """N, the sum of the lengths, and the document frequencies of some terms."""
        views = [segment.view(allowed.visible) for segment in segments]
        return statistics_of(segments, views, terms)

    def with_statistics(self, queries: Queries, statistics: Statistics) -> Queries:
        """Queries that are scored by these statistics."""
        mean_idf = 0.0
        if self.settings.variant == "okapi":
            known = sorted(statistics.frequencies.items(), key=lambda item: item[0].encode())
            frequencies = np.array([count for _, count in known if count], np.int64)
            if len(frequencies):
                mean_idf = float(variants.okapi_idf(statistics.n_rows, frequencies).mean())
        names = self.asked_terms(queries)
        of_these = {name: statistics.frequencies.get(name, 0) for name in names}
        return cast(
            Queries, asking.Shared(queries, statistics._replace(frequencies=of_these), mean_idf)
        )

    def term_queries(self, terms: Sequence[Terms]) -> Queries:
        """Queries of weighted terms; a weight stands where a text has a term's count."""
        return asking.queries_of(terms)

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """Character spans of ``text`` that match the query, ascending, disjoint."""
        return self._analyzer.matches(query, text)

    def _ask(
        self,
        segments: Sequence[BM25Segment],
        views: Sequence[View],
        queries: Queries | asking.Shared,
    ) -> Asked:
        """Queries, in numbers: their terms, and what the visible rows make these weigh."""
        variant, k1 = self.settings.variant, self.settings.k1
        names, packed, packed_offsets, places, counts, offsets = asking.asked_of(
            queries, self._analyzer
        )
        numbers = [segment.find(packed, packed_offsets) for segment in segments]
        mean_idf = None
        if isinstance(queries, asking.Shared):
            n_documents, total_length, by_name = queries.statistics
            frequencies = np.array([by_name[name] for name in names], np.int64)
            mean_idf = queries.mean_idf
        else:
            n_documents = sum(view.n_documents for view in views)
            total_length = sum(view.total_length for view in views)
            frequencies = np.zeros(len(names), np.int64)
            for view, own in zip(views, numbers, strict=True):
                frequencies += view.document_frequencies(own)
        average_length = total_length / n_documents if n_documents else 0.0

        known = frequencies > 0
        if not known.all():
            numbers = [np.where(known, own, -1) for own in numbers]
        idfs = np.zeros(len(names))
        idfs[known] = variants.idf(
            variant,
            n_documents,
            frequencies[known],
            lambda: (
                self._okapi_mean_idf(segments, views, n_documents) if mean_idf is None else mean_idf
            ),
        )
        asked_idfs = idfs[places] * counts
        constants = np.zeros(len(offsets) - 1)
        constant = variants.constant_of_idf(variant)
        if constant:
            sums = np.concatenate([np.zeros(1), np.cumsum(asked_idfs)])
            constants = constant * (sums[offsets[1:]] - sums[offsets[:-1]])
        return Asked(
            names,
            numbers,
            places,
            counts,
            offsets,
            frequencies,
            idfs,
            asked_idfs * variants.weight_of_idf(variant, k1),
            constants,
            constant,
            variants.saturation(variant, k1, self.settings.b, average_length),
            n_documents,
            average_length,
        )

    def _okapi_mean_idf(
        self, segments: Sequence[BM25Segment], views: Sequence[View], n_documents: int
    ) -> float:
        """The mean of Okapi's idf over all terms that visible rows have."""
        known, mean = self._mean_idf
        if len(known) == len(views) and all(
            reference() is view for reference, view in zip(known, views, strict=True)
        ):
            return mean
        frequencies = merger.all_frequencies(segments, views)
        mean = float(variants.okapi_idf(n_documents, frequencies[frequencies > 0]).mean())
        self._mean_idf = tuple(weakref.ref(view) for view in views), mean
        return mean
