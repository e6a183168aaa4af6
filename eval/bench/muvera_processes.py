"""Peers of ``cormorant bench muvera`` in interpreters of their own, with our number of threads."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...indexers.muvera.threads import threads

_WORKER = Path(__file__).with_name("muvera_peers.py")
THREADS = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "NUMBA_NUM_THREADS",
)


class PeerError(InputError):
    """A peer that is there and cannot be measured; ours are all the same."""


def python(variable: str, module: str) -> str | None:
    """The interpreter that has a peer; None where there is none."""
    named = os.environ.get(f"CORMORANT_BENCH_{variable}")
    if named:
        return named
    return sys.executable if importlib.util.find_spec(module) is not None else None


def peer(variable: str, module: str, arguments: list[str]) -> Any:
    """What the worker prints, as JSON.

    Raises :class:`PeerError`, saying how it ended, where it fails.
    """
    interpreter = python(variable, module)
    assert interpreter is not None
    done = subprocess.run(  # noqa: S603
        [interpreter, str(_WORKER), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise PeerError(
            f"the peer {module} failed: {failure(done.returncode, done.stderr)}", field="bench"
        )
    return json.loads(done.stdout.strip().splitlines()[-1])


def environment() -> dict[str, str]:
    """Ours, with our own number of threads for all that a peer may compute in."""
    return os.environ | dict.fromkeys(THREADS, str(threads()))


def failure(returncode: int, stderr: str) -> str:
    """The end of what a process wrote, and how it ended."""
    how = f"exit status {returncode}"
    if returncode < 0:
        how = f"ended by {signal.Signals(-returncode).name}"
    return f"{how} {stderr.strip()[-400:]}".strip()


def seconds(task: Callable[[], object]) -> float:
    """How long a task takes."""
    start = time.perf_counter()
    task()
    return time.perf_counter() - start
