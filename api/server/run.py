"""``cormorant serve``: uvicorn around the application, on loopback unless there are keys."""

from __future__ import annotations

import ipaddress
import signal
import socket
from pathlib import Path

from pydantic import ValidationError

from ...errors import CollectionError, InputError
from .app import create_app
from .settings import Settings

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
        "read_only": read_only,
    }
    try:
        return Settings(**{name: value for name, value in given.items() if value})  # type: ignore[arg-type]
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        name = "CORMORANT_" + "__".join(map(str, first["loc"])).upper()
        raise InputError(first["msg"], field=name) from None


def serve(settings: Settings, host: str, port: int) -> None:
    """Serve until a signal comes, then finish what runs and close the collections.

    Raises :class:`~cormorant.errors.InputError` for an address others can reach without keys.
    """
    import uvicorn

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
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        log_config=None,  # the application logs its requests itself
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )
    server = uvicorn.Server(config)
    started = server.startup

    async def startup(sockets: list[socket.socket] | None = None) -> None:
        await started(sockets)
        for listening in server.servers:
            for bound in listening.sockets:
                name, number = bound.getsockname()[:2]
                shown = f"[{name}]" if ":" in name else name
                app.state.server.log.info("serving", url=f"http://{shown}:{number}/")

    server.startup = startup  # type: ignore[method-assign]
    # uvicorn stops gracefully, and then raises the signal again for whoever was there before it.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run()
    if not server.started:
        raise CollectionError(f"the server did not start on {host}:{port}; its log says why")
