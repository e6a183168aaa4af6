"""The asynchronous twin of :mod:`~cormorant.api.client.collection`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping, Sequence
from contextlib import aclosing
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...answers import Answer, AnswerEvent, AsyncAnswerStream
from ...documents import Document, JsonObject
from ...errors import ReadOnlyError
from ...results import CheckReport, Result
from ...scrolling import AsyncScroll, row_of
from . import bodies
from .answers import Events
from .connection import AsyncConnection
from .core import Core
from .exchange import Request, Steps
from .upload import Progress, Upload, each

if TYPE_CHECKING:
    from ...contracts import IndexSettings
    from ...retrieval.answering.settings import Answering, AnyModel
    from ...retrieval.pipeline import AnyPipeline

T = TypeVar("T")


class AsyncRemoteCollection:
    """A collection on a server, to be awaited: the twin of ``RemoteCollection``.

    ``len(papers)`` is ``await papers.count()`` here, ``id in papers`` is ``await
    papers.contains(id)``, ``papers.indexes`` is ``await papers.indexes()``; ``scroll`` is for
    ``async for``, and ``add`` takes asynchronous iterables too.
    """

    def __init__(self, connection: AsyncConnection, name: str) -> None:
        self._core = Core(connection.service, name)
        self._connection = connection
        self._closed = False
        connection.holders.add(self)

    @property
    def name(self) -> str:
        """Its name on the server."""
        return self._core.name

    async def close(self) -> None:
        """Let go of the client; the connection goes with the last who does. Twice is fine."""
        if not self._closed:
            self._closed = True
            await self._connection.release(self)

    async def __aenter__(self) -> AsyncRemoteCollection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- documents --------------------------------------------------------------------------

    async def add(
        self,
        documents: Iterable[Document] | AsyncIterable[Document],
        *,
        vectors: Mapping[str, Any] | None = None,
        index: Literal["now", "later"] = "now",
        progress: Progress | None = None,
    ) -> int:
        """Add documents, replacing those whose ids exist; returns how many were given.

        A long stream is sent in parts; one that breaks off is sent again. Documents that the
        server refuses are raised as one :class:`~cormorant.errors.InputError` when the others are
        in. ``progress("added", n)`` is called after each part.
        """
        upload = Upload(self._core, documents, vectors, index, progress)
        async for document in each(documents):
            if upload.push(document):
                await self._run(upload.send())
        return await self._run(upload.finish())

    async def delete(self, ids: Iterable[str]) -> int:
        """Delete the documents of these ids; returns how many of them there were.

        Where a reply was lost and the request repeated, what the first one deleted is not counted.
        """
        return await self._run(self._core.delete(ids))

    async def get(self, id: str, *, as_labels: Sequence[str] | None = None) -> Document | None:
        """The document of an id; None when there is none (or none that the key may see)."""
        return await self._run(self._core.get(id, as_labels))

    def scroll(
        self,
        *,
        filter: Mapping[str, Any] | None = None,
        as_labels: Sequence[str] | None = None,
        after: str | None = None,
    ) -> AsyncScroll:
        """The documents in the order they were added, read page by page.

        ``after`` is the cursor of another walk, to go on where it stood. A page is of the version
        that is current when it is read: what is added again meanwhile moves to the end.
        """
        bodies.no_labels(as_labels)
        bodies.plain_filter(filter)
        row_of(after)
        return AsyncScroll(self._scroll(filter, after), after)

    async def _scroll(
        self, filter: Mapping[str, Any] | None, after: str | None
    ) -> AsyncGenerator[tuple[str, Document]]:
        while True:
            page = await self._run(self._core.page(filter, after))
            for step in page.documents:
                yield step
            if page.next is None:
                return
            after = page.next

    async def count(self) -> int:
        """How many documents there are: ``len`` of an embedded collection."""
        return await self._run(self._core.count())

    async def contains(self, id: object) -> bool:
        """Whether there is a document of this id: ``id in collection``."""
        return await self._run(self._core.contains(id))

    # -- searching --------------------------------------------------------------------------

    async def search(
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
        offset: int = 0,
    ) -> Result:
        """The k best documents for a query.

        ``offset`` skips that many hits first. ``timeout_ms`` is a deadline that the server keeps:
        past it, :class:`~cormorant.errors.DeadlineError`, or with ``partial`` what there is by
        then, flagged.
        """
        return await self._run(
            self._core.search(
                query, k, pipeline, filter, as_labels, explain, offset, timeout_ms, partial
            )
        )

    async def search_batch(
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
        """:meth:`search` for many queries, or ready vectors, over one version, in one request."""
        return await self._run(
            self._core.search_batch(
                queries, k, vectors, pipeline, filter, as_labels, explain, timeout_ms, partial
            )
        )

    async def answer(
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

        ``model`` is a name that the server lists (``describe()`` tells them), or None for its
        first; what drafts is the server's to say. ``timeout_ms`` is a deadline that the server
        keeps.
        """
        request = self._core.answer(
            question, k, model, pipeline, filter, as_labels, mode, settings, timeout_ms
        )
        return await self._run(self._core.whole_answer(request))

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
    ) -> AsyncAnswerStream:
        """:meth:`answer` while it is written: the hits, pieces of text, and the answer.

        Closing the stream ends the connection, and with it the server's work.
        """
        request = self._core.answer(
            question, k, model, pipeline, filter, as_labels, mode, settings, timeout_ms
        )
        return AsyncAnswerStream(self._answering(request))

    async def _answering(self, request: Request) -> AsyncGenerator[AnswerEvent]:
        reply = await self._run(self._core.open_answer(request))
        async with aclosing(Events(reply, self._connection.server).read_async()) as events:
            async for event in events:
                yield event

    async def highlights(
        self, query: str, text: str, index: str | None = None
    ) -> list[tuple[int, int]]:
        """Character spans of ``text`` whose words match the query, for showing a snippet."""
        return await self._run(self._core.highlights(query, text, index))

    # -- indexes ----------------------------------------------------------------------------

    async def add_index(
        self,
        name: str,
        settings: IndexSettings,
        *,
        index: Literal["now", "later"] = "now",
        progress: Progress | None = None,
    ) -> None:
        """Add an index over the documents that are there; the others go on answering.

        A server reports no progress; ``progress`` is not called.
        """
        await self._run(self._core.add_index(name, settings, index))

    async def drop_index(self, name: str) -> None:
        """Drop an index and its files."""
        await self._run(self._core.drop_index(name))

    async def indexes(self) -> dict[str, IndexSettings]:
        """The settings of every index by its name."""
        return await self._run(self._core.indexes())

    async def flush(self, *, progress: Progress | None = None) -> None:
        """Write every document that is only in the tail into segments; returns when durable.

        A server reports no progress; ``progress`` is not called.
        """
        await self._run(self._core.flush())

    async def merge(self, *, progress: Progress | None = None) -> None:
        """Make one segment of each index, and forget deleted documents for good.

        A server reports no progress; ``progress`` is not called.
        """
        await self._run(self._core.merge())

    async def wait_indexed(self, timeout_seconds: float | None = None) -> bool:
        """Wait until no index is behind; False when the time ran out first."""
        return await self._run(self._core.wait_indexed(timeout_seconds))

    # -- care -------------------------------------------------------------------------------

    async def describe(self) -> JsonObject:
        """What is in the collection: name, documents, version, indexes, pipelines."""
        return await self._run(self._core.describe())

    async def check(self) -> CheckReport:
        """Have the server read every byte and report all that is wrong."""
        return await self._run(self._core.check())

    def __repr__(self) -> str:
        return f"<AsyncRemoteCollection {self.name} at {self._connection.server.url}>"

    async def _run(self, steps: Steps[T]) -> T:
        if self._closed or self._connection.closed:
            raise ReadOnlyError(f"{self!r} or its client is closed")
        return await self._connection.run(steps)
