"""The models of a server: cross-encoders behind /v1/rerank, and which ones requests may name."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from serving import in_process
from tiny_models import make_model

import cormorant as cm
from cormorant.api.server.inference import encode_together
from cormorant.api.server.reranking import Given, Scored, rank_together
from cormorant.api.server.searching import check_models
from cormorant.contracts import Encoded


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random cross-encoder of a few kilobytes."""
    import torch
    import transformers

    folder = tmp_path_factory.mktemp("models")
    make_model(folder)  # for its tokenizer
    path = folder / "cross"
    config = transformers.BertConfig.from_pretrained(folder / "raw", num_labels=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        transformers.BertForSequenceClassification(config).save_pretrained(path)
    transformers.BertTokenizer.from_pretrained(folder / "raw").save_pretrained(path)
    return path


def test_a_cross_encoder_reranks(cross_encoder: Path) -> None:
    name = str(cross_encoder)
    with in_process(rerankers=(name,)) as client:
        body = {
            "model": name,
            "query": "cormorant",
            "documents": ["fish", "the fish dives", "deep"],
        }
        together = client.post("/v1/rerank", json=body)
        assert together.status_code == 200, together.text
        results = together.json()["results"]
        scores = {result["index"]: result["relevance_score"] for result in results}
        assert sorted(scores) == [0, 1, 2]
        assert all(0 <= score <= 1 for score in scores.values())
        assert [result["relevance_score"] for result in results] == sorted(
            scores.values(), reverse=True
        )
        for place, text in enumerate(body["documents"]):
            alone = client.post("/v1/rerank", json={**body, "documents": [text]}).json()
            assert alone["results"][0]["relevance_score"] == pytest.approx(scores[place], abs=1e-5)


def test_what_training_made_reranks_as_it_does_in_a_pipeline(tmp_path: Path) -> None:
    """It has a layer of this house, which sentence-transformers alone does not load."""
    from cormorant.eval.training.cross_encoder_model import new_cross_encoder

    made = new_cross_encoder(make_model(tmp_path), 16, 0.0)
    made.save_pretrained(str(tmp_path / "made"), create_model_card=False)
    name, texts = str(tmp_path / "made"), ["deep", "the fish dives", "fish " * 40]
    with in_process(rerankers=(name,)) as client:
        body = {"model": name, "query": "fish", "documents": texts}
        answer = client.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    scores = cm.CrossEncoder(name).score_pairs([("fish", text) for text in texts])
    found = [result["index"] for result in answer.json()["results"]]
    assert found == np.argsort(-scores, kind="stable").tolist()


def test_scores_that_a_sigmoid_makes_equal_are_ranked_as_they_are(tmp_path: Path) -> None:
    """Logits of 100 and more are all shown as 1, and came back in the order of the request."""
    import torch
    import transformers

    make_model(tmp_path)
    config = transformers.BertConfig.from_pretrained(tmp_path / "raw", num_labels=1)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = transformers.BertForSequenceClassification(config)
    with torch.no_grad():
        network.classifier.weight *= 30
        network.classifier.bias += 100
    name, texts = str(tmp_path / "sure"), ["fish", "the fish dives", "deep", "the deep fish dives"]
    network.save_pretrained(name)
    transformers.BertTokenizer.from_pretrained(tmp_path / "raw").save_pretrained(name)
    logits = cm.CrossEncoder(name).score_pairs([("cormorant", text) for text in texts])
    order = np.argsort(-logits, kind="stable").tolist()
    assert logits.min() > 50
    assert order != [0, 1, 2, 3]
    with in_process(rerankers=(name,)) as client:
        body = {"model": name, "query": "cormorant", "documents": texts}
        results = client.post("/v1/rerank", json=body).json()["results"]
    assert [result["index"] for result in results] == order
    assert [result["relevance_score"] for result in results] == [1.0] * 4


def test_a_cross_encoder_that_is_not_there_is_a_missing_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    name = str(tmp_path / "nothing")
    with in_process(rerankers=(name,)) as client:
        answer = client.post("/v1/rerank", json={"model": name, "query": "q", "documents": ["d"]})
        assert (answer.status_code, answer.json()["code"]) == (503, "missing_model"), answer.text
        assert str(tmp_path) not in answer.json()["detail"]


def test_requests_that_wait_together_are_one_batch() -> None:
    """And each gets what it would have got alone; requests of nothing among them."""
    encoder, scorer = CountingEncoder(), CountingScorer()
    texts = [["a", "bb"], [], ["ccc"]]
    answers = encode_together(lambda: encoder, "query", texts)
    assert [answer["vectors"] for answer in answers] == [[[1.0], [2.0]], [], [[3.0]]]
    assert [answer["cut"] for answer in answers] == [[False, False], [], [False]]
    requests = [Given("q", texts, math.inf) for texts in (["a", "bb"], ["cc", "c", "ccc", "dd"])]
    ranked = rank_together(Scored(scorer), requests)
    assert [part.places.tolist() for part in ranked] == [[1, 0], [2, 0, 3, 1]]
    assert [part.scores.tolist() for part in ranked] == [[2.0, 1.0], [3.0, 2.0, 2.0, 1.0]]
    assert (encoder.calls, scorer.calls) == (1, 1)
    scorer.worst = float("nan")
    with pytest.raises(cm.CormorantError, match="gave nan to the query 'q' and the text 'a'"):
        rank_together(Scored(scorer), requests)


class CountingEncoder:
    dim = 1
    calls = 0

    def encode_query(self, texts: list[str]) -> Encoded:
        self.calls += 1
        lengths = np.array([[len(text)] for text in texts], np.float32)
        return Encoded(lengths, np.zeros(len(texts), np.bool_))


class CountingScorer:
    calls = 0
    worst = 0.0

    def score_pairs(self, pairs: list[tuple[str, str]]) -> np.ndarray:
        self.calls += 1
        return np.array([len(text) + self.worst for _, text in pairs], np.float32)


def test_an_adapter_is_a_model_too() -> None:
    """Nothing that a request names may pick a folder of the server's disk."""
    allowed = ["org/base"]
    check_models(cm.Sparse("org/base", encoder="echo"), allowed)
    for settings in (
        cm.Sparse("org/other"),
        cm.Sparse("org/base", encoder="echo", adapter="/etc"),
        cm.Pipeline(["bm25"], rerank=[cm.CrossEncoder("org/other")]).rerank[0],
    ):
        with pytest.raises(cm.InputError, match="is not a model of this server"):
            check_models(settings, allowed)


def test_a_language_model_is_one_of_the_servers(tmp_path: Path) -> None:
    """By kind and whole name: neither another kind nor another folder of that name."""
    words = ("openai:small", str(tmp_path / "one" / "model"))
    for model in (cm.OpenAIModel("small"), cm.LocalModel(words[1])):
        check_models(cm.Cascade(cm.Listwise(model)), (), words)
    for model in (
        cm.OpenAIModel("large"),
        cm.LocalModel("small"),
        cm.LocalModel(str(tmp_path / "two" / "model")),
        cm.LocalModel("org/reranker"),
        cm.LocalModel(words[1], precision="bfloat16"),
        cm.LocalModel(words[1], revision="other"),
    ):
        with pytest.raises(cm.InputError, match="is not a language model of this server") as error:
            check_models(cm.Cascade(cm.Listwise(model)), ("org/reranker",), words)
        assert error.value.field == "language_model"
