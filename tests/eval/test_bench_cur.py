"""The score matrix of ``bench cur``: resumed after a kill, refused for other data, and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.eval.bench.cur import _exact_order, _recalls
from cormorant.eval.bench.cur_matrix import matrix, use
from cormorant.rankers.table import PAIR_SCORERS

QUERIES, TEXTS = ["a", "b", "a", "c"], ["x", "y", "x"]


def test_rows_are_kept_over_a_kill(tmp_path: Path) -> None:
    asked: list[str] = []

    def row(query: str) -> np.ndarray:
        if query == "b" and asked == ["a"]:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append(query)
        return np.array([ord(query), -ord(query)], np.float32)

    with pytest.raises(KeyboardInterrupt):
        matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    made = matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    assert asked == ["a", "killed", "b", "c"]
    assert made.queries == ("a", "b", "c")
    assert made.texts == ("x", "y")
    np.testing.assert_array_equal(made.scores, [[97, -97], [98, -98], [99, -99]])
    with pytest.raises(cm.InputError, match="other queries"):
        matrix(tmp_path, ["z"], TEXTS, row, lambda done, of: None)


def test_the_scorer_looks_up_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PAIR_SCORERS, "score_matrix", "cormorant.eval.bench.cur_matrix:MatrixScorer"
    )
    made = matrix(
        tmp_path, ["a", "b"], ["x", "y"], lambda query: np.array([ord(query), 1], np.float32),
        lambda done, of: None,
    )  # fmt: skip
    scorer = use("here", made)
    before = scorer.calls
    assert scorer.score_pairs([("b", "x"), ("a", "y")]).tolist() == [98.0, 1.0]
    assert scorer.calls - before == 2


def test_ties_at_the_last_place_count_as_found() -> None:
    row = np.array([3.0, 2.0, 2.0, 1.0], np.float32)
    place_of = {"p": 0, "q": 1, "r": 2, "s": 3}
    with_tie = _recalls([["p", "r", "q", "s"]], [row], place_of)
    assert with_tie["recall@1"] == 1.0
    assert _recalls([["s", "p", "q", "r"]], [row], place_of)["recall@1"] == 0.0
    assert _exact_order(["s", "q", "p"], row, place_of) == ["p", "q", "s"]
