"""Where the shared test collections are, and how a test asks for one."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from commands import LINES, Run
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


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in an empty directory; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    from cormorant.__main__ import main

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cormorant", *map(str, words)])
        with pytest.raises(SystemExit) as stopped:
            main()
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A data set in BEIR layout."""
    folder = tmp_path / "tiny"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    (folder / "queries.jsonl").write_text('{"_id": "q1", "text": "fibre in a diet"}\n')
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tp2\t1\n")
    return folder


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
