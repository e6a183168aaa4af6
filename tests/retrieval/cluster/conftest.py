"""Which executors the tests of a cluster run over."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from ray_nodes import QUIET, on_ray, ray_folder, ray_nodes

from cormorant.retrieval.cluster.executor import Executor, InProcess

__all__ = ["executor", "on_ray", "ray_folder", "ray_nodes"]


@pytest.fixture(params=["in_process", pytest.param("ray", marks=[pytest.mark.soak, *QUIET])])
def executor(request: pytest.FixtureRequest) -> Callable[[], Executor]:
    """Makes an executor; a cluster closes the one that it was given."""
    made: Callable[[], Executor] = (
        request.getfixturevalue("on_ray") if request.param == "ray" else InProcess
    )
    return made
