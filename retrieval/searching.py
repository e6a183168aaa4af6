"""Searching and answering, as every collection does: over whatever version it pins."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..answers import Answer, AnswerStream
from ..contracts import Explains, Queries
from ..documents import JsonObject
from ..errors import InputError, UnknownNameError
from ..results import Result, Stored
from ..vectors import Given, are_vectors, checked_vectors
from .arguments import checked_queries, checked_timeout
from .deadline import Deadline
from .pipeline import AnyPipeline, Pipeline, as_pipeline, check_k
from .search import Loader, Search
from .stored import stored_for
from .version import ServedIndex, Version

if TYPE_CHECKING:
    from .answering.settings import Answering, AnyModel


@dataclass(frozen=True, slots=True)
class Request:
    """What a caller asked for; see :meth:`Searching.search_batch`.

    ``load``: the documents behind the hits are read with the search.
    """

    queries: Queries
    k: int
    pipeline: AnyPipeline
    filter: Mapping[str, Any] | None
    as_labels: Sequence[str] | None
    explain: bool
    load: bool
    deadline: Deadline
    vectors: Given | None = None


class Searching(ABC):
    """What can be searched. A subclass says over which version."""

    path: Path
    """The directory, which names the collection."""

    @property
    @abstractmethod
    def _split(self) -> bool:
        """Whether a document may have several rows."""

    @abstractmethod
    def _answered(self, request: Request) -> list[Result]:
        """The results of :func:`run_search` over the latest version, held still meanwhile."""

    @abstractmethod
    def _served(self) -> Mapping[str, ServedIndex]:
        """The indexes that answer queries, by name."""

    @abstractmethod
    def _load(self, documents: Sequence[int], rows: Sequence[int]) -> list[Stored]:
        """What is stored for the hits of a search that is over."""

    def search(
        self,
        query: str,
        k: int = 10,
        *,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        explain: bool = False,
        timeout_ms: int | None = None,
        partial: bool = False,
    ) -> Result:
        """The k best documents for a query, with their documents read.

        ``filter`` restricts the candidates before ranking (see :mod:`cormorant.retrieval.filters`).
        ``as_labels`` limits hits, statistics and explanations to documents that share one of these
        labels; None sees everything. After ``timeout_ms`` no step begins any more: a
        :class:`~cormorant.errors.DeadlineError`, or with ``partial`` what there is, flagged.
        """
        deadline = Deadline(checked_timeout(timeout_ms), partial)
        return self._answered(
            request_of_one(query, k, pipeline, filter, as_labels, explain, deadline)
        )[0]

    def search_batch(
        self,
        queries: Sequence[str] | None = None,
        k: int = 10,
        *,
        vectors: Any = None,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        explain: bool = False,
        timeout_ms: int | None = None,
        partial: bool = False,
    ) -> list[Result]:
        """:meth:`search` for many queries over one version; much faster than one by one.

        The documents behind the hits are read when they are first asked for, or by
        ``result.load()``; do so before closing the collection.

        ``vectors`` are ready query vectors, of the kind that the index they are for holds: in the
        place of ``queries`` for a pipeline of one index, or beside them for one that also searches
        by words.
        """
        deadline = Deadline(checked_timeout(timeout_ms), partial)
        return self._answered(
            request_of_batch(
                queries, k, vectors, pipeline, filter, as_labels, explain, False, deadline
            )
        )

    def answer(
        self,
        question: str,
        k: int = 5,
        *,
        model: AnyModel = None,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        mode: str = "standard",
        settings: Answering | None = None,
        timeout_ms: int | None = None,
    ) -> Answer:
        """An answer to a question from the passages of the k best hits, with citations.

        ``model``: ``LocalModel(...)``, ``OpenAIModel(...)``, or a name (``openai:NAME``, or a local
        model's folder or name); None: the one that CORMORANT_LLM_MODEL names. Retrieval is that of
        :meth:`search`. ``mode``: ``standard``, whose text is the model's own with and without
        drafting, or ``speculative_rag``, which takes the likeliest of several drafts.

        Raises what a search and a model raise, and :class:`~cormorant.errors.DeadlineError` for an
        answer that is not whole after ``timeout_ms``.
        """
        from .answering.answer import whole

        with self.answer_stream(
            question, k, model=model, pipeline=pipeline, filter=filter, as_labels=as_labels,
            mode=mode, settings=settings, timeout_ms=timeout_ms,
        ) as stream:  # fmt: skip
            return whole(stream)

    def answer_stream(
        self,
        question: str,
        k: int = 5,
        *,
        model: AnyModel = None,
        pipeline: AnyPipeline = None,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        mode: str = "standard",
        settings: Answering | None = None,
        timeout_ms: int | None = None,
    ) -> AnswerStream:
        """:meth:`answer` while it is written: the hits, pieces of text, and the answer.

        Closing the stream, or cancelling it from another thread, stops the work.
        """
        from .answering.answer import start

        return start(
            self, self._served().values(), question, k, model, pipeline, filter, as_labels, mode,
            settings, timeout_ms,
        )  # fmt: skip

    def highlights(self, query: str, text: str, index: str | None = None) -> list[tuple[int, int]]:
        """Character spans of ``text`` whose words match the query, for showing a snippet."""
        there = self._served()
        if index is not None and index not in there:
            raise UnknownNameError(
                f"there is no index {index!r}; there are: {', '.join(there) or 'none'}",
                field="index",
            )
        for name, view in there.items():
            if name == (index or name) and isinstance(view.index, Explains):
                return view.index.highlights(query, text)
        return []


def request_of_one(
    query: str,
    k: int,
    pipeline: AnyPipeline,
    filter: Mapping[str, Any] | None,
    as_labels: Sequence[str] | None,
    explain: bool,
    deadline: Deadline,
) -> Request:
    """What :meth:`Searching.search` asks, checked."""
    if not isinstance(query, str):
        raise InputError(f"is a string, got {type(query).__name__}", field="query")
    check_k(k)
    return Request([query], k, pipeline, filter, as_labels, explain, True, deadline)


def request_of_batch(
    queries: Sequence[str] | None,
    k: int,
    vectors: Any,
    pipeline: AnyPipeline,
    filter: Mapping[str, Any] | None,
    as_labels: Sequence[str] | None,
    explain: bool,
    load: bool,
    deadline: Deadline,
) -> Request:
    """What :meth:`Searching.search_batch` asks, checked."""
    asked: Any
    given: Any = None if vectors is None else checked_vectors(vectors, "vectors")
    if given is not None and queries is None:
        asked, given = given, None
    else:
        asked = checked_queries(queries)
        if given is not None and len(given) != len(asked):
            raise InputError(f"{len(given)} vectors for {len(asked)} queries", field="vectors")
    check_k(k)
    return Request(asked, k, pipeline, filter, as_labels, explain, load, deadline, given)


def run_search(
    version: Version, request: Request, *, split: bool, load_later: Loader
) -> list[Result]:
    """The results of a search over one version."""
    queries, vectors, deadline = request.queries, request.vectors, request.deadline
    ready = vectors is not None or are_vectors(queries)
    plan = _plan(version, request.pipeline, ready)
    searched = [item.index for item in plan.retrieve if item.by is None]
    # A stage of reranking may ask any index for scores.
    may_be_used = vectors is None or bool(plan.rerank)
    if not may_be_used and all(version.indexes[name].encoder is None for name in searched):
        raise InputError("no index of this pipeline takes vectors", field="vectors")
    as_asked = plan.reformulate is None and not are_vectors(queries)
    first = dict.fromkeys(searched if as_asked else [], queries)
    search = Search(
        version,
        version.begin(request.filter, request.as_labels, first),
        split=split,
        deadline=deadline,
        vectors=None if vectors is None else (queries, vectors),
    )
    if len(queries) == 0:
        return []
    ranking = search.run(plan, queries, min(request.k, max(1, version.n_documents)))

    def explainer(number: int, rows: list[int]) -> list[JsonObject]:
        return search.explain(plan, number, rows)

    def load_now(documents: Sequence[int], rows: Sequence[int]) -> list[Stored]:
        return stored_for(version.read(documents), documents, rows)

    # What explains, or is to be read with the search, must be read from its version.
    if not (request.load or request.explain):
        return search.answers(ranking, load_later, None).results()
    answers = search.answers(ranking, load_now, explainer if request.explain else None)
    results = answers.results()
    late = None
    with search.timed("documents"):
        for number, result in enumerate(results):
            # Of a part, the first is whole: what explains it is its first list's.
            if (number or not deadline.partial) and deadline.passed(
                f"reading and explaining the hits of query {number + 1}"
            ):
                late = number
                break
            result.load()
    answers.forget_source()  # a kept result must not keep a whole version mapped
    if late is not None:
        results[late:] = search.answers(ranking, load_later, None).results()[late:]
    return results


def _plan(version: Version, pipeline: AnyPipeline, with_vectors: bool) -> Pipeline:
    """The pipeline that is meant, with the names of the indexes that it runs.

    Left out, it asks no index that takes vectors only, unless the search has vectors.
    """
    kinds = version.kinds(with_vectors=pipeline is not None or with_vectors)
    if not version.kinds():
        raise InputError("this collection has no index to search; add one with add_index")
    if not kinds:
        raise InputError("its indexes take vectors only; give vectors", field="queries")
    return as_pipeline(pipeline, kinds)
