"""The processes of the benchmark: the server, the bare route, the callers."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from ...documents import JsonObject
from ...errors import CormorantError
from . import serve_bare
from .serve_load import Load

START_SECONDS = 120.0
STOP_SECONDS = 60.0


class Serving(NamedTuple):
    """A server that answers on a port of loopback."""

    process: subprocess.Popen[bytes]
    port: int

    def memory_mb(self) -> JsonObject:
        """What it holds: ``rss_mb``, and of it ``anonymous_mb``, without the files it has mapped.

        Raises :class:`~cormorant.errors.CormorantError` where the system does not tell.
        """
        found = {}
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            raise CormorantError("memory is read from /proc, which is not here") from None
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "RssAnon"):
                found[name] = int(value.split()[0]) / 1024
        return {"rss_mb": found["VmRSS"], "anonymous_mb": found["RssAnon"]}


@contextlib.contextmanager
def serving(folder: Path, collection: Path, settings: Mapping[str, str]) -> Iterator[Serving]:
    """``cormorant serve`` on a collection, ready; ``settings`` are environment variables.

    Its log goes to a file in the folder: nobody has to read it while figures are taken.
    """
    words = [sys.executable, "-m", "cormorant", "serve", str(collection), "--read-only"]
    log = folder / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(  # noqa: S603
            [*words, "--port", "0"],
            stderr=stream,
            env={**os.environ, "PYTHONSAFEPATH": "1", **settings},
        )
    try:
        yield Serving(process, _ready(process, log))
    finally:
        _stop(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> int:
    """The server's port, once it says that it is ready."""
    port = None
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if port is None:
            port = _port(log)
        elif _is_ready(port):
            return port
        time.sleep(0.05)
    raise CormorantError(f"the server did not become ready: {log.read_text()[-2000:]}")


def _port(log: Path) -> int | None:
    for line in log.read_text().splitlines():
        if line.startswith("{") and line.endswith("}"):
            event = json.loads(line)
            if event.get("event") == "serving":
                port: int | None = urlsplit(event["url"]).port
                return port
    return None


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    finally:
        connection.close()


@contextlib.contextmanager
def bare(folder: Path, content: bytes) -> Iterator[Serving]:
    """The bare route, handing out ``content``."""
    file = folder / "bare.json"
    file.write_bytes(content)
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-m", serve_bare.__name__, str(file)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise CormorantError("the bare route did not start; see above")
        yield Serving(process, int(line))
    finally:
        _stop(process)
        assert process.stdout is not None
        process.stdout.close()


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise CormorantError(f"process {process.pid} did not stop when asked to") from None


def put(load: Load) -> JsonObject:
    """Have the callers' process put a load on a server; what came of it.

    Raises :class:`~cormorant.errors.CormorantError` when a connection broke, or an answer had
    another status than 200 or 429.
    """
    done = subprocess.run(
        [sys.executable, "-m", "cormorant.eval.bench.serve_load"],
        input=json.dumps(dataclasses.asdict(load)).encode(),
        stdout=subprocess.PIPE,
        check=True,
    )
    value: JsonObject = json.loads(done.stdout)
    strange = value["statuses"].keys() - {"200", "429"}
    if strange or value["lost"]:
        raise CormorantError(
            f"statuses {value['statuses']}, {value['lost']} broken connections under {load.clients}"
            f" clients of {load.path}"
        )
    return value
