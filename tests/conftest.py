"""Where the shared test collections are, and how a test asks for one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from paths import DATA

# Test processes run side by side; threads that wait, spinning, for each other's cores take minutes.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real test collections; they are no part of the repository."""
    if not DATA.is_dir():
        pytest.skip("the shared test collections are not beside this checkout")
    return DATA


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where the collections are there, a test that skips for want of them is a failure."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not DATA.is_dir():
        return
    wanting = [
        report.nodeid
        for report in reporter.stats.get("skipped", [])
        if "collections" in str(report.longrepr)
    ]
    if wanting:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        reporter.write_line(f"skipped for want of data that is there: {wanting}", red=True)
