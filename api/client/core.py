"""What each call on a collection asks of the server, and how its reply reads.

Every method is a generator (:data:`~cormorant.api.client.exchange.Steps`): it hands out requests
and takes replies, so that the synchronous and the asynchronous client are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from ...answers import Answer
from ...documents import Document, JsonObject, check_text
from ...errors import InputError, ServiceError
from ...results import CheckReport, Result
from . import bodies, replies
from .answers import read_answer
from .exchange import Reply, Request, Steps, Wait, write_json
from .service import Service

if TYPE_CHECKING:
    from ...contracts import IndexSettings

IDS_IN_A_REQUEST = 1000
PAGE_DOCUMENTS = 100
_FIRST_POLL_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 2.0


class Core:
    """One collection's calls."""

    def __init__(self, service: Service, name: str) -> None:
        self.service = service
        self.name = bodies.collection_name(name)
        self.path = f"/v1/collections/{self.name}"

    # -- documents --------------------------------------------------------------------------

    def delete(self, ids: Iterable[str]) -> Steps[int]:
        """Delete documents; how many there were."""
        names = bodies.plain_ids(ids)
        deleted = 0
        for first in range(0, len(names), IDS_IN_A_REQUEST):
            body = write_json({"ids": names[first : first + IDS_IN_A_REQUEST]}, "id")
            request = Request("POST", f"{self.path}/documents/delete", body, works=True)
            deleted += yield from self.service.ask(request, replies.read_deleted)
        return deleted

    def get(self, id: str, as_labels: Sequence[str] | None) -> Steps[Document | None]:
        """The document of an id, or None."""
        bodies.no_labels(as_labels)
        check_text("id", id)
        if not id:
            return None
        request = Request("GET", f"{self.path}/documents/{bodies.segment(id, 'id')}")
        reply = yield from self.service.exchange(request)
        problem = reply.problem
        if reply.status == 404 and problem is not None and problem["code"] == "unknown_name":
            if problem.get("field") != "id":
                yield from self.describe()  # raises where it is the collection that is unknown
            return None
        return self.service.understood(request, reply, replies.read_document)

    def page(self, filter: Mapping[str, Any] | None, after: str | None) -> Steps[replies.Page]:
        """The next page of a walk over all documents."""
        query = {"limit": str(PAGE_DOCUMENTS)}
        if after is not None:
            query["after"] = after
        if filter is not None:
            query["filter"] = write_json(bodies.plain_filter(filter), "filter").decode()
        request = Request("GET", f"{self.path}/documents?{urlencode(query)}")
        return (yield from self.service.ask(request, replies.read_page))

    def count(self) -> Steps[int]:
        """How many documents there are."""
        return (yield from self.service.ask(Request("GET", self.path), replies.read_count))

    def contains(self, id: object) -> Steps[bool]:
        """Whether there is a document of this id."""
        return isinstance(id, str) and (yield from self.get(id, None)) is not None

    # -- searching --------------------------------------------------------------------------

    def search(
        self,
        query: str,
        k: int,
        pipeline: Any,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        explain: bool,
        offset: int,
        timeout_ms: int | None,
        partial: bool,
    ) -> Steps[Result]:
        """One search."""
        bodies.check_string("query", query)
        body = {
            "query": query,
            "offset": offset,
            **_options(k, pipeline, filter, as_labels, explain, timeout_ms, partial),
        }
        request = self._search_request("search", body, timeout_ms)
        return (yield from self.service.ask(request, replies.read_result))

    def search_batch(
        self,
        queries: Sequence[str] | None,
        k: int,
        vectors: Any,
        pipeline: Any,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        explain: bool,
        timeout_ms: int | None,
        partial: bool,
    ) -> Steps[list[Result]]:
        """Many searches over one version."""
        asked = bodies.plain_queries(queries, vectors)
        body = {
            **asked,
            **_options(k, pipeline, filter, as_labels, explain, timeout_ms, partial),
        }
        request = self._search_request("search/batch", body, timeout_ms)
        n_queries = len(next(iter(asked.values())))

        def read(value: Any) -> list[Result]:
            results = replies.read_results(value)
            if len(results) != n_queries:
                raise ValueError(f"{len(results)} results for {n_queries} queries")
            return results

        return (yield from self.service.ask(request, read))

    def _search_request(self, path: str, body: JsonObject, timeout_ms: int | None) -> Request:
        patience = 0.0 if timeout_ms is None else timeout_ms / 1000
        return Request("POST", f"{self.path}/{path}", write_json(body), patience_seconds=patience)

    def answer(
        self,
        question: str,
        k: int,
        model: Any,
        pipeline: Any,
        filter: Mapping[str, Any] | None,
        as_labels: Sequence[str] | None,
        mode: str,
        settings: Any,
        timeout_ms: int | None,
    ) -> Request:
        """The request for an answer; asked again only where the server had not begun."""
        bodies.check_string("question", question)
        options = _options(k, pipeline, filter, as_labels, False, timeout_ms, False)
        body = {
            "question": question,
            "model": bodies.model_name(model),
            "mode": mode,
            "settings": bodies.plain_answering(settings),
            **{name: options[name] for name in ("k", "pipeline", "filter", "timeout_ms")},
        }
        return replace(
            self._search_request("answer", body, timeout_ms), repeatable=False, works=True
        )

    def whole_answer(self, request: Request) -> Steps[Answer]:
        """The answer to such a request."""
        return (yield from self.service.ask(request, read_answer))

    def open_answer(self, request: Request) -> Steps[Reply]:
        """The reply to such a request, still to be read."""
        reply = yield from self.service.exchange(replace(request, streams=True))
        if reply.open is None:
            self.service.understood(request, reply, replies.read_no_events)  # raises
        return reply

    def highlights(self, query: str, text: str, index: str | None) -> Steps[list[tuple[int, int]]]:
        """Where a text matches a query."""
        body = write_json({"query": query, "text": text, "index": index})
        request = Request("POST", f"{self.path}/highlights", body)
        return (yield from self.service.ask(request, replies.read_spans))

    # -- indexes ----------------------------------------------------------------------------

    def add_index(self, name: str, settings: IndexSettings, when: str) -> Steps[None]:
        """Add an index."""
        if when not in ("now", "later"):
            raise InputError(f"is 'now' or 'later', got {when!r}", field="index")
        body = {"name": name, "settings": bodies.plain_settings(settings), "when": when}
        path = f"{self.path}/indexes"
        request = Request("POST", path, write_json(body), repeatable=False, works=True)
        yield from self.service.ask(request, replies.read_nothing)

    def drop_index(self, name: str) -> Steps[None]:
        """Drop an index."""
        path = f"{self.path}/indexes/{bodies.segment(name, 'name')}"
        request = Request("DELETE", path, removes=True, works=True)
        yield from self.service.ask(request, replies.read_nothing)

    def indexes(self) -> Steps[dict[str, IndexSettings]]:
        """The settings of every index."""
        return (yield from self.service.ask(Request("GET", self.path), replies.read_indexes))

    def flush(self) -> Steps[None]:
        """Write the tail into segments."""
        request = Request("POST", f"{self.path}/flush", works=True)
        yield from self.service.ask(request, replies.read_nothing)

    def merge(self) -> Steps[None]:
        """Make one segment of each index."""
        request = Request("POST", f"{self.path}/merge", repeatable=False, works=True)
        yield from self.service.ask(request, replies.read_nothing)

    def wait_indexed(self, timeout_seconds: float | None) -> Steps[bool]:
        """Ask, at growing intervals, until no index is behind or the time is over."""
        now = self.service.clock.now
        ends = None if timeout_seconds is None else now() + timeout_seconds
        pause = _FIRST_POLL_SECONDS
        while True:
            described = yield from self.describe()
            behind, failure = _progress_of(described)
            if not behind:
                return True
            if failure is not None:
                raise ServiceError(f"the server's indexing in the background stopped: {failure}")
            left = pause if ends is None else ends - now()
            if left <= 0:
                return False
            yield Wait(min(pause, left))
            pause = min(_LONGEST_POLL_SECONDS, pause * 1.5)

    # -- care -------------------------------------------------------------------------------

    def describe(self) -> Steps[JsonObject]:
        """What is in the collection."""
        return (yield from self.service.ask(Request("GET", self.path), replies.read_object))

    def check(self) -> Steps[CheckReport]:
        """Have every byte read."""
        request = Request("POST", f"{self.path}/check", repeatable=False, works=True)
        return (yield from self.service.ask(request, replies.read_report))


def _options(
    k: int,
    pipeline: Any,
    filter: Mapping[str, Any] | None,
    as_labels: Sequence[str] | None,
    explain: bool,
    timeout_ms: int | None,
    partial: bool,
) -> JsonObject:
    bodies.no_labels(as_labels)
    if isinstance(k, bool) or not isinstance(k, int):
        raise InputError(f"is an integer, got {k!r}", field="k")
    if timeout_ms is not None and (isinstance(timeout_ms, bool) or not isinstance(timeout_ms, int)):
        raise InputError(
            f"is a whole number of milliseconds, got {timeout_ms!r}", field="timeout_ms"
        )
    return {
        "k": k,
        "pipeline": bodies.plain_pipeline(pipeline),
        "filter": bodies.plain_filter(filter),
        "explain": explain,
        "timeout_ms": timeout_ms,
        "partial": partial,
    }


def _progress_of(described: JsonObject) -> tuple[bool, str | None]:
    """Whether an index is behind, and what stopped the server's background work."""
    indexes = described.get("indexes")
    items = indexes.values() if isinstance(indexes, dict) else ()
    behind = any(isinstance(item, dict) and item.get("rows_behind") for item in items)
    failure = described.get("background_error")
    return behind, failure if isinstance(failure, str) else None
