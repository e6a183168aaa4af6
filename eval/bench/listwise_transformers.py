"""``transformers serve``, transformers' own OpenAI-compatible server, in a process of its own."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from ...errors import MissingDependencyError, UnreachableError

START_SECONDS = 180.0


@contextmanager
def served_model(folder: Path) -> Iterator[tuple[str, str]]:
    """(address, the model's name there) of a causal model's folder, until the block ends."""
    command = shutil.which("transformers", path=os.path.dirname(sys.executable))
    if command is None:
        raise MissingDependencyError("transformers", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    name = str(folder.resolve())
    arguments = [command, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    process = subprocess.Popen(  # noqa: S603 - our own interpreter's script, our own arguments
        arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        _wait(f"http://127.0.0.1:{port}", process)
        yield f"http://127.0.0.1:{port}/v1", name
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            said = process.stdout.read().decode(errors="replace") if process.stdout else ""
            raise UnreachableError(f"transformers serve ended at once: {said[-500:]}")
        try:
            httpx2.get(f"{url}/health", timeout=2)
            return
        except httpx2.HTTPError:
            time.sleep(0.5)
    raise UnreachableError(f"transformers serve did not answer within {START_SECONDS:g} s")
