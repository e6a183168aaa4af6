"""Several processes on one port: the first writes, all read, and whoever dies is started again.

The story of a worker that is killed:

1. The port's socket is the supervisor's; connections that wait are taken by the other workers.
2. What the worker had acknowledged is committed; what it was doing breaks off, and the client,
   which got no answer, may repeat it.
3. The supervisor starts another in its place. If it was the writer, the new one takes the
   collections' locks, and until it does the others answer writes with ``not_ready``.
4. A worker that dies as soon as it has started is started again later and later; when all of them
   do, the server ends, with an error.
5. If the supervisor itself is killed, the workers' standard input ends, and they stop.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ...errors import CollectionError
from .logs import log_serving, make_log
from .settings import Settings

_HASTY_SECONDS = 5.0
_HASTY_DEATHS = 5


def supervise(settings: Settings, listening: socket.socket, workers: int, url: str) -> None:
    """Run workers until a signal comes, then have them finish and wait for them.

    Raises :class:`~cormorant.errors.CollectionError` when they cannot be kept alive.
    """
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    folder = Path(tempfile.mkdtemp(prefix="cormorant-"))  # this user's alone
    for name in ("counts", "troubles"):
        (folder / name).mkdir()
    crew: list[_Worker] = []
    log = make_log()
    try:
        crew += [_Worker(settings, listening, folder, writes=n == 0) for n in range(workers)]
        for worker in crew:
            worker.start()
        for worker in crew:
            if not worker.wait_ready():
                raise CollectionError(f"a worker did not start on {url}; its log says why")
        log_serving(log, url, workers=[worker.pid for worker in crew])
        while not stop.wait(0.1):
            for worker in crew:
                worker.look_after(log)
            if all(worker.is_hopeless for worker in crew):
                raise CollectionError("the workers end as soon as they start; the log says why")
    finally:
        _stop(crew, settings.shutdown_seconds + 5.0)
        listening.close()
        shutil.rmtree(folder, ignore_errors=True)


class _Worker:
    """One process and those that take its place."""

    def __init__(
        self, settings: Settings, listening: socket.socket, folder: Path, *, writes: bool
    ) -> None:
        self.writes = writes
        self._task: dict[str, Any] = {
            "settings": settings.model_dump(mode="json"),
            "socket": listening.fileno(),
            "writer": str(folder / "writer"),
            "writes": writes,
            "troubles": str(folder / "troubles"),
        }
        self._counts = folder / "counts"
        self._process: subprocess.Popen[str] | None = None
        self._started = 0.0
        self._again = 0.0
        self._hasty = 0

    @property
    def pid(self) -> int:
        return 0 if self._process is None else self._process.pid

    def start(self) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "cormorant.api.server.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[self._task["socket"]],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._counts)},
            start_new_session=True,  # a terminal's Ctrl-C reaches the supervisor alone
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # it died at once; ended() says so
            self._process.stdin.write(json.dumps(self._task) + "\n")
            self._process.stdin.flush()  # and stays open: its end tells that we are gone

    def wait_ready(self) -> bool:
        """Wait until it answers requests, or has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline() == "ready\n"

    def look_after(self, log: Any) -> None:
        """Start another in its place when it has ended; later, each time it ended in haste."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            now = time.monotonic()
            hasty = now - self._started < _HASTY_SECONDS
            self._hasty = self._hasty + 1 if hasty else 0
            self._again = now + (min(30.0, 0.5 * 2**self._hasty) if hasty else 0.0)
            log.error("worker ended", pid=self.pid, status=status, writes=self.writes)
            self._bury()
        if time.monotonic() >= self._again:
            self.start()

    @property
    def is_hopeless(self) -> bool:
        """Whether it is dead, and ended in haste again and again."""
        return self._process is None and self._hasty >= _HASTY_DEATHS

    def _bury(self) -> None:
        from prometheus_client.multiprocess import mark_process_dead

        mark_process_dead(self.pid, str(self._counts))  # type: ignore[no-untyped-call]
        self._release()
        self._process = None

    def terminate(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def join(self, deadline: float) -> None:
        """Wait for its end until a time of ``time.monotonic``, then kill it."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._release()

    def _release(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()


def _stop(crew: Sequence[_Worker], seconds: float) -> None:
    """Readers first: what they passed on to the writer is finished by it."""
    deadline = time.monotonic() + seconds
    for part in ([item for item in crew if not item.writes], [w for w in crew if w.writes]):
        for worker in part:
            worker.terminate()
        for worker in part:
            worker.join(deadline)
