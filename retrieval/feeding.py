"""Feedback: the first answer makes better queries of an index, which is then asked again.

Interpolation with the other lists (Li, Wang, Zhuang, Mourad, Ma, Lin and Zuccon, "To Interpolate or
not to Interpolate", SIGIR 2022) comes before the feedback (the fused answer feeds back), after it
(the second list is fused with the others), or both: see :class:`~cormorant.stages.Feedback`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from ..contracts import Encodes, Float32Array, HasTerms, HasVectors, Int64Array, Queries, Terms
from ..errors import CormorantError, InputError
from ..ranking import Ranking
from ..stages import Candidates, Feedback, Fusion
from .pipeline import resolve
from .reformulating import rewritten

if TYPE_CHECKING:
    from .pipeline import Pipeline
    from .search import Search


def feed_back(
    search: Search, pipeline: Pipeline, texts: Sequence[str], ranking: Ranking, k: int
) -> Ranking:
    """The second answer; the first, where there is no time for it.

    Several stages of feedback all see the first answer, each for an index of its own.
    """
    if search.deadline.passed("feedback"):
        return ranking
    alone: str | None = None
    expanded: dict[str, Queries] = {}
    for stage in pipeline.feedback:
        name = None if stage.index is None else _index_of(search, pipeline, stage.index)
        if name is not None and name not in search.asked:
            search.flags.append(f"index {name!r} was not searched, so nothing was fed back to it")
            continue
        own = search.lists[name] if name and stage.interpolate == "after" else ranking
        evidence = BoundEvidence(search, name or "", texts, own.cut(stage.depth))
        with search.timed("feedback"):
            made = rewritten(search, stage, evidence, stage.expand)
        if search.deadline.passed("the second retrieval"):
            return ranking
        fusion: Fusion | None = getattr(stage, "fuse", None) if name is None else None
        options = cast(Sequence[Sequence[str]], made) if fusion is not None else ()
        if len(made) != len(texts) or not all(options):
            raise CormorantError(
                f"the feedback {_kind(stage)!r} made queries for {len(made)} of {len(texts)}"
            )
        if fusion is not None:
            return search.fused_over_options(pipeline, fusion, options, k)
        if name is None:
            return search.retrieve_and_fuse(pipeline, cast(Sequence[str], made), k)
        expanded[name] = _accepted(search, name, made)
        alone = name if stage.interpolate == "before" else None
    if not expanded:
        return ranking
    search.expanded = expanded
    search.kept = {name: own for name, own in search.lists.items() if name not in expanded}
    if alone is not None and pipeline.fuse is not None:
        search.fused = ()
        pipeline = pipeline.of_one_list(alone)
    return search.retrieve_and_fuse(pipeline, texts, k)


@dataclass(frozen=True, slots=True)
class BoundEvidence:
    """The first answer, and one index; see :class:`cormorant.stages.Evidence`."""

    search: Search
    name: str
    texts: Sequence[str]
    ranking: Ranking

    @property
    def candidates(self) -> Sequence[Candidates]:
        """The first answer to each query."""
        return self.search.candidates(self.texts, self.ranking)

    def query_vectors(self) -> Float32Array:
        """The queries as the index takes them: (n_queries, dim) float32."""
        asked = self.search.asked[self.name]
        if not isinstance(asked, np.ndarray):
            raise self._lacks("one vector a text")
        return asked

    def row_vectors(self, rows: Int64Array) -> Float32Array:
        """Stored vectors: (n,) int64 -> (n, dim) float32, NaN for a row the index lacks."""
        view = self.search.view(self.name)
        if not isinstance(view.index, HasVectors):
            raise self._lacks("one vector a text")
        return view.index.vectors(view.segments, rows)

    def query_terms(self) -> Sequence[Terms]:
        """The queries as weighted terms."""
        index, segments = self._with_terms()
        return index.query_terms(segments, self.search.asked[self.name], self.search.allowed)

    def row_terms(self, rows: Int64Array, max_share: float) -> Sequence[Terms]:
        """The weighted terms of rows, without those in more than a share of all visible rows."""
        index, segments = self._with_terms()
        return index.row_terms(segments, rows, self.search.allowed, max_share)

    def term_queries(self, terms: Sequence[Terms]) -> Queries:
        """Queries of weighted terms, as the index takes them."""
        return self._with_terms()[0].term_queries(terms)

    def _with_terms(self) -> tuple[HasTerms[Any], Sequence[Any]]:
        view = self.search.view(self.name)
        if not isinstance(view.index, HasTerms):
            raise self._lacks("weighted terms")
        return view.index, view.segments

    def _lacks(self, what: str) -> InputError:
        kind = self.search.kind(self.name)
        return InputError(
            f"index {self.name!r} ({kind}) does not hold {what}, which this stage needs: RM3 and "
            "Rocchio are for bm25 and sparse, VectorPRF is for dense",
            field="feedback",
        )


def _index_of(search: Search, pipeline: Pipeline, asked: str) -> str:
    name = resolve(asked, search.version.kinds())
    searched = [item.index for item in pipeline.retrieve]
    if name not in searched:
        raise InputError(
            f"is for index {name!r}, which this pipeline does not search; it searches "
            f"{', '.join(searched)}",
            field="feedback",
        )
    return name


def _accepted(search: Search, name: str, made: Queries) -> Queries:
    """Vectors as the index checks and normalises them; terms are made by the index itself."""
    index = search.view(name).index
    if isinstance(made, np.ndarray) and isinstance(index, Encodes):
        return index.accept_queries(made).vectors
    return made


def _kind(stage: Feedback) -> str:
    return str(getattr(stage, "kind", type(stage).__name__))
