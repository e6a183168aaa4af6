"""One search: a pipeline run over one pinned version, for a batch of queries.

Rows are the currency until the last step, which alone turns them into ids and documents. A document
that was split has several rows; its best one stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Any, TypeAlias, cast

import numpy as np

from ..contracts import (
    Allowed,
    Encodes,
    Float32Array,
    Int64Array,
    Queries,
    ScoresPassages,
    Searchable,
)
from ..documents import Chunk, JsonObject
from ..errors import InputError, ModelNotFoundError
from ..ranking import NO_ROW, Ranking
from ..results import Answers, Stored
from ..stages import Candidates, Fusion, RankedList, Retrieved
from ..timing import Timed
from ..vectors import Given, Vectors, are_vectors
from .candidates import candidates_of
from .deadline import Deadline
from .encodings import agreed
from .explaining import explain
from .feeding import feed_back
from .pipeline import Pipeline, Retrieve, resolve
from .reformulating import over_options, reformulated
from .retrieving import retrieved_by
from .stages import rerank
from .version import ServedIndex, Version

Loader: TypeAlias = Callable[[Sequence[int], Sequence[int]], Sequence[Stored]]
"""(first rows of the documents, rows of the hits) -> what is stored for each."""
Explainer: TypeAlias = Callable[[int, list[int]], list[JsonObject]]
"""(query's number, rows) -> the explanations of its hits."""


_TIMED_QUERIES = 64
_HURRIED_QUERIES = 8
"""A deadline is looked at after so many queries of a batch; the fewer, when little time is left."""
_SHORT_MS = 2000.0


@dataclass(slots=True)
class Search:
    """One search under way. ``split`` says whether a document may have several rows."""

    version: Version
    allowed: Allowed
    split: bool
    deadline: Deadline = field(default_factory=Deadline)
    timings_ms: dict[str, float] = field(default_factory=dict)
    lists: dict[str, Ranking] = field(default_factory=dict)
    flags: list[str] = field(default_factory=list)
    asked: dict[str, Queries] = field(default_factory=dict)
    encoded: dict[str, tuple[Queries, Vectors]] = field(default_factory=dict)
    """By index, the queries last encoded and their vectors: each index encodes a query once."""
    vectors: tuple[Queries, Given] | None = None
    """The queries as texts, and ready vectors of theirs for the indexes that take vectors."""
    missing: ModelNotFoundError | None = None
    fused: Sequence[RankedList] = ()
    """What the fusion last saw."""
    expanded: dict[str, Queries] = field(default_factory=dict)
    """By index, the queries that feedback made of those asked."""
    kept: dict[str, Ranking] = field(default_factory=dict)
    """By index, lists that a second retrieval takes as they were."""
    stages: list[tuple[str, Ranking]] = field(default_factory=list)
    """The kind of each stage of reranking, and its answer."""
    answered: dict[str, tuple[Queries, Retrieved]] = field(default_factory=dict)
    """By retriever, the queries it answered last, and its answer: asked once for a query."""
    calls: dict[str, Int64Array] = field(default_factory=dict)
    """By retriever, how many calls each query has made."""
    writes_again: bool = False
    """Whether feedback writes new texts for the retrievers as well."""
    first_of: Sequence[int] | None = None
    """Where several queries are searched for one: the first of each."""

    def run(self, pipeline: Pipeline, queries: Queries, k: int) -> Ranking:
        """The k best documents of each query, each by its best row."""
        if pipeline.is_single_list:
            return self._documents_of_one_list(pipeline.retrieve[0], queries, k)
        asked = texts = _texts(queries)
        self.writes_again = any(stage.index is None for stage in pipeline.feedback)
        if pipeline.reformulate is not None and not self.deadline.passed("reformulating"):
            with self.timed("reformulate"):
                options = reformulated(pipeline.reformulate, texts, self)
            if pipeline.reformulate.fuse is None:
                asked = [own[0] for own in options]
                ranking = self.retrieve_and_fuse(pipeline, asked, k)
            else:
                ranking = self.fused_over_options(pipeline, pipeline.reformulate.fuse, options, k)
        else:
            ranking = self.retrieve_and_fuse(pipeline, asked, k)
        if pipeline.feedback:
            ranking = feed_back(self, pipeline, asked, ranking, k)
        for stage in pipeline.rerank:
            ranking = rerank(self, stage, texts, ranking)
        self.flags += ranking.flags
        return self._best_rows(ranking, k) if self.split else ranking.cut(k)

    def answers(self, ranking: Ranking, load: Loader, explain: Explainer | None) -> Answers:
        """The hits of every query, their order settled: by score, then by id."""
        with self.timed("ids"):
            there = ranking.rows != NO_ROW
            rows = ranking.rows[there]
            documents, ids = self.version.look_up(rows)
            scores: list[float] = ranking.scores[there].tolist()
            starts = [0, *accumulate(there.sum(axis=1).tolist())]
            for query in _queries_with_ties(ranking):
                start, end = starts[query], starts[query + 1]
                order = sorted(range(start, end), key=lambda place: (-scores[place], ids[place]))
                ids[start:end] = [ids[place] for place in order]
                scores[start:end] = [scores[place] for place in order]
                rows[start:end] = rows[order]
                documents[start:end] = documents[order]

        def of(number: int, values: Int64Array) -> list[int]:
            hits: list[int] = values[starts[number] : starts[number + 1]].tolist()
            return hits

        return Answers(
            ids,
            scores,
            starts,
            lambda number: load(of(number, documents), of(number, rows)),
            version=self.version.commit,
            shards=self.version.shards,
            timings_ms=self.timings_ms,
            flags=tuple(dict.fromkeys([*self.flags, *self.deadline.flags])),
            explain=None if explain is None else lambda number: explain(number, of(number, rows)),
        )

    def explain(self, pipeline: Pipeline, number: int, rows: list[int]) -> list[JsonObject]:
        """See :mod:`cormorant.retrieval.explaining`."""
        return explain(self, pipeline, number, rows)

    def place_of(self, number: int) -> int:
        """Where a query stands among those that were searched."""
        return number if self.first_of is None else self.first_of[number]

    def starts(self, n_texts: int) -> Sequence[int]:
        """The first of each query's texts among those that are searched."""
        return range(n_texts) if self.first_of is None else self.first_of

    # -- retrieval --------------------------------------------------------------------------

    def view(self, name: str) -> ServedIndex:
        """An index of the version that is searched."""
        return self.version.indexes[name]

    def queries_for(self, name: str, queries: Queries) -> Queries:
        """The queries as an index takes them: encoded, once, by its encoder where it has one."""
        if name in self.expanded:
            return self.expanded[name]
        view = self.view(name)
        if view.encoder is None:
            if are_vectors(queries):
                raise InputError(
                    f"index {name!r} ({self.kind(name)}) is searched with texts, not with vectors",
                    field="vectors",
                )
            return queries
        known = self.encoded.get(name)
        if known is not None and known[0] is queries:
            return known[1]
        index = cast("Encodes[Any]", view.index)
        ready: Any = queries
        if self.vectors is not None and self.vectors[0] is queries:
            ready = self.vectors[1]
        with self.timed(f"encode.{name}"):
            made = (
                index.accept_queries(ready) if are_vectors(ready) else index.encode_queries(ready)
            )
        agreed(name, view.encoder, made.made_by)
        self.flags += made.flags
        self.encoded[name] = queries, made.vectors
        return made.vectors

    def kind(self, name: str) -> str:
        """The kind of an index."""
        settings = self.view(name).settings
        return "" if settings is None else settings.kind

    def score(self, name: str, rows: Int64Array, queries: slice) -> Float32Array:
        """True scores of rows (n_queries, m) for some of the queries; -inf of a list left out."""
        if name not in self.asked:
            return np.full(rows.shape, -np.inf, np.float32)
        view = self.view(name)
        index = cast("Searchable[Any]", view.index)
        return index.score(view.segments, self.asked[name][queries], rows, self.allowed)

    def _retrieve(self, item: Retrieve, queries: Queries, depth: int) -> Ranking:
        if item.index in self.kept and self.kept[item.index].depth >= depth:
            return self.kept[item.index]
        if item.by is not None:
            return retrieved_by(self, item.index, item.by, queries, depth)
        view = self.view(item.index)
        if self.deadline.passed(f"searching index {item.index!r}"):
            return self._left_out(item.index, queries, depth)
        # Every kind in the table answers queries; asking isinstance of a Protocol costs more than
        # many a search.
        index = cast("Searchable[Any]", view.index)
        asked = self.asked[item.index] = self.queries_for(item.index, queries)
        with self.timed(f"retrieve.{item.index}"):
            ranking = self._searched(index, view, asked, depth)
        if view.rows_behind:
            self.flags.append(f"index {item.index!r} is behind by {view.rows_behind} rows")
        self.flags += ranking.flags
        self.lists[item.index] = ranking
        return ranking

    def _searched(
        self, index: Searchable[Any], view: ServedIndex, asked: Queries, depth: int
    ) -> Ranking:
        """What an index answers; a large batch with a deadline is asked in parts."""
        if self.deadline.timeout_ms is None or len(asked) <= _TIMED_QUERIES:
            return index.search(view.segments, asked, depth, self.allowed)
        whole = Ranking.empty(len(asked), depth)
        start = 0
        while start < len(asked):
            if self.deadline.passed(f"query {start + 1} of the batch"):
                break
            size = _TIMED_QUERIES if (self.deadline.left_ms or 0) > _SHORT_MS else _HURRIED_QUERIES
            part = slice(start, start + size)
            found = index.search(view.segments, asked[part], depth, self.allowed)
            whole.rows[part, : found.depth] = found.rows
            whole.scores[part, : found.depth] = found.scores
            whole = replace(whole, flags=(*whole.flags, *found.flags))
            start += size
        return whole

    def _left_out(self, name: str, queries: Queries, depth: int) -> Ranking:
        """The empty list of an index for which there was no time."""
        self.asked.pop(name, None)
        return Ranking.empty(len(queries), depth)

    def _documents_of_one_list(self, item: Retrieve, queries: Queries, k: int) -> Ranking:
        depth = k if item.depth is None else min(k, item.depth)
        if not self.split:
            return self._retrieve(item, queries, depth)
        # Fetch more rows until every query has its documents, or no more rows.
        wanted = 2 * depth
        while True:
            ranking = self._retrieve(item, queries, wanted)
            best = self._best_rows(ranking, depth)
            cut_short = ranking.rows[:, -1] != NO_ROW
            if not np.any(cut_short & (best.rows[:, -1] == NO_ROW)):
                return best
            if self.deadline.passed("asking for more passages"):
                return best
            wanted *= 4

    def fused_over_options(
        self, pipeline: Pipeline, fusion: Fusion, options: Sequence[Sequence[str]], k: int
    ) -> Ranking:
        """Every option of every query is searched, as one batch; then each query's lists fused."""
        flat = [text for own in options for text in own]
        self.first_of = np.cumsum([0, *(len(own) for own in options[:-1])]).tolist()
        found = self.retrieve_and_fuse(pipeline, flat, k)
        with self.timed("fuse"):
            return over_options(fusion, found, [len(own) for own in options])

    def retrieve_and_fuse(self, pipeline: Pipeline, texts: Queries, k: int) -> Ranking:
        """The candidates, best first; deeper than asked where split documents crowd others out."""
        depth = max(k, pipeline.depth)
        while True:
            ranking, lists = self._fused(pipeline, texts, depth)
            if not self.split or all(item.depth is not None for item in pipeline.retrieve):
                return ranking
            short = self._best_rows(ranking, k).rows[:, -1] == NO_ROW
            if not any(np.any(item.rows[short, -1] != NO_ROW) for item in lists):
                return ranking
            if self.deadline.passed("asking for more passages"):
                return ranking
            depth *= 4

    def _fused(
        self, pipeline: Pipeline, texts: Queries, depth: int
    ) -> tuple[Ranking, list[Ranking]]:
        if pipeline.fuse is None:
            item = pipeline.retrieve[0]
            ranking = self._retrieve(item, texts, item.depth or depth)
            return ranking, [ranking]
        lists = [self._list(item, texts, item.depth or depth) for item in pipeline.retrieve]
        if self.missing is not None and not self.asked:
            raise self.missing

        def score(name: str, rows: Int64Array) -> Float32Array:
            return self.score(name, rows, slice(None))

        self.fused = lists
        with self.timed("fuse"):
            ranking = pipeline.fuse.fuse(lists, score, depth)
        return ranking, [item.ranking for item in lists]

    def _list(self, item: Retrieve, texts: Queries, depth: int) -> RankedList:
        """One list for a fusion; empty, and flagged, where its model is not on this machine."""
        if item.by is not None:
            return RankedList(item.index, item.by.kind, self._retrieve(item, texts, depth), None)
        index = cast("Searchable[Any]", self.view(item.index).index)
        try:
            ranking = self._retrieve(item, texts, depth)
        except ModelNotFoundError as error:
            self.missing = error
            self.flags.append(f"index {item.index!r} was not searched: {error}")
            ranking = Ranking.empty(len(texts), 1)
        return RankedList(item.index, self.kind(item.index), ranking, index.lowest_score)

    def candidates(self, texts: Sequence[str], ranking: Ranking) -> list[Candidates]:
        """What rankers and feedback see of each query."""

        def score(name: str, number: int, rows: Int64Array) -> Float32Array:
            name = resolve(name, self.version.kinds())
            view = self.view(name)
            index = cast("Searchable[Any]", view.index)
            asked = self.queries_for(name, texts)[number : number + 1]
            scores: Float32Array = index.score(view.segments, asked, rows[None], self.allowed)[0]
            return scores

        def encode(name: str, number: int, chunks: Sequence[Chunk]) -> Float32Array:
            name = resolve(name, self.version.kinds())
            index = self.view(name).index
            if not isinstance(index, ScoresPassages):
                raise InputError(
                    f"{name!r} ({self.kind(name)}) scores no passages that it does not hold",
                    field="index",
                )
            asked = self.queries_for(name, texts)[number : number + 1]
            return index.score_passages(asked, chunks)

        return candidates_of(texts, ranking, self.chunks, score, encode)

    def chunks(self, rows: Int64Array) -> list[Chunk]:
        """The passages of rows, in their order."""
        documents, _ = self.version.look_up(rows)
        found = self.version.read(documents.tolist())
        chunks = []
        for row, first in zip(rows.tolist(), documents.tolist(), strict=True):
            document, spans = found[first]
            start, end = spans[row - first]
            chunks.append(Chunk(row, first, document.id, document.title, document.text[start:end]))
        return chunks

    # -- the last step ----------------------------------------------------------------------

    def _best_rows(self, ranking: Ranking, k: int) -> Ranking:
        """Of each document only its best row, the k best of them."""
        best = Ranking.empty(ranking.n_queries, k, ranking.flags)
        for query in range(ranking.n_queries):
            rows = ranking.rows[query]
            rows = rows[rows != NO_ROW]
            documents, _ = self.version.look_up(rows)
            _, first = np.unique(documents, return_index=True)
            first = np.sort(first)[:k]
            best.rows[query, : len(first)] = rows[first]
            best.scores[query, : len(first)] = ranking.scores[query, first]
        return best

    def timed(self, part: str) -> Timed:
        """A block whose time is added to a part of this search's time."""
        return Timed(self.timings_ms, part)


def _queries_with_ties(ranking: Ranking) -> list[int]:
    if ranking.depth < 2:
        return []
    same = ranking.scores[:, 1:] == ranking.scores[:, :-1]
    if not same.any():
        return []
    tied: list[int] = np.flatnonzero(
        np.any(same & (ranking.rows[:, 1:] != NO_ROW), axis=1)
    ).tolist()
    return tied


def _texts(queries: Queries) -> Sequence[str]:
    if are_vectors(queries):
        raise InputError("ready vectors go through a pipeline of one index only", field="vectors")
    return cast(Sequence[str], queries)
