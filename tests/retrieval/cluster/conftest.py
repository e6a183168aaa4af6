"""Which executors the tests of a cluster run over."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cormorant.retrieval.cluster.executor import Executor, InProcess


@pytest.fixture(params=["in_process"])
def executor(request: pytest.FixtureRequest) -> Callable[[], Executor]:
    """Makes an executor; a cluster closes the one that it was given."""
    return {"in_process": InProcess}[request.param]
