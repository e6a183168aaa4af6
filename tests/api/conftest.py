"""One browser and one server of a small collection for all tests of the page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from browser import INDEXES, PAPERS, Visits, chromium, served

import cormorant as cm


@pytest.fixture(scope="session")
def headless() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def papers_url(headless: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("papers")
    with cm.Collection.create(folder / "papers.cm", indexes=INDEXES) as papers:
        papers.add(PAPERS)
    with cm.Collection.create(folder / "blank.cm", indexes=INDEXES):
        pass
    with served(folder / "papers.cm", folder / "blank.cm") as url:
        yield url


@pytest.fixture
def visit(headless: Any, papers_url: str) -> Iterator[Visits]:
    """Opens tabs at the page; afterwards nothing may have gone wrong in them."""
    visits = Visits(headless, papers_url)
    yield visits
    visits.close()
