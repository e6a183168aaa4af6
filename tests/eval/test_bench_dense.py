"""The dense benchmark runs, on data of its own size, and measures what it says."""

from __future__ import annotations

import numpy as np
import pytest

from cormorant.eval.bench import dense as bench


@pytest.mark.parametrize("name", ["flat", "hnsw", "ivf"])
def test_a_contest(name: str) -> None:
    random = np.random.default_rng(3)
    base = random.standard_normal((3_000, 16)).astype(np.float32)
    queries = random.standard_normal((70, 16)).astype(np.float32)
    neighbours = np.argsort(-(queries @ base.T), axis=1)[:, :100]
    contest = next(item for item in bench._contests(len(base)) if item.name == name)
    rows, ratios = bench._run(contest, base, queries, neighbours, rounds=1)
    ours, theirs = rows
    assert (ours["system"], theirs["system"]) == ("cormorant", "faiss")
    assert ours["recall@10"] >= theirs["recall@10"] - 0.02
    if name == "flat":
        assert ours["recall@10"] == theirs["recall@10"] == 1.0
        assert theirs["recall_1.0%"] == 1.0
    assert ours["recall_1.0%"] == ours["recall_0.1%"] == 1.0
    assert {f"{name}_vs_faiss", f"{name}_latency_vs_faiss", f"{name}_build_vs_faiss"} == set(ratios)
    assert all(value > 0 for value in ratios.values())
    assert ours["disk_mb"] > 0 < theirs["disk_mb"]
