"""Triton kernels are interpreted or compiled, and which is settled when they are decorated."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

Job = Callable[[str], None]


@pytest.fixture
def interpreted(request: pytest.FixtureRequest) -> Job:
    """Runs a job of the test's own file, which is a script as well, with kernels interpreted."""
    return _jobs_of(request, "1")


@pytest.fixture
def compiled(request: pytest.FixtureRequest) -> Job:
    """Likewise, with kernels compiled."""
    return _jobs_of(request, "0")


@pytest.fixture
def on_cuda(compiled: Job) -> Job:
    """Likewise, on a GPU."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    return compiled


def _jobs_of(request: pytest.FixtureRequest, interpret: str) -> Job:
    pytest.importorskip("triton", reason="Triton is for Linux only")

    def run(job: str) -> None:
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", str(request.path), job],
            env=os.environ | {"TRITON_INTERPRET": interpret},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-6_000:]
        assert done.stdout.splitlines()[-1] == f"{job} done"

    return run
