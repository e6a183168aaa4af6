"""The sparse benchmark runs, on vectors of its own size, and measures what it says."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cormorant.eval.bench.sparse import contest, rate_at, recall_of
from cormorant.eval.bench.sparse_vectors import SparseData
from cormorant.vectors import SparseVectors


def _vectors(random: np.random.Generator, n: int, low: int, high: int) -> SparseVectors:
    """Some of 300 terms, the lower numbers more often."""
    lengths = random.integers(low, high, n)
    chances = 1.0 / np.arange(5, 305)
    chances /= chances.sum()
    terms = [np.sort(random.choice(300, size, False, chances)) for size in lengths]
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    weights = random.uniform(0.1, 3.0, int(starts[-1])).astype(np.float32)
    return SparseVectors(starts, np.concatenate(terms).astype(np.int64), weights)


def test_a_contest(tmp_path: Path) -> None:
    pytest.importorskip("seismic", reason="the peer needs the extra 'bench'")
    random = np.random.default_rng(4)
    data = SparseData(
        "tiny",
        _vectors(random, 3_000, 15, 40),
        _vectors(random, 60, 4, 9),
        _vectors(random, 60, 15, 25),
    )
    rows, ratios = contest(data, tmp_path, Console(file=io.StringIO()), full=False)
    ours = {row["setting"]: row for row in rows if row["system"] == "cormorant"}
    assert set(ours) == {
        f"{kind} {mode}" for kind in ("flat", "broad") for mode in ("exact", 0.95, 0.9)
    }
    assert ours["flat exact"]["recall@10"] == ours["broad exact"]["recall@10"] == 1.0
    scans = [row for row in rows if row["system"] == "scan"]
    assert all(row["recall@10"] > 0.99 and row["postings_per_second"] > 0 for row in scans)
    peers = [row for row in rows if row["system"] == "seismic"]
    assert len(peers) == 32
    assert all(0 < row["recall@10"] <= 1 and row["qps"] > 0 for row in peers)
    for name in ("qps_vs_seismic@0.95", "qps_splade_vs_seismic@0.95", "exact_vs_scan"):
        assert ratios[name] > 0 or math.isnan(ratios[name])
    assert ratios["bytes_vs_seismic"] == peers[0]["disk_mb"] / ours["flat exact"]["disk_mb"]


def test_rates_between_two_points_and_beyond() -> None:
    points = [(0.99, 100.0), (0.9, 400.0), (0.95, 90.0)]
    assert rate_at(points, 0.99) == 100.0
    assert rate_at(points, 0.995) == 0.0
    assert rate_at(points, 0.945) == pytest.approx(200.0)
    assert rate_at(points, 0.5) == 400.0


def test_recall_leaves_out_queries_without_hits() -> None:
    truth = np.array([[1, 2, -1], [-1, -1, -1]])
    assert recall_of(np.array([[2, 5, 1], [3, -1, -1]]), truth) == 1.0
    assert recall_of(np.array([[2, 5, 6], [3, -1, -1]]), truth) == 0.5
