"""Dense retrieval as an index: candidates from each segment, then their true scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...contracts import (
    Allowed,
    Array,
    ArraySink,
    BoolArray,
    EncodedQueries,
    Encoder,
    Encodings,
    Float32Array,
    Int64Array,
    Queries,
)
from ...documents import Chunk, JsonObject
from ...errors import InputError
from ...kernels.dots import dots
from ...ranking import NO_ROW, Ranking
from ...vectors import Given
from . import ann, exact, writing
from .checking import check_layout, problems_of
from .segment import DenseSegment
from .settings import IVF, Dense
from .vectors import checked, pack


class DenseIndex:
    """One vector a passage; see :class:`Dense`.

    A score is the inner product of the two vectors (of length 1, where the similarity is the
    cosine), whichever way a row was found: an approximate search can miss a row, but gives no row
    another score than the exact one does.
    """

    def __init__(self, settings: Dense) -> None:
        self.settings = settings

    @property
    def lowest_score(self) -> float | None:
        """-1 for a cosine; an inner product has no least value."""
        return -1.0 if self.settings.similarity == "cosine" else None

    # -- encoding ---------------------------------------------------------------------------

    def encode(self, chunks: Sequence[Chunk]) -> Encodings:
        """Encode title and text of each passage."""
        encoder = self._encoder()
        encoded = encoder.encode_document([chunk.indexed_text for chunk in chunks])

        def named(row: int) -> str:
            return f"the vector of document {chunks[row].id!r}"

        vectors = self._sized(encoded.vectors)
        self._check_buildable(vectors.shape[1])
        return Encodings(
            pack(checked(vectors, None, self.settings.similarity, "text", named), encoded.cut),
            {"model": encoder.identity, "dim": vectors.shape[1]},
        )

    @property
    def needs_vectors(self) -> bool:
        """Whether it has no encoder of its own and takes ready vectors only."""
        return self.settings.model is None

    def accept(self, vectors: Given, first: int = 0) -> Encodings:
        """Ready vectors of passages, (n, dim), checked and normalised."""
        settings = self.settings

        def named(row: int) -> str:
            return f"vector {first + row}"

        values = checked(_array(vectors), settings.dim, settings.similarity, "vectors", named)
        self._check_buildable(values.shape[1])
        return Encodings(pack(values, np.zeros(len(values), np.bool_)), {"dim": values.shape[1]})

    def encode_queries(self, texts: Sequence[str]) -> EncodedQueries:
        """Encode queries; flags how many were longer than the model's window."""
        encoder = self._encoder()
        encoded = encoder.encode_query(texts)
        n_cut = int(np.count_nonzero(encoded.cut))
        what = "the query was" if len(texts) == 1 else f"{n_cut} queries were"
        flags = (f"{what} cut to the model's {encoder.max_tokens} tokens",) if n_cut else ()
        vectors = checked(self._sized(encoded.vectors), None, self.settings.similarity, "query")
        return EncodedQueries(vectors, {"model": encoder.identity, "dim": vectors.shape[1]}, flags)

    def accept_queries(self, vectors: Given) -> EncodedQueries:
        """Ready vectors of queries, (n_queries, dim), checked and normalised."""
        values = checked(_array(vectors), self.settings.dim, self.settings.similarity, "vectors")
        return EncodedQueries(values, {"dim": values.shape[1]})

    def encodings(self, segments: Sequence[DenseSegment], rows: Int64Array) -> list[bytes | None]:
        """What the segments hold of given rows, as ``encode`` gave it; None where they do not."""
        found: list[bytes | None] = [None] * len(rows)
        for segment in segments:
            places = segment.places(rows)
            here = np.flatnonzero(places >= 0)
            packed = pack(segment.vectors_at(places[here]), segment.cut[places[here]])
            for place, encoding in zip(here.tolist(), packed, strict=True):
                found[place] = encoding
        return found

    def _encoder(self) -> Encoder:
        if self.settings.model is None:
            raise InputError(
                "this dense index has no model (model=None): give ready vectors, as "
                "add(documents, vectors={...}) and search_batch(vectors=...)"
            )
        from ..encoders.encoder import load_encoder

        return load_encoder(
            self.settings.model,
            revision=self.settings.revision,
            precision=self.settings.precision,
        )

    def _check_buildable(self, dim: int) -> None:
        """What cannot be built later must not be added now."""
        ann = self.settings.ann
        if isinstance(ann, IVF) and ann.quantizer == "pq" and dim % ann.pq_bytes:
            raise InputError(
                f"divides the dimension, which is {dim}; got {ann.pq_bytes}", field="pq_bytes"
            )

    def _sized(self, vectors: Float32Array) -> Float32Array:
        dim = self.settings.dim
        if dim is None or dim == vectors.shape[1]:
            return vectors
        if dim > vectors.shape[1]:
            raise InputError(
                f"the model {self.settings.model!r} gives vectors of {vectors.shape[1]} numbers, "
                f"fewer than {dim}",
                field="dim",
            )
        return vectors[:, :dim]

    # -- segments ---------------------------------------------------------------------------

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        return writing.build(chunks, self.settings, sink)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> DenseSegment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote.

        Raises :class:`~cormorant.errors.CormorantError` for arrays that cannot be a segment.
        """
        check_layout(arrays)
        return DenseSegment(arrays, summary)

    def merge(
        self,
        segments: Sequence[DenseSegment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``."""
        return writing.merge(segments, keep, self.settings, sink)

    def check(self, segment: DenseSegment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        return problems_of(segment, self.settings)

    def describe(self, segments: Sequence[DenseSegment]) -> JsonObject:
        """How many vectors, of how many numbers; how many texts were cut to the model's window."""
        return {
            "vectors": sum(len(segment.rows) for segment in segments),
            "dim": max((segment.vectors.shape[1] for segment in segments), default=0),
            "cut": sum(int(np.count_nonzero(segment.cut)) for segment in segments),
        }

    def vectors(self, segments: Sequence[DenseSegment], rows: Int64Array) -> Float32Array:
        """The stored vectors of given rows: (n,) int64 -> (n, dim) float32; NaN for absent rows."""
        dim = max((segment.vectors.shape[1] for segment in segments), default=0)
        result = np.full((len(rows), dim), np.nan, np.float32)
        for segment in segments:
            places = segment.places(rows)
            here = places >= 0
            if here.any():
                result[here] = segment.vectors_at(places[here])
        return result

    # -- searching --------------------------------------------------------------------------

    def search(
        self, segments: Sequence[DenseSegment], queries: Queries, k: int, allowed: Allowed
    ) -> Ranking:
        """The k best allowed rows of each query, by true score."""
        asked = _vectors(queries)
        rankings = [
            self._search_segment(segment, asked, k, allowed)
            for segment in segments
            if len(segment.rows)
        ]
        if not rankings:
            return Ranking.empty(len(asked), k)
        merged = rankings[0] if len(rankings) == 1 else Ranking.merge(rankings, k)
        return merged if merged.depth == k else _padded(merged, k)

    def _search_segment(
        self, segment: DenseSegment, queries: Float32Array, k: int, allowed: Allowed
    ) -> Ranking:
        _check_dim(segment, queries)
        passing = segment.passing(allowed)
        flags: tuple[str, ...] = ()
        places: Int64Array | None = None
        if "ann" in segment.summary:
            if not exact.has_faiss():
                flags = ("faiss is not installed: searched exactly",)
            else:
                places = ann.candidates(segment, self.settings, queries, k, passing)
        if places is None:
            places = exact.candidates(segment, queries, k, passing.places)
        scores = dots(queries, segment.vectors, places)
        rows = np.where(places >= 0, segment.rows[places], NO_ROW)
        order = np.lexsort((rows, -scores), axis=1)[:, :k]
        return Ranking(
            np.take_along_axis(rows, order, axis=1),
            np.take_along_axis(scores, order, axis=1),
            flags,
        )

    def score(
        self,
        segments: Sequence[DenseSegment],
        queries: Queries,
        rows: Int64Array,
        allowed: Allowed,
    ) -> Float32Array:
        """True scores of given rows: rows (n_queries, m) int64 -> (n_queries, m) float32.

        -inf where a row is -1, absent, or not visible.
        """
        asked = _vectors(queries)
        scores = np.full(rows.shape, -np.inf, np.float32)
        seen = seen_rows(rows, allowed)
        for segment in segments:
            if not len(segment.rows):
                continue
            _check_dim(segment, asked)
            np.maximum(scores, dots(asked, segment.vectors, segment.places(seen)), out=scores)
        return scores


def seen_rows(rows: Int64Array, allowed: Allowed) -> Int64Array:
    """The rows, any shape, NO_ROW in the place of those that the searcher may not see."""
    if allowed.visible is None:
        return rows
    there = (rows >= 0) & (rows < len(allowed.visible))
    there[there] = allowed.visible[rows[there]]
    return np.where(there, rows, NO_ROW)


def _array(vectors: Given) -> Array:
    if not isinstance(vectors, np.ndarray):
        raise InputError(
            "is an array (n, dim): a dense index has one vector a text", field="vectors"
        )
    return vectors


def _vectors(queries: Queries) -> Float32Array:
    if not isinstance(queries, np.ndarray):
        raise TypeError("a dense index is searched with vectors; encode_queries makes them")
    return queries


def _check_dim(segment: DenseSegment, queries: Float32Array) -> None:
    """No kernel and no FAISS looks at this again."""
    if queries.ndim != 2 or queries.shape[1] != segment.vectors.shape[1]:
        raise ValueError(f"queries {queries.shape} for vectors {segment.vectors.shape}")


def _padded(ranking: Ranking, k: int) -> Ranking:
    padded = Ranking.empty(ranking.n_queries, k, ranking.flags)
    padded.rows[:, : ranking.depth] = ranking.rows
    padded.scores[:, : ranking.depth] = ranking.scores
    return padded
