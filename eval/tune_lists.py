"""A collection's answers to fixed queries: however many pipelines ask, each list is searched once.

A search is the real one (:class:`~cormorant.retrieval.search.Search`), handed what an earlier one
already knew: the encoded queries, each index's list at each depth, and the true scores of the
candidates that a list lacks. Feedback and reformulation change the queries, so their second
retrieval is always searched; the lists that they start from are not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ..contracts import Float32Array, Int64Array, Queries
from ..ranking import Ranking
from ..results import Stored
from ..retrieval.pipeline import Pipeline, Retrieve
from ..retrieval.search import Search
from ..retrieval.version import Version
from ..stages import Retrieved
from ..vectors import Vectors
from .asking import without_self
from .trec import Run


class FixedQueries:
    """Some queries over one pinned version of a collection whose documents are not split.

    ``queries``: query id -> text. Index names of pipelines are resolved already. With
    ``exclude_self`` one more hit is asked for, and the one with the query's own id left out.
    """

    def __init__(
        self, version: Version, queries: Mapping[str, str], *, exclude_self: bool = False
    ) -> None:
        self.names = list(queries)
        self._texts = list(queries.values())
        self._version, self._exclude_self = version, exclude_self
        self._allowed = version.begin(None, None, {})
        self._encoded: dict[str, tuple[Queries, Vectors]] = {}
        self._answered: dict[str, tuple[Queries, Retrieved]] = {}
        self._asked: dict[str, Queries] = {}
        self._lists: dict[tuple[str, int], Ranking] = {}
        self._scores: dict[tuple[str, tuple[int, ...]], tuple[Int64Array, Float32Array]] = {}

    def run(self, pipeline: Pipeline, k: int) -> Run:
        """The k best documents of every query, as ``search_batch`` of the collection has them."""
        search, deep = self._search(), k + self._exclude_self
        if pipeline.reformulate is None:
            for item in pipeline.retrieve:
                if item.by is None:
                    self._hand_over(search, item, _depth(pipeline, item, deep))
        if pipeline.feedback:
            search.known = {}  # its second queries have other scores
        ranking = search.run(pipeline, self._texts, deep).cut(deep)
        results = search.answers(ranking, _no_documents, None).results()
        run = {
            name: list(zip(result.ids, map(float, result.scores), strict=True))
            for name, result in zip(self.names, results, strict=True)
        }
        return without_self(run, k) if self._exclude_self else run

    def _search(self) -> _Knowing:
        search = _Knowing(self._version, self._allowed, split=False)
        search.encoded, search.answered = self._encoded, self._answered
        search.known = self._scores
        return search

    def _hand_over(self, search: Search, item: Retrieve, depth: int) -> None:
        key = item.index, depth
        if key not in self._lists:
            alone = self._search()
            self._lists[key] = alone.run(Pipeline([Retrieve(item.index)]), self._texts, depth)
            self._asked[item.index] = alone.asked[item.index]
        search.asked[item.index] = self._asked[item.index]
        search.lists[item.index] = search.kept[item.index] = self._lists[key]


class _Knowing(Search):
    """A search that looks up the true scores that were asked for before."""

    known: dict[tuple[str, tuple[int, ...]], tuple[Int64Array, Float32Array]]

    def score(self, name: str, rows: Int64Array, queries: slice) -> Float32Array:
        """True scores of rows (n_queries, m) for some of the queries."""
        key = name, rows.shape
        found = self.known.get(key)
        if found is None or not np.array_equal(found[0], rows):
            found = self.known[key] = rows, super().score(name, rows, queries)
        return found[1]


def _depth(pipeline: Pipeline, item: Retrieve, k: int) -> int:
    """How deep a search with this pipeline asks for a list."""
    if pipeline.is_single_list:
        return k if item.depth is None else min(k, item.depth)
    return item.depth or max(k, pipeline.depth)


def _no_documents(documents: Sequence[int], rows: Sequence[int]) -> Sequence[Stored]:
    raise NotImplementedError("a run has ids and scores only")
