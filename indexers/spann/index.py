"""SPANN as an index: candidates from lists of codes on disk, then their true scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from ...contracts import Allowed, Array, ArraySink, BoolArray, Float32Array, Int64Array, Queries
from ...documents import Chunk, JsonObject
from ...kernels.distances import distances
from ...kernels.dots import dots
from ...ranking import NO_ROW, Ranking
from ..dense import checking as dense_checking
from ..dense import exact
from ..dense import writing as dense_writing
from ..dense.index import DenseIndex, seen_rows
from ..dense.segment import DenseSegment, Passing
from ..dense.settings import Dense
from . import merging, searching, tuning, writing
from .budget import Budget, budget_for
from .checking import check_lists, problems_of
from .ordering import laid_together
from .reach import Pool, Reach, bytes_of, reach_of
from .recording import Narrowed, Recorded
from .rows import NUMBERS
from .segment import SpannSegment
from .settings import Spann
from .space import Space
from .stages import Stages
from .threads import limited, threads
from .tracing import Trace

_BLOCK = 16_384
_FEW = 8
"""Where one row of so many passes a filter, only these are read."""


class SpannIndex(DenseIndex):
    """Vectors on disk; see :class:`Spann`.

    Encoding, ready vectors and what a score is are a dense index's: a row has the same score here
    as there. A search can miss a row, but misjudges none.
    """

    def __init__(self, settings: Spann) -> None:
        super().__init__(
            Dense(
                model=settings.model,
                revision=settings.revision,
                dim=settings.dim,
                similarity="cosine" if settings.similarity == "cosine" else "dot",
                precision=settings.precision,
            )
        )
        self.spann = settings

    @property
    def lowest_score(self) -> float | None:
        """-1 for a cosine; an inner product and a distance have no least value."""
        return -1.0 if self.spann.similarity == "cosine" else None

    # -- segments ---------------------------------------------------------------------------

    def build(self, chunks: Iterable[Chunk], sink: ArraySink) -> JsonObject:
        """Write the arrays of one segment over ``chunks`` (rows ascending); returns its summary."""
        recorded = Narrowed(sink, self.spann.list_rows)
        summary = dense_writing.build(chunks, self.settings, recorded)
        return self._with_lists(recorded, summary, None)

    def open(self, arrays: Mapping[str, Array], summary: JsonObject) -> SpannSegment:
        """A segment from the arrays and the summary that ``build`` or ``merge`` wrote.

        Raises :class:`~cormorant.errors.CormorantError` for arrays that cannot be a segment.
        """
        dense_checking.check_layout(arrays, NUMBERS if "spann" in summary else NUMBERS[-1:])
        check_lists(arrays, summary, self.spann)
        return SpannSegment(arrays, summary, self.spann)

    def merge(
        self,
        segments: Sequence[DenseSegment],
        keep: Sequence[BoolArray | None],
        sink: ArraySink,
    ) -> JsonObject:
        """Write one segment of several, in row order; ``keep[i]`` masks ``segments[i].rows``.

        Where most of the rows come from one segment, its lists are kept, and mended where the
        others' rows go.
        """
        held = [segment.vectors for segment in segments]
        recorded = Narrowed(sink, self.spann.list_rows, held)
        summary = dense_writing.merge(segments, keep, self.settings, recorded)
        return self._with_lists(recorded, summary, (segments, keep))

    def _with_lists(
        self,
        sink: Recorded,
        summary: JsonObject,
        merged: tuple[Sequence[DenseSegment], Sequence[BoolArray | None]] | None,
    ) -> JsonObject:
        vectors = sink.arrays["vectors"]
        if not sink.lasting or len(vectors) < self.spann.list_rows:
            return summary
        space = Space(self.spann.similarity, vectors.shape[1], summary["largest_norm"])

        def begun() -> writing.Begun | None:
            if merged is None:
                return None
            segments, keep = merged
            largest = max(range(len(segments)), key=lambda i: len(segments[i].rows))
            rows = sink.arrays["rows"]
            return merging.begun(segments[largest], keep[largest], rows, space, self.spann)

        stages = Stages(sink.sink, len(vectors), repeatable=True)
        given = self.spann.build_memory
        with limited(threads() if given is None else self._budget(vectors.shape[1]).threads):
            written = writing.write(vectors, space, self.spann, sink, stages, begun)
            done = stages.of("measured")
            measured, heat = tuning.measure(vectors, space, written, self.spann, done)
            sink.put("spann_heat", heat)
            slots = laid_together(vectors, space, written.homes, stages.of("ordered"))
            sink.put("spann_slots", slots)
        return {**summary, "spann": {**written.facts, "measured": measured, "laid": True}}

    def most_rows(self, segments: Sequence[DenseSegment], dim: int | None) -> int | None:
        """How many rows one merge may write with the memory that is given; None: any number."""
        if self.spann.build_memory is None:
            return None
        dims = [segment.vectors.shape[1] for segment in segments]
        return self._budget(max(dims, default=dim or self.spann.dim or 1)).rows

    def _budget(self, dim: int) -> Budget:
        spann = self.spann
        width = Space(spann.similarity, dim, 1.0).width
        assert spann.build_memory is not None
        return budget_for(
            spann.build_memory, width, spann.posting, spann.replicas, spann.list_rows, threads()
        )

    def unfinished(self, segment: DenseSegment) -> bool:
        """Whether it is to have lists, which were left to a merge."""
        assert isinstance(segment, SpannSegment)
        return segment.lists is None and len(segment.rows) >= self.spann.list_rows

    def check(self, segment: DenseSegment) -> list[str]:
        """What is wrong inside a segment whose files are intact; empty when nothing is."""
        assert isinstance(segment, SpannSegment)
        return super().check(segment) + problems_of(segment, self.spann)

    def describe(self, segments: Sequence[DenseSegment]) -> JsonObject:
        """How many vectors and lists, what they take in memory, and the recall on samples."""
        own = [segment for segment in segments if isinstance(segment, SpannSegment)]
        listed = [segment.summary["spann"] for segment in own if segment.lists is not None]
        return {
            **super().describe(segments),
            "lists": sum(facts["lists"] for facts in listed),
            "codes": sum(facts["codes"] for facts in listed),
            "numbers": sorted({segment.vectors.dtype.name for segment in own}),
            "bits": sorted({facts["bits"] for facts in listed}),
            "memory_bytes": sum(segment.kept_bytes for segment in own),
            "recall": {
                str(depth): min(
                    tuning.effort_for(facts, depth, self.spann).recall for facts in listed
                )
                for depth in tuning.DEPTHS
                if listed
            },
        }

    # -- searching --------------------------------------------------------------------------

    def _search_segment(
        self, segment: DenseSegment, queries: Float32Array, k: int, allowed: Allowed
    ) -> Ranking:
        return self._traced(segment, queries, k, allowed, Trace())

    def _traced(
        self, segment: DenseSegment, queries: Float32Array, k: int, allowed: Allowed, trace: Trace
    ) -> Ranking:
        assert isinstance(segment, SpannSegment)
        if queries.ndim != 2 or queries.shape[1] != segment.vectors.shape[1]:
            raise ValueError(f"queries {queries.shape} for vectors {segment.vectors.shape}")
        segment.check_files()
        passing = segment.passing(allowed)
        flags: tuple[str, ...] = ()
        if segment.lists is None:
            places, scores = self._exactly(segment, queries, k, passing, trace)
        else:
            target, deepest = self.spann.target_recall, tuning.DEPTHS[-1]
            effort = tuning.effort_for(segment.summary["spann"], k, self.spann)
            places, scores = searching.best(
                segment, queries, k, passing, effort, self._scores, trace
            )
            if effort.recall < target:
                flags = (f"recall {effort.recall:.2f} on samples, below {target:g}",)
            if k > deepest:
                flags += (f"recall measured for the {deepest} best only",)
        best = np.lexsort((places, -scores), axis=1)[:, :k]  # places and rows have one order
        each = np.arange(len(best))[:, None]
        places, scores = places[each, best], scores[each, best]
        rows = np.where(places >= 0, segment.rows_at(places), NO_ROW)
        return Ranking(rows, scores, flags)

    def _scores(
        self, queries: Float32Array, vectors: Float32Array, places: Int64Array
    ) -> Float32Array:
        """True scores: the similarity of two float32 vectors, and nothing else."""
        if self.spann.similarity == "l2":
            return distances(queries, vectors, places)
        return dots(queries, vectors, places)

    def _exactly(
        self,
        segment: SpannSegment,
        queries: Float32Array,
        k: int,
        passing: Passing,
        trace: Trace,
    ) -> tuple[Int64Array, Float32Array]:
        """A small segment, or the tail: one pass over its vectors."""
        pages, allowed = segment.vector_pages, passing.places
        trace.vectors += passing.size * len(queries)
        held: DenseSegment = segment
        few = None if _FEW * passing.size >= len(segment.rows) else allowed
        if few is not None:
            vectors = searching.read(segment, few, trace)
            arrays = {**segment.arrays, "vectors": vectors}
            held, allowed = DenseSegment(arrays, segment.summary), None
        else:
            trace.note_pages(pages.spans(np.zeros(1, np.int64), segment.vectors.nbytes))
            pages.wait_all()
        with trace.timed("scored"):
            if self.spann.similarity != "l2":
                places = exact.candidates(held, queries, k, allowed)
                scores = dots(queries, held.vectors, places)
            else:
                places, scores = self._nearest(held.vectors, queries, k, allowed)
        if few is not None:
            return np.where(places >= 0, few[places], NO_ROW), scores
        pages.drop_all()
        return places, scores

    def _nearest(
        self, vectors: Float32Array, queries: Float32Array, k: int, allowed: Int64Array | None
    ) -> tuple[Int64Array, Float32Array]:
        """By true distances of every row."""
        every = np.arange(len(vectors)) if allowed is None else allowed
        places = np.full((len(queries), 0), NO_ROW, np.int64)
        scores = np.zeros((len(queries), 0), np.float32)
        for first in range(0, len(every), _BLOCK):
            block = np.tile(every[first : first + _BLOCK], (len(queries), 1))
            scores = np.hstack([scores, distances(queries, vectors, block)])
            places = np.hstack([places, block])
            order = np.lexsort((places, -scores), axis=1)[:, :k]
            places = np.take_along_axis(places, order, axis=1)
            scores = np.take_along_axis(scores, order, axis=1)
        return places, scores

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
        if not isinstance(queries, np.ndarray):
            raise TypeError("a spann index is searched with vectors; encode_queries makes them")
        scores = np.full(rows.shape, -np.inf, np.float32)
        seen = seen_rows(rows, allowed)
        for segment in segments:
            assert isinstance(segment, SpannSegment)
            if not len(segment.rows):
                continue
            segment.check_files()
            places = segment.places(seen)
            wanted, inside = searching.distinct(places)
            found = self._scores(queries, searching.read(segment, wanted), inside)
            np.maximum(scores, found, out=scores)
        return scores

    def explain(
        self,
        segments: Sequence[DenseSegment],
        query: Queries,
        rows: Sequence[int],
        allowed: Allowed,
    ) -> list[JsonObject]:
        """For each row its similarity; and what a search for as many rows does in each segment."""
        if not isinstance(query, np.ndarray):
            raise TypeError("a spann index is searched with vectors; encode_queries makes them")
        asked = query.reshape(1, -1)
        scores = self.score(segments, asked, np.array([rows], np.int64).reshape(1, -1), allowed)
        work = []
        for segment in segments:
            assert isinstance(segment, SpannSegment)
            trace = Trace(explained=True)
            self._traced(segment, asked, max(len(rows), 1), allowed, trace)
            exactly = segment.lists is None
            work.append({"rows": len(segment.rows), "exact": exactly, **trace.as_json()})
        return [
            {"similarity": self.spann.similarity, "score": float(score), "segments": work}
            for score in scores[0]
        ]

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """None: a vector matches no words."""
        return []

    # -- in shards --------------------------------------------------------------------------

    def reach_bytes(self, segments: Sequence[SpannSegment]) -> int | None:
        """What :meth:`reach` takes, at most; None where rows stand in no list."""
        return bytes_of(segments)

    def reach(self, segments: Sequence[SpannSegment], allowed: Allowed) -> Reach | None:
        """Where the lists of this shard lie; see :mod:`cormorant.indexers.spann.reach`."""
        return reach_of(segments, allowed, self.spann)

    def pool(self, parts: Mapping[int, Reach]) -> Pool:
        """The lists of several shards, by shard, as one set of lists."""
        return Pool(parts)
