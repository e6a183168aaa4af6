"""The page: the files of ``cormorant.api.page``, read once, served as they are."""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

from fastapi import APIRouter, Request, Response

from ..guard import GuardedRoute, needs

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".ico": "image/x-icon",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)
_HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-cache"}


def page_router() -> APIRouter:
    """A route for each file: ``/`` is index.html, the others are below ``/page/``."""
    router = APIRouter(route_class=GuardedRoute)
    for name, content in page_files().items():
        path = "/" if name == "index.html" else f"/page/{name}"
        endpoint = _endpoint(content, TYPES[name[name.rindex(".") :]])
        router.add_api_route(path, endpoint, methods=["GET"], include_in_schema=False)
    return router


def page_files() -> dict[str, bytes]:
    """The page's files by name; what is of no known type is no part of it."""
    folder = resources.files("cormorant.api") / "page"
    if not folder.is_dir():
        return {}
    return {
        item.name: item.read_bytes()
        for item in sorted(folder.iterdir(), key=lambda item: item.name)
        if item.is_file() and item.name[item.name.rfind(".") :] in TYPES
    }


def _endpoint(content: bytes, media_type: str) -> Callable[[Request], object]:
    @needs("public")
    async def file(request: Request) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    return file
