"""One of several processes that serve a port; the supervisor starts it and tells it on stdin."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

from .app import create_app
from .run import run
from .settings import Settings


def main() -> int:
    """Serve until a signal comes or the supervisor is gone; the exit status."""
    task = json.loads(sys.stdin.readline())
    settings = Settings(**task["settings"])
    sockets = [socket.socket(fileno=task["socket"])]
    path = Path(task["writer"])
    writer = None
    if task["writes"]:
        path.unlink(missing_ok=True)  # its predecessor's
        private = socket.socket(socket.AF_UNIX)
        private.bind(str(path))
        private.listen(128)
        sockets.append(private)
    elif not settings.read_only:
        writer = path
    threading.Thread(target=_stop_with_supervisor, daemon=True).start()
    app = create_app(settings, writer=writer, troubles=Path(task["troubles"]))
    return 0 if run(app, settings, sockets, _say_ready) else 1


def _say_ready() -> None:
    sys.stdout.write("ready\n")
    sys.stdout.flush()


def _stop_with_supervisor() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
