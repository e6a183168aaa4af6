"""A request's body as it arrives: bounded, and not awaited forever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from starlette.requests import Request

from .limits import Limits
from .problems import Problem


async def parts_of(
    request: Request, limits: Limits, limit: str, most: int | None = None
) -> AsyncIterator[bytes]:
    """The parts of a body: no more bytes than the limit of that name allows.

    Raises the problems ``too_large``, and ``request_timeout`` when nothing comes for
    ``receive_seconds``.
    """
    most = getattr(limits, limit) if most is None else most
    refusal = Problem("too_large", f"a body here has at most {most:,} bytes ({limit})", limit=limit)
    length = request.headers.get("content-length", "0")
    if not length.isascii() or not length.isdecimal() or int(length[:20]) > most:
        raise refusal
    stream = request.stream()
    received = 0
    while True:
        try:
            async with asyncio.timeout(limits.receive_seconds):
                part = await anext(stream, None)
        except TimeoutError:
            raise Problem(
                "request_timeout",
                f"nothing more of the body came within {limits.receive_seconds:g} s",
            ) from None
        if part is None:
            return
        received += len(part)
        if received > most:
            raise refusal
        yield part
