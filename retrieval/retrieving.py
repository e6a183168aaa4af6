"""A retriever in the place of an index: what it may see of a search, and its list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from ..contracts import Float32Array, HasVectors, Int64Array, Queries, Searchable
from ..documents import Chunk
from ..errors import InputError, UnknownNameError
from ..ranking import Ranking
from ..stages import Budget, RankedList, Retriever
from ..vectors import are_vectors
from .pipeline import resolve

if TYPE_CHECKING:
    from .search import Search


def retrieved_by(
    search: Search, name: str, retriever: Retriever, queries: Queries, depth: int
) -> Ranking:
    """The first ``depth`` rows of a retriever's answer; it is asked once for the same queries."""
    if are_vectors(queries):
        raise InputError(f"{name!r} reads texts, not vectors", field="vectors")
    known = search.answered.get(name)
    if known is not None and known[0] is queries:
        return known[1].ranking.cut(depth)
    if search.deadline.passed(f"searching with {name!r}"):
        return Ranking.empty(len(queries), depth)
    with search.timed(f"retrieve.{name}"):
        answer = retriever.retrieve(cast(Sequence[str], queries), View(search, queries))
    search.answered[name] = queries, answer
    search.flags += answer.ranking.flags
    search.lists[name] = answer.ranking
    return answer.ranking.cut(depth)


@dataclass(frozen=True, slots=True)
class View:
    """What a retriever may ask; see :class:`~cormorant.stages.CollectionView`."""

    inside: Search
    queries: Any

    @property
    def budget(self) -> Budget:
        """What the search has left."""
        return self.inside.deadline.budget

    def out_of_time(self) -> bool:
        """Whether the deadline has passed."""
        return self.inside.deadline.passed("a retriever's next round")

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
        searched = cast(Searchable[Any], view.index)
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

    def chunks(self, rows: Int64Array) -> Sequence[Chunk]:
        """The passages of rows."""
        return self.inside.chunks(rows)
