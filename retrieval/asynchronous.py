"""Searching without holding up an event loop: the asynchronous twin of a collection's searches."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from types import TracebackType
from typing import Any

from ..errors import DeadlineError, InputError, ReadOnlyError
from ..results import Result
from .arguments import checked_timeout
from .deadline import Deadline
from .pipeline import AnyPipeline
from .searching import Request, Searching, request_of_batch, request_of_one

_BEGINS_SECONDS = 0.02
"""Within these a free thread begins."""


class AsyncCollection:
    """A collection of this process, its searches to be awaited as those of ``AsyncClient`` are.

        async with cm.AsyncCollection(papers) as searching:
            results = await asyncio.gather(*(searching.search(query) for query in queries))

    ``collection`` is a ``Collection`` or one of a ``Cluster``, which stays open and in use beside
    it. ``concurrency`` searches run at a time, in threads; more wait for their turn. So searches
    that wait for a slow stage, such as a language model behind an endpoint, wait side by side, and
    the event loop goes on meanwhile. Use it from one event loop.

    A search whose task is cancelled (or runs into ``asyncio.timeout``) makes room for the next at
    once. If it has not begun it never does; if it has, it begins no further step, nor, within one,
    a further call of a language model, a further attempt at one, or a batch of pairs: it ends, to
    nobody, with the one that it is in. As many as run may linger so; beyond that the next waits
    for a thread.
    """

    def __init__(self, collection: Searching, *, concurrency: int = 32) -> None:
        given: Any = concurrency
        if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= 1024:
            raise InputError(f"is an integer from 1 to 1024, got {given!r}", field="concurrency")
        self._collection = collection
        self._slots = asyncio.Semaphore(concurrency)
        # As many again: searches that were cancelled and are not out of their last step yet.
        self._threads = ThreadPoolExecutor(2 * concurrency, thread_name_prefix="cormorant-search")
        self._closed = False

    async def close(self) -> None:
        """End its threads when the searches under way are over. Twice is fine."""
        self._closed = True
        await asyncio.to_thread(self._threads.shutdown)

    async def __aenter__(self) -> AsyncCollection:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

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
    ) -> Result:
        """:meth:`Collection.search`; the wait for a turn counts towards ``timeout_ms``.

        A turn, or a thread, that does not come in time is a
        :class:`~cormorant.errors.DeadlineError`, with ``partial`` too.
        """
        deadline = Deadline(checked_timeout(timeout_ms), partial, Event())
        results = await self._answered(
            request_of_one(query, k, pipeline, filter, as_labels, explain, deadline)
        )
        return results[0]

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
        """:meth:`Collection.search_batch`, with the documents behind the hits read as well."""
        deadline = Deadline(checked_timeout(timeout_ms), partial, Event())
        return await self._answered(
            request_of_batch(
                queries, k, vectors, pipeline, filter, as_labels, explain, True, deadline
            )
        )

    async def _answered(self, request: Request) -> list[Result]:
        deadline = request.deadline
        left = deadline.left_ms
        try:
            async with asyncio.timeout(None if left is None else left / 1000):
                await self._slots.acquire()
        except TimeoutError:
            raise _late(deadline) from None
        try:
            if self._closed:
                raise ReadOnlyError(f"{self!r} is closed")
            job = self._threads.submit(self._collection._answered, request)
            answer = asyncio.wrap_future(job)
            left = deadline.left_ms
            try:
                if left is not None:
                    await asyncio.wait([answer], timeout=left / 1000 + _BEGINS_SECONDS)
                    if job.cancel():  # it has not begun: cancelled ones have all threads
                        raise _late(deadline)
                return await answer
            finally:
                job.cancel()
        except asyncio.CancelledError:
            if deadline.cancelled is not None:
                deadline.cancelled.set()
            raise
        finally:
            self._slots.release()

    def __repr__(self) -> str:
        return f"<AsyncCollection {self._collection.path.name}>"


def _late(deadline: Deadline) -> DeadlineError:
    return DeadlineError(
        f"no answer within {deadline.timeout_ms} ms: other searches were before it; allow more "
        "with timeout_ms, or run more at a time with concurrency"
    )
