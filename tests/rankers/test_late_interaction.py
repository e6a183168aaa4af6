"""The late-interaction stage: candidates by the scores of an index."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cormorant as cm
from cormorant.stages import Budget, Candidates
from cormorant.tagged import from_json, to_json

STAGE = cm.LateInteraction("tokens", depth=5)


def candidates_of(rows: list[int], table: dict[int, float]) -> Candidates:
    def score(index: str) -> np.ndarray:
        assert index == "tokens"
        return np.array([table.get(row, -np.inf) for row in rows], np.float32)

    scores = np.arange(len(rows), 0, -1, dtype=np.float32)
    return Candidates("q", np.array(rows, np.int64), scores, Unread(), score)


class Unread(Sequence[Any]):
    """Passages that nobody may read."""

    def __len__(self) -> int:
        raise AssertionError("the stage reads no text")

    def __getitem__(self, place: Any) -> Any:
        raise AssertionError("the stage reads no text")


def test_candidates_by_the_scores_of_the_index() -> None:
    table = {4: 1.0, 1: 3.0, 9: 3.0, 2: -5.0}
    first, second = candidates_of([4, 7, 1, 9], table), candidates_of([3, 2], table)
    ranked = STAGE.rank([first, second], Budget())
    assert ranked.rows.tolist() == [[1, 9, 4, 7], [2, 3, -1, -1]]
    assert ranked.scores.tolist() == [[3.0, 3.0, 1.0, -np.inf], [-5.0, *[-np.inf] * 3]]


@given(st.lists(st.integers(0, 30), min_size=1, max_size=12, unique=True), st.data())
def test_it_permutes_and_sorts(rows: list[int], data: st.DataObject) -> None:
    values = st.floats(-50, 50, width=32)
    table = {row: data.draw(values) for row in rows if data.draw(st.booleans())}
    ranked = STAGE.rank([candidates_of(rows, table)], Budget())
    held = sorted((row for row in rows if row in table), key=lambda row: (-table[row], row))
    others = [row for row in rows if row not in table]
    assert ranked.rows[0].tolist() == held + others
    assert np.all(ranked.scores[0, :-1] >= ranked.scores[0, 1:])


def test_no_candidates() -> None:
    assert STAGE.rank([candidates_of([], {})] * 2, Budget()).rows.shape == (2, 0)


def test_a_pipeline_reranks_what_another_index_found(tmp_path: Path) -> None:
    """By the scores that the multi-vector index gives alone, and with its explanation."""
    random = np.random.default_rng(1)
    documents = [cm.Document(id=f"d{n}", text=f"bird number {n}") for n in range(30)]
    vectors = [random.normal(size=(n % 5, 8)).astype(np.float32) for n in range(30)]
    query = [random.normal(size=(4, 8)).astype(np.float32)]
    indexes = {"bm25": cm.BM25(), "tokens": cm.Muvera(None)}
    with cm.Collection.create(tmp_path / "birds.cm", indexes) as birds:
        birds.add(documents, vectors={"tokens": vectors})
        alone = birds.search_batch(vectors=query, k=30, pipeline="tokens")[0]
        pipeline = cm.Pipeline(["bm25"], rerank=[cm.LateInteraction(depth=30)])
        reranked = birds.search_batch(["bird"], vectors=query, k=30, pipeline=pipeline)[0]
        assert reranked.scores == alone.scores
        assert sorted(reranked.ids) == sorted(alone.ids)


def test_settings_travel_as_json() -> None:
    from cormorant.rankers.table import RANKERS

    value = to_json(cm.LateInteraction("tokens", 7))
    assert value == {"kind": "late_interaction", "index": "tokens", "depth": 7}
    assert from_json(RANKERS, value, "rerank stage") == cm.LateInteraction("tokens", 7)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"depth": 0}, "depth"), ({"depth": True}, "depth"), ({"index": " "}, "index")],
)
def test_settings_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(cm.InputError, match=field):
        cm.LateInteraction(**settings)
