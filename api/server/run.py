"""``cormorant serve``: uvicorn around the application, on loopback unless there are keys.

One process, or several that share a port (:mod:`cormorant.api.server.supervisor`).
"""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from ...errors import CollectionError, InputError
from .app import create_app
from .logs import log_serving
from .settings import Settings

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server bound to ``host``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def settings_of(
    *,
    collections: tuple[Path, ...],
    root: Path | None,
    keys: Path | None,
    models: tuple[str, ...],
    rerankers: tuple[str, ...],
    language_models: tuple[str, ...] = (),
    read_only: bool,
) -> Settings:
    """The settings of a command line; what it leaves out comes from the environment.

    Raises :class:`~cormorant.errors.InputError` for a variable that cannot be used.
    """
    given = {
        "collections": collections,
        "root": root,
        "keys": keys,
        "models": models,
        "rerankers": rerankers,
        "language_models": language_models,
        "read_only": read_only,
    }
    try:
        return Settings(**{name: value for name, value in given.items() if value})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "CORMORANT_" + "__".join(map(str, first["loc"])).upper()
        raise InputError(first["msg"], field=name) from None


def serve(settings: Settings, host: str, port: int, workers: int = 1) -> None:
    """Serve until a signal comes, then finish what runs and close the collections.

    Raises :class:`~cormorant.errors.InputError` for an address others can reach without keys, and
    :class:`~cormorant.errors.CollectionError` when the server does not start.
    """
    # Threads that wait for work in a spin take the cores from whoever reads and writes requests.
    # OpenMP reads this once, when torch or FAISS is first imported, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if settings.keys is None:
        if not is_loopback(host):
            raise InputError(
                f"{host} can be reached from other machines, and there are no keys; make one with "
                "--new-key NAME --keys FILE, or bind to 127.0.0.1",
                field="--host",
            )
        if settings.trusted_hosts is None:
            names = tuple(dict.fromkeys((*LOOPBACK_NAMES, host)))
            settings = settings.model_copy(update={"trusted_hosts": names})
    with _listen(host, port) as listening:
        name, number = listening.getsockname()[:2]
        url = f"http://[{name}]:{number}/" if ":" in name else f"http://{name}:{number}/"
        if workers > 1:
            from .supervisor import supervise

            supervise(settings, listening, workers, url)
            return
        app = create_app(settings)
        log = app.state.server.log
        if not run(app, settings, [listening], lambda: log_serving(log, url)):
            raise CollectionError(f"the server did not start on {host}:{port}; its log says why")


def run(
    app: FastAPI,
    settings: Settings,
    sockets: Sequence[socket.socket],
    started: Callable[[], None],
) -> bool:
    """Run an application on sockets until a signal comes; whether it started at all."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,  # the application logs its requests itself
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    # A search gives up Python's lock at each of its many products, and gets it back only when the
    # event loop's thread, where that is busy, is made to let go: by default after 5 ms.
    sys.setswitchinterval(0.0005)
    server = uvicorn.Server(config)
    start = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await start(sockets)
        if server.started:
            started()

    server.startup = startup  # type: ignore[method-assign]
    # uvicorn stops gracefully, and then raises the signal again for whoever was there before it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run(sockets=list(sockets))
    return bool(server.started)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens; raises InputError for an address that cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(2048)
    except OSError as error:
        raise InputError(
            f"cannot listen on {host}:{port}: {error.strerror or error}; choose another --port",
            field="--port",
        ) from None
    return listening
