"""Where several processes serve one port: the way from those that read to the one that writes.

A request that changes something is passed on as it came, over a Unix socket that only this user can
open, and its answer comes back as it is. The writer checks key and body itself.
"""

from __future__ import annotations

from pathlib import Path

import httpx2
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from .limits import Limits
from .problems import Problem
from .streams import parts_of

_OF_THE_CONNECTION = frozenset(
    (
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "te", "trailer",
        "transfer-encoding", "upgrade", "date", "server", "content-length", "x-request-id",
    )
)  # fmt: skip


class Writer:
    """The process that writes, by its Unix socket; ``most`` requests at once go there."""

    def __init__(self, path: Path, limits: Limits, most: int) -> None:
        self._limits = limits
        self._most = most
        self._under_way = 0
        self._client = httpx2.AsyncClient(
            transport=httpx2.AsyncHTTPTransport(
                uds=str(path), limits=httpx2.Limits(max_connections=None)
            ),
            # A build may take its time; that the process is gone is noticed at once.
            timeout=httpx2.Timeout(None, connect=5.0),
        )

    async def answer(self, request: Request) -> Response:
        """The writer's answer; the problem ``not_ready`` while there is none, or ``overloaded``."""
        if self._under_way >= self._most:
            raise Problem(
                "overloaded",
                f"{self._under_way} writes are under way already; try again later",
                retry_after_seconds=1,
            )
        self._under_way += 1
        try:
            return await self._answer(request)
        finally:
            self._under_way -= 1

    async def _answer(self, request: Request) -> Response:
        request.scope["state"]["forwarded"] = True  # the writer counts it
        headers = [
            (name, value)
            for name, value in request.headers.raw
            if name.decode("latin-1") not in _OF_THE_CONNECTION
        ]
        headers.append((b"x-request-id", request.state.request_id.encode()))
        if "content-length" in request.headers:
            headers.append((b"content-length", request.headers["content-length"].encode("latin-1")))
        has_body = "content-length" in request.headers or "transfer-encoding" in request.headers
        path = request.scope.get("raw_path") or request.scope["path"].encode()
        query = request.scope["query_string"]
        target = path + (b"?" + query if query else b"")
        passed = self._client.build_request(
            request.method,
            httpx2.URL("http://writer").copy_with(raw_path=target),
            headers=headers,
            content=parts_of(request, self._limits, "bulk_bytes") if has_body else None,
        )
        try:
            answer = await self._client.send(passed, stream=True)
        except httpx2.TransportError:
            raise Problem(
                "not_ready",
                "the process that writes is not there or broke off; whether this was done is not "
                "known, and repeating it is safe",
                retry_after_seconds=1,
            ) from None
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() not in _OF_THE_CONNECTION
        }
        return StreamingResponse(
            answer.aiter_raw(),
            status_code=answer.status_code,
            headers=kept,
            background=BackgroundTask(answer.aclose),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()
