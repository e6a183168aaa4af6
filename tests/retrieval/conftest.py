"""Where the behaviour of a collection is tested: in one directory, and in a cluster of shards."""

from __future__ import annotations

from typing import Any

import pytest
from shards import Embedded, Sharded


@pytest.fixture(
    scope="session",
    params=[Embedded(), Sharded()],
    ids=["embedded", "cluster of 3 shards"],
)
def home(request: pytest.FixtureRequest) -> Any:
    """Creates and opens collections."""
    return request.param


@pytest.fixture
def embedded() -> Embedded:
    """The same for what only a collection in one directory has."""
    return Embedded()
