"""Cross-encoders in memory: readings share weights, few are kept, threads share scores."""

from __future__ import annotations

import gc
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
from tiny_cross_encoder import make_cross_encoder

import cormorant as cm
from cormorant.rankers import pair_model
from cormorant.rankers.pair_model import CrossEncoderScorer, PairModel

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cross_encoder(tmp_path_factory.mktemp("cross") / "model")


def models_in_memory() -> int:
    gc.collect()
    return sum(isinstance(item, PairModel) for item in gc.get_objects())


def test_readings_of_a_model_share_its_weights(model: Path) -> None:
    before = models_in_memory()
    stages = [
        cm.CrossEncoder(str(model), window=window, passages=passages, precision="float32")
        for window in (16, 32, None)
        for passages in (1, 2, 3)
    ]
    assert len({id(stage.scorer().model) for stage in stages}) == 1
    assert models_in_memory() <= before + 1
    pair = ("fish", "cormorant dives deep the fish " * 12)
    for stage in stages:  # each reads in its own way all the same, whoever came before
        alone = CrossEncoderScorer(
            PairModel(model, "float32", "cpu"), pair_model.Reading(stage.window, stage.passages)
        )
        np.testing.assert_allclose(stage.score_pairs([pair]), alone.score_pairs([pair]), rtol=1e-5)
    assert len({float(stage.score_pairs([pair])[0]) for stage in stages}) > 3


def test_few_models_are_kept_and_a_folder_may_be_trained_again(tmp_path: Path) -> None:
    before = models_in_memory()
    folder, pair, found = tmp_path / "model", ("fish", "the deep fish"), []
    for seed in range(pair_model.LOADED + 3):
        shutil.rmtree(folder, ignore_errors=True)
        make_cross_encoder(folder, seed=seed)
        found.append(float(cm.CrossEncoder(str(folder)).score_pairs([pair])[0]))
    assert len(set(found)) == len(found)
    assert models_in_memory() <= before + pair_model.LOADED


def test_threads_that_come_together_compute_a_pair_once(model: Path) -> None:
    """The others find it known when it is their turn."""
    scorer = CrossEncoderScorer(PairModel(model, "float32", "cpu"))
    pairs = [("fish", f"the deep fish {number}") for number in range(64)]
    together = Barrier(4)

    def ask(_: int) -> list[float]:
        together.wait(20)
        scores: list[float] = scorer.score_pairs(pairs).tolist()
        return scores

    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(ask, range(4)))
    assert scorer.model.computed == 64
    assert answers[1:] == answers[:1] * 3
