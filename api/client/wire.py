"""Requests and replies as httpx2 has them, and its exceptions as the three ways of breaking."""

from __future__ import annotations

import re
from typing import Any

import httpx2

from ...documents import check_text
from ...errors import InputError
from .exchange import JSON, Broken, Reply, Request
from .settings import Timeouts

FAILURES = (httpx2.HTTPError, httpx2.StreamError, httpx2.InvalidURL)
_KEY = re.compile(r"[!-~]+")
EVENTS = "text/event-stream"
ACCEPT = f"{JSON}, application/problem+json"


class Server:
    """Where the server is and how it is spoken to."""

    def __init__(self, url: str, api_key: Any, timeouts: Timeouts) -> None:
        self.url = _checked_url(url)
        self.headers = {"Accept": ACCEPT, "User-Agent": "cormorant-client"}
        self.timeouts = timeouts
        if api_key is not None:
            if not isinstance(api_key, str) or not _KEY.fullmatch(api_key):
                raise InputError("is a string of visible ASCII, without spaces", field="api_key")
            self.headers["Authorization"] = f"Bearer {api_key}"

    def arguments(self, request: Request) -> tuple[str, str, bytes, dict[str, str], httpx2.Timeout]:
        """Method, URL, body, headers and time-outs of a request."""
        timeouts = self.timeouts
        read = timeouts.work_seconds if request.works else timeouts.read_seconds
        if read is not None and request.patience_seconds:
            read = max(read, request.patience_seconds + (timeouts.connect_seconds or 0.0))
        patience = httpx2.Timeout(
            connect=timeouts.connect_seconds,
            pool=timeouts.pool_seconds,
            write=timeouts.write_seconds,
            read=read,
        )
        headers = {"Content-Type": request.content_type} if request.content else {}
        if request.streams:
            headers["Accept"] = f"{EVENTS}, application/problem+json"
        return request.method, self.url + request.path, request.content, headers, patience

    def broken(self, error: Exception) -> Broken:
        """What an exception of httpx2 says about the attempt."""
        name = type(error).__name__
        said = str(error) or "no more is known"
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
            return Broken(f"cannot connect to {self.url}: {name}: {said}", begun=False)
        if isinstance(error, httpx2.PoolTimeout):
            return Broken(f"all connections to {self.url} were busy for too long", begun=False)
        if isinstance(error, httpx2.TimeoutException):
            return Broken(f"{self.url} did not answer in time: {name}", begun=True)
        return Broken(f"the connection to {self.url} broke: {name}: {said}", begun=True)


def is_stream(request: Request, response: httpx2.Response) -> bool:
    """Whether a response is the stream of events that was asked for, to be read while it comes."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    return request.streams and response.status_code < 300 and kind == EVENTS


def reply_of(response: httpx2.Response, *, opened: bool) -> Reply:
    """The parts of a response that matter; ``opened``: its content is still to be read."""
    headers = response.headers
    return Reply(
        response.status_code,
        b"" if opened else response.content,
        headers.get("content-type", ""),
        headers.get("retry-after"),
        headers.get("x-request-id"),
        response if opened else None,
    )


def _checked_url(url: str) -> str:
    check_text("url", url)
    try:
        parsed = httpx2.URL(url)
    except (httpx2.InvalidURL, ValueError) as error:
        raise InputError(f"{url!r} is no URL: {error}", field="url") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise InputError(
            f"is the address of a server, such as 'http://127.0.0.1:8080'; got {url!r}", field="url"
        )
    if parsed.port is not None and not 0 < parsed.port < 1 << 16:
        raise InputError(f"has a port from 1 to 65535, got {parsed.port}", field="url")
    if parsed.userinfo or parsed.query or parsed.fragment:
        raise InputError("has no user, no query and no fragment in it", field="url")
    return str(parsed).rstrip("/")
