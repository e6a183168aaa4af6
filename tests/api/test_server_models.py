"""A sentence-transformers cross-encoder behind /v1/rerank."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from serving import in_process
from tiny_models import make_model

import cormorant as cm
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
    from cormorant.api.server.inference import encode_together, score_together

    encoder, scorer = CountingEncoder(), CountingScorer()
    texts = [["a", "bb"], [], ["ccc"]]
    answers = encode_together(lambda: encoder, "query", texts)
    assert [answer["vectors"] for answer in answers] == [[[1.0], [2.0]], [], [[3.0]]]
    assert [answer["cut"] for answer in answers] == [[False, False], [], [False]]
    scores = score_together(scorer, "m", [[("q", text) for text in part] for part in texts])
    assert [part.tolist() for part in scores] == [[1.0, 2.0], [], [3.0]]
    assert (encoder.calls, scorer.calls) == (1, 1)
    scorer.worst = float("nan")
    with pytest.raises(RuntimeError, match="none finite"):
        score_together(scorer, "m", [[("q", "a")]])


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
