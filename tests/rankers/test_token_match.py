"""A cross-encoder whose last layer matches tokens: its score by hand, and what loads it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_model

import cormorant as cm
from cormorant.eval.training.cross_encoder_model import new_cross_encoder
from cormorant.rankers.pair_model import CrossEncoderScorer, PairModel
from cormorant.rankers.token_match import NAME

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
PAIRS = [("fish", "the deep fish"), ("query dives", "cormorant"), ("a", "b c d e f"), ("a", "")]


@pytest.fixture(scope="module", params=["bert", "distilbert"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved one whose every weight says something."""
    import torch

    folder = tmp_path_factory.mktemp("token_match")
    with torch.random.fork_rng():
        torch.manual_seed(5)
        made = new_cross_encoder(make_model(folder, request.param), 16, 0.0)
        with torch.no_grad():
            for value in made[1].parameters():
                value += 0.3 * torch.randn_like(value)
    made.save_pretrained(str(folder / "made"), create_model_card=False)
    return folder / "made"


def by_hand(model: Path, query: str, text: str) -> float:
    """The formula in the module's head, pair by pair and token by token."""
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    backbone = AutoModel.from_pretrained(model)
    read = dict(tokenizer([query], [text], return_tensors="pt"))
    if backbone.config.model_type == "distilbert":
        read.pop("token_type_ids", None)
    with torch.no_grad():
        states = backbone(**read).last_hidden_state[0].double().numpy()
    end = read["input_ids"][0].tolist().index(tokenizer.sep_token_id) + 1
    unit = states / np.linalg.norm(states, axis=1, keepdims=True)
    head = load_file(next(model.glob("1_*")) / "model.safetensors")
    logits = states[:end] @ head["importance.weight"][0] + head["importance.bias"][0]
    weights = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    best = [max(float(one @ other) for other in unit[end:]) for one in unit[:end]]
    match = np.exp(head["scale"]) * sum(w * b for w, b in zip(weights, best, strict=True))
    return float(match + states.mean(0) @ head["whole.weight"][0] + head["whole.bias"][0])


def test_the_score_is_that_of_the_formula(model: Path) -> None:
    ranker = CrossEncoderScorer(PairModel(model, "float32", "cpu"))
    found = ranker.score_pairs(PAIRS)
    assert ranker.window == 16
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [by_hand(model, *pair) for pair in PAIRS], rtol=1e-4)


def test_padding_and_order_change_no_score(model: Path) -> None:
    def fresh() -> CrossEncoderScorer:
        return CrossEncoderScorer(PairModel(model, "float32", "cpu"))

    together = fresh().score_pairs(PAIRS)
    alone = [fresh().score_pairs([pair])[0] for pair in PAIRS]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    np.testing.assert_allclose(fresh().score_pairs(PAIRS[::-1])[::-1], together, rtol=1e-5)


def test_a_layer_that_is_damaged_or_absent_is_named(model: Path, tmp_path: Path) -> None:
    import shutil

    for name, content in (("config.json", "{}"), ("model.safetensors", "no tensors")):
        broken = tmp_path / name
        shutil.copytree(model, broken)
        (next(broken.glob("1_*")) / name).write_text(content)
        with pytest.raises(cm.InputError, match="cannot be loaded"):
            cm.CrossEncoder(str(broken)).scorer()
    assert NAME in (model / "modules.json").read_text()
