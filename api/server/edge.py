"""The outermost layer: request id, who is calling, headers, the log, the counters, the last resort.

Deny by default: every path but the few of ``PUBLIC`` needs a key, those that do not exist too.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .keys import ANYBODY, Key
from .problems import Problem
from .state import State

PUBLIC = frozenset(("/livez", "/readyz", "/"))
PUBLIC_FOLDER = "/page/"
_SANE_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"))
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)


class Edge:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; pass on everything that is not HTTP's lifespan."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSockets here
            await send({"type": "websocket.close", "code": 1008})
            return
        exchange = _Exchange(self._state, scope, send)
        started = time.perf_counter()
        request = Request(scope, receive)
        try:
            try:
                exchange.key = self._caller(request)
                request.state.key = exchange.key
                await self._app(scope, receive, exchange.send)
            except Problem as problem:
                await problem.as_response(request)(scope, receive, exchange.send)
            except Exception:
                self._state.log.error("failed", request_id=exchange.request_id, exc_info=True)
                if exchange.status is None:
                    last = internal(exchange.request_id).as_response(request)
                    await last(scope, receive, exchange.send)
        finally:
            self._account(request, exchange, time.perf_counter() - started)

    def _caller(self, request: Request) -> Key | None:
        self._check_host(request)
        keys = self._state.keys
        secret = _secret(request.headers)
        key = ANYBODY if keys is None else (keys.find(secret) if secret else None)
        path = request.scope["path"]
        public = path in PUBLIC or path.startswith(PUBLIC_FOLDER)
        if key is None and not public:
            raise Problem(
                "unauthorized",
                "send a key of this server as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            )
        if key is not None and not public:
            caller = request.client.host if request.client and keys is None else key.name
            self._state.rates.check(caller)
        return key

    def _check_host(self, request: Request) -> None:
        """Refuse a name that a foreign page had rebound to this machine, and its form posts."""
        host = _host(request.headers.get("host", ""))
        trusted = self._state.settings.trusted_hosts
        if trusted is not None and host not in trusted:
            raise Problem("forbidden", f"this server does not answer to that Host; to {trusted}")
        origin = request.headers.get("origin")
        foreign = origin is not None and (
            urlsplit(origin).netloc.lower() != request.headers.get("host", "").lower()
        )
        if foreign and request.method not in ("GET", "HEAD"):
            raise Problem("forbidden", "requests from other sites' pages are not answered")

    def _account(self, request: Request, exchange: _Exchange, seconds: float) -> None:
        method = request.method if request.method in _METHODS else "OTHER"
        route = exchange.route()
        status = exchange.status or 499
        if not request.scope["state"].get("forwarded"):
            self._state.metrics.observe(method, route, status, seconds)
        noted: dict[str, Any] = request.scope["state"].get("noted", {})
        self._state.log.info(
            "request",
            request_id=exchange.request_id,
            method=method,
            route=route,
            status=status,
            ms=round(seconds * 1000, 3),
            bytes=exchange.n_bytes,
            key=None if exchange.key is None else exchange.key.name,
            **noted,
        )


class _Exchange:
    """One request and its answer, as it passes: adds headers, and remembers what went out."""

    def __init__(self, state: State, scope: Scope, send: Send) -> None:
        self.key: Key | None = None
        self.status: int | None = None
        self.n_bytes = 0
        self._scope = scope
        self._send = send
        given = Headers(scope=scope).get("x-request-id", "")
        self.request_id = given if _SANE_ID.fullmatch(given) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = self.request_id

    def route(self) -> str:
        """The route's template; one word for whatever no route took."""
        return str(getattr(self._scope.get("route"), "path", "none"))

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = message["headers"] = list(message["headers"])
            headers.append((b"x-request-id", self.request_id.encode()))
            there = {name for name, _ in headers}
            headers += [header for header in _HEADERS if header[0] not in there]
        elif message["type"] == "http.response.body":
            self.n_bytes += len(message.get("body", b""))
        await self._send(message)


def internal(request_id: str) -> Problem:
    """What a caller is told of an error that nobody foresaw."""
    return Problem(
        "internal",
        "the server failed on this request; its log has the reason under the request id "
        f"{request_id}",
    )


def _secret(headers: Headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    return headers.get("x-api-key", "")


def _host(value: str) -> str:
    """The Host header without its port."""
    if value.startswith("["):
        return value.partition("]")[0][1:].lower()
    return value.partition(":")[0].lower()
