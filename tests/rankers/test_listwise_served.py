"""End to end: a tiny model taught to rank, behind transformers' own OpenAI-compatible server."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from tiny_language_model import build

from cormorant.eval.bench.listwise_transformers import served_model
from cormorant.eval.training.listwise import ListwiseTraining, train_listwise
from cormorant.eval.training.listwise_labels import Example
from cormorant.rankers.language_models.openai import URL, OpenAIModel
from cormorant.rankers.listwise.settings import Listwise

WORTH = {"reed": 3, "tide": 2, "eel": 1}


@pytest.mark.soak
def test_a_model_behind_transformers_serve_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openai", reason="transformers serve needs transformers[serving]")
    backbone = build(tmp_path / "backbone", width=64, layers=2, chat=True)
    examples = []
    for words in itertools.permutations(WORTH):
        order = sorted(range(3), key=lambda place: -WORTH[words[place]])
        examples.append(Example("rank", words, tuple(order)))
    settings = ListwiseTraining(
        str(backbone), steps=150, learning_rate=3e-3, batch=6, lora_rank=None
    )
    trained = train_listwise(examples, tmp_path / "run", settings)
    with served_model(trained.model) as (url, name):
        monkeypatch.setenv(URL, url)
        stage = Listwise(OpenAIModel(name, timeout_seconds=120.0), prior_weight=0.0, attempts=1)
        for example in examples:
            judged = stage.judge(example.query, example.passages)
            assert judged.order == example.order
            assert judged.record.calls == 1
            assert judged.record.completion_tokens >= 11
