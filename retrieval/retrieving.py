"""A retriever in the place of an index: what it may see of a search, and its list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..contracts import Float32Array, HasVectors, Int64Array, Queries, Searchable
from ..documents import Chunk, JsonObject
from ..errors import CormorantError, InputError, UnknownNameError
from ..ranking import Ranking
from ..stages import Budget, RankedList, Retriever
from ..vectors import are_vectors
from .pipeline import resolve

if TYPE_CHECKING:
    from .search import Search


def retrieved_by(
    search: Search, name: str, retriever: Retriever, queries: Queries, depth: int
) -> Ranking:
    """The first ``depth`` places of a retriever's answer; it is asked once for the same queries."""
    if are_vectors(queries):
        raise InputError(f"{name!r} reads texts, not vectors", field="vectors")
    known = search.answered.get(name)
    if known is None or known[0] is not queries:
        if search.deadline.passed(f"searching with {name!r}"):
            return Ranking.empty(len(queries), depth)
        with search.timed(f"retrieve.{name}"):
            answer = retriever.retrieve(cast(Sequence[str], queries), View(search, name, queries))
        search.answered[name] = known = queries, answer
        if len(answer.facts) != len(queries):
            raise CormorantError(
                f"the retriever {name!r} gave facts of {len(answer.facts)} queries for "
                f"{len(queries)}"
            )
        calls = np.array([facts.get("calls", 0) for facts in answer.facts], np.int64)
        spent = np.add.reduceat(calls, search.starts(len(queries)))
        search.calls[name] = search.calls.get(name, 0) + spent
        search.flags += answer.ranking.flags
    ranking = search.lists[name] = _padded(known[1].ranking, depth)
    return ranking.cut(depth)


def _padded(ranking: Ranking, depth: int) -> Ranking:
    """At least ``depth`` places, so that the last says whether there were more rows."""
    if ranking.depth >= depth:
        return ranking
    wide = Ranking.empty(ranking.n_queries, depth, ranking.flags)
    wide.rows[:, : ranking.depth] = ranking.rows
    wide.scores[:, : ranking.depth] = ranking.scores
    return wide


@dataclass(frozen=True, slots=True)
class View:
    """What a retriever may ask; see :class:`~cormorant.stages.CollectionView`."""

    inside: Search
    name: str
    queries: Any

    @property
    def budget(self) -> Budget:
        """What the search has left."""
        return self.inside.deadline.budget

    def shares(self, calls: int) -> list[int]:
        """Of a query's calls what each of its texts may make now.

        They share alike. As long as feedback may write new texts, half is left for those.
        """
        search, n_texts = self.inside, len(self.queries)
        starts = search.starts(n_texts)
        counts = np.diff([*starts, n_texts])
        left = np.full(len(counts), calls)
        if self.name in search.calls:
            left -= search.calls[self.name]
        elif search.writes_again:
            left //= 2
        place = np.arange(n_texts) - np.repeat(starts, counts)
        shares: list[int] = (
            np.repeat(left // counts, counts) + (place < np.repeat(left % counts, counts))
        ).tolist()
        return shares

    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.inside.deadline.passed("a retriever's next step")

    def rows(self) -> Int64Array:
        """The rows that live, may be seen, and pass the filter."""
        return self.inside.version.rows(self.inside.allowed)

    def resolve(self, index: str) -> str | None:
        """The index of a name or kind."""
        try:
            return resolve(index, self.inside.version.kinds())
        except UnknownNameError:
            return None

    def search(self, index: str, queries: Sequence[str], k: int) -> RankedList:
        """An index's answer."""
        search, view = self.inside, self.inside.view(index)
        searched = cast("Searchable[Any]", view.index)
        asked = search.asked[index] = search.queries_for(index, self.queries)
        with search.timed(f"retrieve.{index}"):
            ranking = searched.search(view.segments, asked, k, search.allowed)
        return RankedList(index, search.kind(index), ranking, searched.lowest_score)

    def score(self, index: str, rows: Int64Array) -> Float32Array:
        """True scores of rows (n_queries, m)."""
        return self.inside.score(index, rows, slice(None))

    def score_one(self, index: str, number: int, rows: Int64Array) -> Float32Array:
        """True scores of rows (n,) for one query."""
        scores: Float32Array = self.inside.score(index, rows[None], slice(number, number + 1))[0]
        return scores

    def vectors(self, index: str, rows: Int64Array) -> Float32Array:
        """Stored vectors of rows.

        Raises :class:`~cormorant.errors.InputError` for an index that keeps none.
        """
        view = self.inside.view(index)
        if not isinstance(view.index, HasVectors):
            raise InputError(f"index {index!r} keeps no vectors", field="side")
        return view.index.vectors(view.segments, rows)

    def anchor_scores(self, index: str, rows: Int64Array) -> Float32Array:
        """The anchor scores of rows.

        Raises :class:`~cormorant.errors.InputError` for an index that holds none.
        """
        view = self.inside.view(index)
        read = getattr(view.index, "anchor_scores", None)
        if read is None:
            raise InputError(f"index {index!r} holds no anchor scores", field="anchors")
        scores: Float32Array = read(view.segments, rows)
        return scores

    def made_by(self, index: str) -> JsonObject:
        """What is recorded of an index's encoder."""
        return self.inside.view(index).encoder or {}

    def chunks(self, rows: Int64Array) -> Sequence[Chunk]:
        """The passages of rows."""
        return self.inside.chunks(rows)
