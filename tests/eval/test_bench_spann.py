"""The disk-hybrid benchmark: what it computes, and a whole run of ours and FAISS on small data."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cormorant.errors import CormorantError
from cormorant.eval.bench import spann, spann_data
from cormorant.eval.bench.spann_churn import churn
from cormorant.eval.bench.spann_filters import filtered
from cormorant.indexers.spann import tuning
from cormorant.indexers.spann.settings import Spann

linux = pytest.mark.skipif(sys.platform != "linux", reason="memory is counted by Linux's /proc")


def _point(recall: float, qps: float, memory: float = 1.0) -> dict[str, float]:
    return {"recall@10": recall, "qps": qps, "memory_mb": memory}


def test_a_figure_at_a_recall() -> None:
    rows = [_point(0.8, 400), _point(0.9, 100), _point(0.85, 90), _point(0.99, 25, 3.0)]
    assert spann.at_recall(rows, 0.9, "qps") == pytest.approx(100)
    assert spann.at_recall(rows, 0.85, "qps") == pytest.approx(200)  # the slower point is passed
    assert spann.at_recall(rows, 0.945, "qps") == pytest.approx(50)
    assert spann.at_recall(rows, 0.95, "memory_mb") == pytest.approx(3 ** (5 / 9))
    assert spann.at_recall(rows, 0.7, "qps") == 400  # all are above
    assert spann.at_recall(rows, 0.995, "qps") is None


def test_neighbours_are_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spann_data, "_BLOCK", 70)
    vectors, queries = (spann_data.unit(some) for some in spann_data.synthetic(300, 8))
    found = spann_data.neighbours(vectors, queries[:20], 5)
    scores = queries[:20] @ vectors.T
    assert found.tolist() == np.argsort(-scores, axis=1)[:, :5].tolist()


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> spann_data.Data:
    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path))
    for name in ("DISKANN", "FAISS", "LANCEDB", "HNSWLIB"):
        monkeypatch.delenv(f"CORMORANT_BENCH_{name}", raising=False)
    monkeypatch.setattr(spann_data, "WARM", 500)
    vectors, queries = spann_data.synthetic(2500, 16)
    return spann_data.stored("small", vectors, queries[:100])


@linux
def test_a_contest(small: spann_data.Data, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(quiet=True)
    systems = spann._systems(console)
    assert systems == ["cormorant", "faiss"]  # no environment was made
    monkeypatch.setattr(spann, "THREADS", (1,))
    monkeypatch.setattr(spann, "TURNS", 2)
    rows, ratios, versions = spann.contest(small, systems, console)
    assert set(versions) == {"cormorant", "faiss"}
    assert {"qps_vs_faiss@0.95", "build_vs_faiss", "memory_share@0.95"} <= set(ratios)
    assert all(value > 0 for value in ratios.values())
    swept = [row for row in rows if "recall@10" in row]
    ours = [row["recall@10"] for row in swept if row["system"] == "cormorant"]
    assert 0.8 < min(ours) < max(ours)  # lists are read, more of them for more recall
    assert max(ours) > 0.97
    assert max(row["recall@10"] for row in swept if row["system"] == "faiss") > 0.99
    assert all(row["kb_read_per_query"] > 0 and row["p99_ms"] > 0 for row in swept)
    facts = spann.built("faiss", small)
    assert facts == spann.built("faiss", small)  # not built again
    assert facts["build_seconds"] > 0


@linux
def test_filters(small: spann_data.Data) -> None:
    rows = filtered(small, Console(quiet=True))
    assert [row["setting"] for row in rows][::3] == ["small filter 50.0%", "small filter 0.1%"]
    assert all(row["recall@10"] > 0.85 for row in rows)
    assert rows[-1]["recall@10"] == 1.0  # a few rows are all scored


def test_turns_become_their_median() -> None:
    turns = [{"setting": "4", "recall@10": 0.9, "qps": float(qps)} for qps in (50, 900, 60)]
    assert spann._median(turns) == {"setting": "4", "recall@10": 0.9, "qps": 60.0}


@linux
def test_a_peer_that_fails_is_shown_and_left_out(
    small: spann_data.Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORMORANT_BENCH_HNSWLIB", sys.executable)  # which has none
    console = Console(record=True, quiet=True)
    rows, ratios, _ = spann.contest(small, [], console)
    assert (rows, ratios) == ([], {})
    with pytest.raises(CormorantError, match="hnswlib"):
        spann.built("hnswlib", small)
    with spann._peers_may_fail("hnswlib", console):
        spann.built("hnswlib", small)
    with pytest.raises(CormorantError, match="ours"), spann._peers_may_fail("cormorant", console):
        raise CormorantError("ours")


def test_churn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "TARGETS", ())
    settings = Spann(model=None, list_rows=512)
    rows = churn(Console(quiet=True), n=800, rounds=4, each=4, settings=settings)
    assert [row["setting"] for row in rows] == ["churn round 4", "churn 4 rounds of 1% of 800"]
    assert 0 < rows[0]["codes"] <= 2 * 800
    assert 0 < rows[0]["lists_fresh"] <= 800 / 16
    whole = rows[-1]
    assert whole["problems"] == 0
    assert whole["recall@10"] > 0.9
    assert whole["searches"] > 0
    assert 0 < whole["mean_search_ms"] <= whole["p99_search_ms"]
    assert whole["p99_write_ms"] > 0
