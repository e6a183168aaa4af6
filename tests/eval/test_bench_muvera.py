"""What the multi-vector benchmark counts, on data small enough to count by hand."""

from __future__ import annotations

import numpy as np

from cormorant.eval.bench.muvera_candidates import DEPTHS, SHARES, needed
from cormorant.eval.bench.muvera_fixed import Fixed, K, recall
from cormorant.kernels.maxsim import search, tokens_of
from cormorant.vectors import TokenVectors


def test_candidates_needed() -> None:
    """The true best at ranks 1 to 10 of one query, at 10, 20, ... 100 of another."""
    scores = np.zeros((2, 200), np.float32)
    scores[0] = -np.arange(200)
    scores[1] = -np.arange(200)
    truth = np.stack([np.arange(10), 10 * np.arange(1, 11) - 1])
    counts = needed(scores, truth)
    assert list(counts) == [f"candidates@{d}:{s:.0%}" for d in DEPTHS for s in SHARES]
    # 80% of 20 are 16: the ten of the first, and six of the second, the last of them at rank 60 or
    # below; but ranks are sorted together: 1..10, 10, 20, 30, ...
    assert counts["candidates@10:80%"] == 60
    assert counts["candidates@10:95%"] == 90


def test_all_candidates_find_all() -> None:
    random = np.random.default_rng(0)
    starts = np.arange(0, 604, 3)
    tokens = tokens_of(random.standard_normal((603, 32)).astype(np.float32), starts)
    queries = TokenVectors(np.array([0, 4, 9]), random.standard_normal((9, 32)).astype(np.float32))
    truth = search(queries, tokens, K).places
    rows = Fixed(tokens, 1).rows(queries, truth, (10, 201), "")
    assert [row["setting"] for row in rows] == ["candidates=10", "candidates=201"]
    assert rows[0]["recall@10"] < rows[1]["recall@10"] == 1.0
    assert all(row["qps"] > 0 for row in rows)
    assert recall([[1, 2], [3, 4]], np.array([[1, 5], [3, 4]])) == 0.75
