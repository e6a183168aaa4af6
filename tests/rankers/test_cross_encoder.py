"""The cross-encoder stage: scores, passages, cache, budget, and models that are refused."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_cross_encoder import make_cross_encoder

import cormorant as cm
from cormorant.documents import Chunk
from cormorant.errors import ModelNotFoundError
from cormorant.rankers.pair_model import CrossEncoderScorer, PairModel, Reading, passages
from cormorant.rankers.pairs import rank_pairs
from cormorant.rankers.score_cache import ScoreCache, key_of
from cormorant.rankers.table import RANKERS
from cormorant.stages import Budget, Candidates
from cormorant.tagged import from_json, to_json

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")

PAIRS = [("fish", "the deep fish"), ("query", "cormorant dives"), ("a", "b c d"), ("a", "")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


def scorer(model: Path, precision: str = "float32", **reading: Any) -> CrossEncoderScorer:
    return CrossEncoderScorer(PairModel(model, precision, "cpu"), Reading(**reading))


def test_scores_are_the_logits_of_sentence_transformers(model):
    import torch
    from sentence_transformers import CrossEncoder

    wanted = CrossEncoder(str(model), device="cpu").predict(
        PAIRS, activation_fn=torch.nn.Identity()
    )
    found = scorer(model).score_pairs(PAIRS)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


def test_a_score_does_not_depend_on_the_pairs_beside_it(model):
    together = scorer(model).score_pairs(PAIRS)
    alone = [scorer(model).score_pairs([pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)
    backwards = scorer(model).score_pairs(PAIRS[::-1])
    np.testing.assert_allclose(backwards[::-1], together, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_close_and_its_scores_are_no_bfloat16(model):
    """The last layer is computed in float32: a logit of 8 bits would make ties of neighbours."""
    exact, rough = scorer(model), scorer(model, "bfloat16")
    found = rough.score_pairs(PAIRS)
    np.testing.assert_allclose(found, exact.score_pairs(PAIRS), atol=0.05)
    assert np.any(found.view(np.uint32) & 0xFFFF)


def test_a_long_text_has_the_score_of_its_best_passage(model):
    one = scorer(model, window=16, passages=100)
    words = ["cormorant", "dives", "deep", "the", "fish"] * 12
    text = " ".join(words)
    room = 16 - 3 - 1
    spans = passages(len(words), room, 100)
    assert len(spans) > 4
    parts = [("fish", " ".join(words[start:end])) for start, end in spans]
    whole = scorer(model).score_pairs(parts)
    assert one.score_pairs([("fish", text)])[0] == pytest.approx(whole.max(), abs=1e-5)
    first = scorer(model, window=16, passages=1).score_pairs([("fish", text)])[0]
    assert first == pytest.approx(whole[0], abs=1e-5)


@given(st.integers(0, 500), st.integers(1, 64), st.integers(1, 20))
def test_passages_cover_a_text_and_overlap(n_tokens, room, most):
    found = passages(n_tokens, room, most)
    assert found[0][0] == 0
    assert 1 <= len(found) <= most
    assert all(end - start <= room for start, end in found)
    assert all(b[0] <= a[1] and a[1] < b[1] for a, b in zip(found[:-1], found[1:], strict=True))
    assert found[-1][1] == n_tokens or len(found) == most


def test_each_pair_is_computed_once(model):
    one = scorer(model)
    first = one.score_pairs(PAIRS + PAIRS)
    assert one.model.computed == len(PAIRS)
    again = one.score_pairs(PAIRS)
    assert one.model.computed == len(PAIRS)
    assert again.tolist() == first[: len(PAIRS)].tolist()
    assert one.score_pairs([]).shape == (0,)


def test_the_cache_is_bounded_and_keyed_by_model_and_texts():
    cache = ScoreCache(2)
    keys = [key_of("m", "q", "t"), key_of("m", "qt", ""), key_of("n", "q", "t")]
    assert len(set(keys)) == 3
    for place, key in enumerate(keys):
        cache.put(key, float(place))
    assert len(cache) == 2
    assert [cache.get(key) for key in keys] == [None, 1.0, 2.0]
    cache.get(keys[1])
    cache.put(keys[0], 0.0)
    assert cache.get(keys[2]) is None  # asked for longest ago
    assert cache.get(keys[1]) == 1.0


def test_the_identity_is_that_of_the_files_and_of_how_they_are_read(model, tmp_path):
    copy = tmp_path / "another name"
    shutil.copytree(model, copy)
    assert scorer(copy).identity == scorer(model).identity
    assert scorer(model, window=32).identity != scorer(model).identity
    assert scorer(model, passages=2).identity != scorer(model).identity
    other = make_cross_encoder(tmp_path / "other", seed=4)
    assert scorer(other).identity != scorer(model).identity


class Lengths:
    """Scores a pair by the length of its text; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        self.asked += pairs
        return np.array([len(text) for _, text in pairs], np.float32)


