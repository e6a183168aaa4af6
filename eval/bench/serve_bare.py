"""The ceiling: a FastAPI route that does nothing but return a body, under the same uvicorn."""

from __future__ import annotations

import signal
import socket
import sys
from pathlib import Path

PATH = "/bare"


def main(file: Path) -> None:
    """Serve the bytes of a file at ``POST /bare`` on a free port of loopback; print the port."""
    import uvicorn
    from fastapi import FastAPI, Response

    content = file.read_bytes()
    app = FastAPI(openapi_url=None)

    async def bare() -> Response:
        return Response(content, media_type="application/json")

    app.post(PATH)(bare)
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
    # asyncio sets TCP_NODELAY only where it reads "TCP" on the listening socket.
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.bind(("127.0.0.1", 0))
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises it again when it has stopped
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
