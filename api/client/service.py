"""What the calls on a server itself ask, and how every reply is understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from ...documents import JsonObject
from ...errors import InputError
from . import bodies, replies
from .exchange import Reply, Request, Steps, exchange, read_json, write_json
from .problems import error_from, unreadable
from .settings import Clock, Retries

if TYPE_CHECKING:
    from ...contracts import IndexSettings

T = TypeVar("T")

_UNREADABLE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Service:
    """One server's calls; collections have their own in :class:`Core`."""

    def __init__(self, retries: Retries, clock: Clock) -> None:
        self.retries = retries
        self.clock = clock

    def exchange(self, request: Request) -> Steps[Reply]:
        """The reply to a request, be it an error."""
        return (yield from exchange(request, self.retries, self.clock))

    def ask(self, request: Request, read: Callable[[Any], T]) -> Steps[T]:
        """What ``read`` makes of the reply; error replies are raised as the errors they name."""
        reply = yield from self.exchange(request)
        return self.understood(request, reply, read)

    @staticmethod
    def understood(request: Request, reply: Reply, read: Callable[[Any], T]) -> T:
        """What ``read`` makes of a reply's JSON (of None, for a reply without content)."""
        if reply.status >= 400:
            raise error_from(reply, request)
        if reply.status >= 300:
            raise unreadable(reply, request, "redirects are not followed; give the URL it leads to")
        try:
            return read(None if reply.status == 204 else read_json(reply.content))
        except _UNREADABLE as error:
            raise unreadable(reply, request, str(error)) from error

    def collections(self) -> Steps[list[JsonObject]]:
        """Describe the collections that the key may read."""
        return self.ask(Request("GET", "/v1/collections"), replies.read_collections)

    def create(
        self, name: str, indexes: Mapping[str, IndexSettings] | None, chunk: Any
    ) -> Steps[JsonObject]:
        """Create a collection."""
        bodies.collection_name(name)
        if indexes is None:
            from ...indexers.bm25.settings import BM25

            indexes = {"bm25": BM25()}
        if not isinstance(indexes, Mapping):
            raise InputError(f"maps names to settings, got {indexes!r}", field="indexes")
        for item in ("tokens", "overlap") if chunk is not None else ():
            if not isinstance(getattr(chunk, item, None), int):
                raise InputError(f"is a Chunking or None, got {chunk!r}", field="chunk")
        body = {
            "name": name,
            "indexes": {key: bodies.plain_settings(value) for key, value in indexes.items()},
            "chunk": None if chunk is None else {"tokens": chunk.tokens, "overlap": chunk.overlap},
        }
        request = Request("POST", "/v1/collections", write_json(body), repeatable=False, works=True)
        return self.ask(request, replies.read_object)

    def drop(self, name: str) -> Steps[None]:
        """Delete a collection and all that is in it."""
        path = f"/v1/collections/{bodies.collection_name(name)}"
        return self.ask(Request("DELETE", path, removes=True), replies.read_nothing)

    def rerank(
        self, query: str, documents: Sequence[str], model: Any, top_n: int | None
    ) -> Steps[list[replies.Reranked]]:
        """Order documents by how well they answer a query."""
        bodies.check_string("query", query)
        if isinstance(documents, str):
            raise InputError("is a list of strings, got one string", field="documents")
        body: JsonObject = {
            "model": bodies.plain_ranker(model),
            "query": query,
            "documents": list(documents),
        }
        if top_n is not None:
            body["top_n"] = top_n
        return self.ask(Request("POST", "/v1/rerank", write_json(body)), replies.read_reranked)

    def embed(
        self, texts: Sequence[str], model: str | None, input_type: str
    ) -> Steps[replies.Embedded]:
        """Vectors of texts."""
        if isinstance(texts, str):
            raise InputError("is a list of strings, got one string", field="texts")
        body = {"model": model, "texts": list(texts), "input_type": input_type}
        return self.ask(Request("POST", "/v1/embed", write_json(body)), replies.read_embedded)