def candidates_of(texts: Sequence[str], query: str = "q") -> Candidates:
    rows = np.arange(len(texts)) + 5
    chunks = [Chunk(5 + n, 5 + n, str(n), "", text) for n, text in enumerate(texts)]
    scores = -np.arange(len(texts), dtype=np.float32)
    return Candidates(query, rows, scores, chunks, lambda index: scores)


def test_pairs_are_ranked_and_duplicates_are_kept():
    ranked = rank_pairs(Lengths(), [candidates_of(["aa", "a", "aaa", "aa"])], Budget())
    assert ranked.rows.tolist() == [[7, 5, 8, 6]]  # of equal texts the lower row first
    assert ranked.scores.tolist() == [[3.0, 2.0, 2.0, 1.0]]
    assert ranked.flags == ()


@pytest.mark.parametrize("texts", [[], ["alone"]])
def test_no_candidate_and_one(texts):
    ranked = rank_pairs(Lengths(), [candidates_of(texts), candidates_of([])], Budget())
    assert ranked.rows.shape == (2, len(texts))


def test_a_budget_of_calls_is_hard():
    lengths = Lengths()
    two = [candidates_of(["a", "aa", "aaa"]), candidates_of(["a"], "r")]
    ranked = rank_pairs(lengths, two, Budget(calls=2))
    assert lengths.asked == [("q", "a"), ("q", "aa"), ("r", "a")]
    assert ranked.rows.tolist() == [[6, 5, 7], [5, -1, -1]]
    assert ranked.scores[0, 2] == -np.inf
    assert ranked.flags == ("1 of 4 candidates were not scored",)
    lengths.asked.clear()
    ranked = rank_pairs(lengths, two, Budget(calls=0))
    assert not lengths.asked
    assert ranked.rows[0].tolist() == [5, 6, 7]


def test_a_budget_of_time_goes_to_the_best_candidates_of_all_queries(monkeypatch):
    monkeypatch.setattr("cormorant.rankers.pairs.PAIRS_BETWEEN_LOOKS", 2)
    times = iter([0.0, 0.0, 0.5, 1.5])
    two = [candidates_of(["a", "aa", "aaa"]), candidates_of(["b", "bb", "bbb"], "r")]
    lengths = Lengths()
    ranked = rank_pairs(lengths, two, Budget(milliseconds=1000), lambda: next(times))
    assert lengths.asked == [("q", "a"), ("r", "b"), ("q", "aa"), ("r", "bb")]
    assert ranked.rows.tolist() == [[6, 5, 7], [6, 5, 7]]
    assert ranked.flags == ("2 of 6 candidates were not scored",)


@pytest.mark.parametrize("budget", [Budget(), Budget(cancelled=Event())])
def test_a_scorer_sees_the_same_batches_whether_it_can_be_cancelled_or_not(budget):
    class Sizes(Lengths):
        def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            sizes.append(len(pairs))
            return super().score_pairs(pairs)

    sizes: list[int] = []
    asked = [candidates_of(["a"] * 1000), candidates_of(["b"] * 50, "r")]
    rank_pairs(Sizes(), asked, budget)
    assert sizes == [1024, 26]
    sizes.clear()
    rank_pairs(Sizes(), asked[1:], replace(budget, milliseconds=1e9))
    assert sizes == [50]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_scorer_that_gives_no_number_is_named(wrong):
    class Broken:
        def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            return np.array([wrong if text == "aa" else 1.0 for _, text in pairs], np.float32)

    with pytest.raises(cm.CormorantError, match=r"to the query 'q' and the text 'aa'"):
        rank_pairs(Broken(), [candidates_of(["a", "aa"])], Budget())


