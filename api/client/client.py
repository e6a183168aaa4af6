"""A server: ``cm.Client(url)["papers"]`` is a collection on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from ...documents import JsonObject
from ...errors import ReadOnlyError
from . import bodies
from .collection import RemoteCollection
from .connection import Connection
from .exchange import Steps
from .replies import Embedded, Reranked
from .settings import Clock, Retries, Timeouts, as_retries, as_timeouts
from .wire import Server

if TYPE_CHECKING:
    import httpx2

    from ...contracts import IndexSettings
    from ...indexers.chunking import Chunking
    from ...stages import Ranker

T = TypeVar("T")


class Client:
    """A Cormorant server: ``client[name]`` is a collection, to be used like an embedded one.

        with cm.Client("http://127.0.0.1:8080", api_key=key) as client:
            for hit in client["papers"].search("statins"):
                print(hit.rank, hit.id, hit.score)

    ``timeout`` is seconds for each phase of an attempt, or
    :class:`~cormorant.api.client.Timeouts`. ``retries`` is a number of further attempts, or
    :class:`~cormorant.api.client.Retries`. Only what may be done twice is tried again when an
    attempt broke. Connections are kept and reused; several threads may use one client.
    """

    def __init__(
        self,
        url: str,
        api_key: str | None = None,
        *,
        timeout: float | Timeouts | None = None,
        retries: int | Retries = 5,
        transport: httpx2.BaseTransport | None = None,
        clock: Clock | None = None,
    ) -> None:
        server = Server(url, api_key, as_timeouts(timeout))
        self._connection = Connection(server, as_retries(retries), clock or Clock(), transport)
        self._connection.holders.add(self)

    def __getitem__(self, name: str) -> RemoteCollection:
        bodies.collection_name(name)
        self._check_open()
        return RemoteCollection(self._connection, name)

    def collections(self) -> list[JsonObject]:
        """Describe every collection that the key may read."""
        return self._run(self._connection.service.collections())

    def create(
        self,
        name: str,
        indexes: Mapping[str, IndexSettings] | None = None,
        *,
        chunk: Chunking | None = None,
    ) -> RemoteCollection:
        """Create an empty collection; ``indexes`` and ``chunk`` as ``Collection.create`` has them.

        The server must have been started with a folder to create collections in.
        """
        self._run(self._connection.service.create(name, indexes, chunk))
        return self[name]

    def drop(self, name: str) -> None:
        """Delete a collection and all that is in it."""
        self._run(self._connection.service.drop(name))

    def rerank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        model: str | Ranker | Mapping[str, Any],
        top_n: int | None = None,
    ) -> list[Reranked]:
        """Order documents by how well they answer a query, best first.

        ``model``: a reranker by the name that the server has for it, or any ranker, whose models
        are on the server's lists.
        """
        return self._run(self._connection.service.rerank(query, documents, model, top_n))

    def embed(
        self,
        texts: Sequence[str],
        *,
        model: str,
        input_type: Literal["query", "document"] = "document",
    ) -> Embedded:
        """Vectors of texts, (n, dim) float32, by a model that the server allows."""
        return self._run(self._connection.service.embed(texts, model, input_type))

    def close(self) -> None:
        """Close the connections; collections taken from here are closed with them."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._connection.server.url}>"

    def _check_open(self) -> None:
        if self._connection.closed:
            raise ReadOnlyError(f"{self!r} is closed")

    def _run(self, steps: Steps[T]) -> T:
        self._check_open()
        return self._connection.run(steps)
