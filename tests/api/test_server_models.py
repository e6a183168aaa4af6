"""A sentence-transformers cross-encoder behind /v1/rerank."""

from __future__ import annotations

from pathlib import Path

import pytest
from serving import in_process
from tiny_models import make_model


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