def test_a_scorer_that_gives_too_few_is_an_error():
    class Short:
        def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            return np.zeros(1, np.float32)

    with pytest.raises(cm.CormorantError, match="of 2 pairs gave scores of shape"):
        rank_pairs(Short(), [candidates_of(["a", "aa"])], Budget())


def test_a_model_that_gives_nan_is_named_and_nothing_is_remembered(model, monkeypatch):
    one = scorer(model)
    monkeypatch.setattr(
        one.model, "predict", lambda pairs, window: np.full(len(pairs), np.nan, np.float32)
    )
    with pytest.raises(cm.CormorantError, match="gave the score nan to the query 'fish'"):
        one.score_pairs(PAIRS[:1])
    assert len(one.model.cache) == 0


def test_a_pipeline_reranks_by_it(model, tmp_path):
    texts = ["the deep fish", "fish cormorant", "dives fish deep", "fish fish fish"]
    with cm.Collection.create(tmp_path / "fish.cm") as collection:
        collection.add([cm.Document(id=str(n), text=text) for n, text in enumerate(texts)])
        stage = cm.CrossEncoder(str(model), precision="float32")
        pipeline = cm.Pipeline(["bm25"], rerank=[stage])
        result = collection.search("fish", pipeline=pipeline, explain=True)
        scores = scorer(model).score_pairs([("fish", text) for text in texts])
        expected = sorted(range(4), key=lambda n: -scores[n])
        assert result.ids == [str(n) for n in expected]
        assert result.scores == pytest.approx(sorted(scores.tolist(), reverse=True), abs=1e-5)
        assert result[0].explanation["rerank"][0]["rank"] == 1
        again = collection.search("fish", pipeline=pipeline.as_json())
        assert again.ids == result.ids
        missing = cm.CrossEncoder(str(tmp_path / "nothing"))
        kept = cm.Pipeline(["bm25"], rerank=[cm.Stage(missing, on_error="keep")])
        found = collection.search("fish", pipeline=kept)
        assert found.ids == collection.search("fish", pipeline="bm25").ids
        assert any("rerank.cross_encoder failed" in flag for flag in found.flags)
        with pytest.raises(ModelNotFoundError):
            collection.search("fish", pipeline=cm.Pipeline(["bm25"], rerank=[missing]))
        assert collection.search("nowhere", pipeline=pipeline).ids == []


def test_models_that_are_refused(model, tmp_path):
    with pytest.raises(cm.InputError, match="3 labels"):
        scorer(make_cross_encoder(tmp_path / "classes", labels=3))
    pickled = make_cross_encoder(tmp_path / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(cm.InputError, match="safetensors"):
        cm.CrossEncoder(str(pickled)).scorer()
    foreign = tmp_path / "foreign"
    shutil.copytree(model, foreign)
    (foreign / "modules.json").write_text('[{"type": "evil.Module", "path": ""}]')
    with pytest.raises(cm.InputError, match="evil"):
        cm.CrossEncoder(str(foreign)).scorer()
    with pytest.raises(cm.InputError, match="at most 64"):
        scorer(model, window=65)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"model": ""}, "model"),
        ({"model": "m", "depth": 0}, "depth"),
        ({"model": "m", "passages": 0}, "passages"),
        ({"model": "m", "window": 8}, "window"),
        ({"model": "m", "precision": "int8"}, "precision"),
    ],
)
def test_settings_are_checked_and_travel(settings, field):
    with pytest.raises(cm.InputError) as caught:
        cm.CrossEncoder(**settings)
    assert caught.value.field == field
    stage = cm.CrossEncoder("m", depth=7, window=128)
    assert from_json(RANKERS, to_json(stage), "rerank stage") == stage
