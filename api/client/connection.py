"""Drives the steps of calls over httpx2: one class waits, the other awaits.

A connection is shared by its client and the client's collections. Closing the client closes it;
so does closing the last collection when the client itself is gone, so that
``with cm.Client(url)["papers"] as papers`` leaves nothing open.
"""

from __future__ import annotations

from typing import TypeVar
from weakref import WeakSet

import httpx2

from .exchange import Broken, Reply, Request, Steps, Wait
from .service import Service
from .settings import Clock, Retries
from .wire import FAILURES, Server, is_stream, reply_of

T = TypeVar("T")


class Connection:
    """A synchronous connection to one server; may be used from several threads."""

    def __init__(
        self,
        server: Server,
        retries: Retries,
        clock: Clock,
        transport: httpx2.BaseTransport | None,
    ) -> None:
        self.server = server
        self.service = Service(retries, clock)
        self.holders: WeakSet[object] = WeakSet()
        self.closed = False
        self._clock = clock
        self._http = httpx2.Client(headers=server.headers, transport=transport)

    def run(self, steps: Steps[T]) -> T:
        """Do what the steps ask for, and return their value."""
        outcome: Reply | Broken | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Wait):
                    self._clock.sleep(step.seconds)
                    outcome = None
                else:
                    outcome = self._send(step)
        except StopIteration as stop:
            value: T = stop.value
            return value

    def _send(self, request: Request) -> Reply | Broken:
        method, url, content, headers, timeout = self.server.arguments(request)
        asked = self._http.build_request(
            method, url, content=content, headers=headers, timeout=timeout
        )
        try:
            response = self._http.send(asked, stream=True)
            if not (opened := is_stream(request, response)):
                response.read()
        except FAILURES as error:
            return self.server.broken(error)
        return reply_of(response, opened=opened)

    def release(self, holder: object) -> None:
        """Close the connection when nobody else holds it."""
        self.holders.discard(holder)
        if not len(self.holders):
            self.close()

    def close(self) -> None:
        """Close it for all who hold it."""
        self.closed = True
        self._http.close()


class AsyncConnection:
    """The asynchronous twin of :class:`Connection`."""

    def __init__(
        self,
        server: Server,
        retries: Retries,
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self.server = server
        self.service = Service(retries, clock)
        self.holders: WeakSet[object] = WeakSet()
        self.closed = False
        self._clock = clock
        self._http = httpx2.AsyncClient(headers=server.headers, transport=transport)

    async def run(self, steps: Steps[T]) -> T:
        """Do what the steps ask for, and return their value."""
        outcome: Reply | Broken | None = None
        try:
            while True:
                step = steps.send(outcome)
                if isinstance(step, Wait):
                    await self._clock.sleep_async(step.seconds)
                    outcome = None
                else:
                    outcome = await self._send(step)
        except StopIteration as stop:
            value: T = stop.value
            return value

    async def _send(self, request: Request) -> Reply | Broken:
        method, url, content, headers, timeout = self.server.arguments(request)
        asked = self._http.build_request(
            method, url, content=content, headers=headers, timeout=timeout
        )
        try:
            response = await self._http.send(asked, stream=True)
            if not (opened := is_stream(request, response)):
                await response.aread()
        except FAILURES as error:
            return self.server.broken(error)
        return reply_of(response, opened=opened)

    async def release(self, holder: object) -> None:
        """Close the connection when nobody else holds it."""
        self.holders.discard(holder)
        if not len(self.holders):
            await self.close()

    async def close(self) -> None:
        """Close it for all who hold it."""
        self.closed = True
        await self._http.aclose()
