"""A server for a test: in this process through ASGI, on a loopback port, or as a process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import cormorant as cm

BIRDS = [
    cm.Document(
        id="c",
        title="Cormorant",
        text="A black bird that dives for fish.",
        metadata={"colour": "black", "wings": 2},
        labels=["open"],
    ),
    cm.Document(
        id="h",
        title="Heron",
        text="A grey bird that stands and waits for fish.",
        metadata={"colour": "grey", "wings": 2},
        labels=["open", "staff"],
    ),
    cm.Document(
        id="o/1 ü",
        title="Owl",
        text="A bird of the night.",
        metadata={"active": "night"},
        labels=["staff"],
    ),
]


def make_birds(path: Path, **arguments: Any) -> Path:
    """A small closed collection; returns its path."""
    with cm.Collection.create(path, **arguments) as collection:
        collection.add(BIRDS)
        collection.flush()
    return path


class Lengths:
    """A pair scorer that likes short texts."""

    def score_pairs(self, pairs: Any) -> Any:
        return np.array([1 / (1 + len(text)) for _, text in pairs], np.float32)


class Log:
    """What a server logged."""

    def __init__(self) -> None:
        from cormorant.api.server.logs import make_log

        self.stream = io.StringIO()
        self.logger = make_log(self.stream)

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The events, parsed."""
        return [json.loads(line) for line in self.stream.getvalue().splitlines()]


@contextlib.contextmanager
def in_process(
    *, log: Log | None = None, encoders: Any = None, scorers: Any = None, **settings: Any
) -> Iterator[Any]:
    """A client of an application that runs in this process, without a socket."""
    from starlette.testclient import TestClient

    from cormorant.api.server.app import create_app
    from cormorant.api.server.settings import Settings

    app = create_app(
        Settings(**{"warm": False, "threads": 2, **settings}),
        encoders=encoders,
        scorers=scorers,
        log=(log or Log()).logger,
    )
    with TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=True) as client:
        yield client


@contextlib.contextmanager
def on_a_port(app: Any) -> Iterator[str]:
    """The base address of an application that uvicorn serves in a thread of this process."""
    import uvicorn

    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive(), "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


class Process:
    """``cormorant serve`` in a process of its own; ``url`` is where it answers."""

    def __init__(self, *words: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cormorant", "serve", *map(str, words), "--port", "0"],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONSAFEPATH": "1", "CORMORANT_WARM": "0"},
        )
        self.url = ""
        self.logged: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.logged.append(line)
            event = json.loads(line) if line.startswith("{") else {}
            if event.get("event") == "serving":
                self.url = event["url"].rstrip("/")
                break
        assert self.url, "".join(self.logged)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self.logged.extend(self.process.stderr)

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self._ended()

    def stop(self) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> int:
        code = self.process.wait(30)
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return code

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
