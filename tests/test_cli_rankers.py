"""``cormorant search`` by ranking stages in a file, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from commands import Run
from language_models import ordered
from tiny_cross_encoder import make_cross_encoder

import cormorant as cm
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import openai

SMALL = {"kind": "openai", "model": "small"}

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """It orders the longest passage first, and has one keyword for whoever asks for some."""

    def reply(prompt: str) -> str:
        return ordered(prompt, len) if "[1] " in prompt else "nothing"

    with serving(Endpoint(reply, None)) as scripted:
        monkeypatch.setenv(openai.URL, scripted.url)
        yield scripted
    openai._client().close()
    openai._client.cache_clear()


def searched(run: Run, pipeline: dict[str, Any], query: str = "cholesterol") -> Any:
    Path("pipeline.json").write_text(json.dumps(pipeline))
    words = ("search", "papers.cm", query, "--pipeline", "pipeline.json", "--json", "-")
    code, out, err = run(*words)
    assert code == 0, err
    return json.loads(out)


def test_a_language_model_ranks_rewrites_and_is_deferred_to(
    run: Run, dataset: Path, endpoint: Endpoint
) -> None:
    assert run("index", dataset, "--into", "papers.cm")[0] == 0
    listwise = {"kind": "listwise", "language_model": SMALL, "prior_weight": 0.0}
    for stage in (listwise, {"kind": "cascade", "expensive": listwise, "margin": 1.0}):
        value = searched(run, {"retrieve": ["bm25"], "rerank": [stage]}, "nothing, cholesterol")
        assert [hit["id"] for hit in value["hits"]] == ["p2", "p1", "p3"]
    for part in (
        {"reformulate": {"kind": "genqr_ensemble", "language_model": SMALL, "instructions": 1}},
        {"feedback": {"kind": "genqr_feedback", "language_model": SMALL, "instructions": 1}},
    ):
        value = searched(run, {"retrieve": ["bm25"], **part})
        assert {hit["id"] for hit in value["hits"]} == {"p1", "p2", "p3"}


def test_a_cross_encoder_reranks_and_searches(run: Run, dataset: Path, tmp_path: Path) -> None:
    assert run("index", dataset, "--into", "papers.cm")[0] == 0
    scorer = {"kind": "cross_encoder", "model": str(make_cross_encoder(tmp_path / "pairs"))}
    texts = {
        "p1": "Statins\nStatins lower cholesterol.",
        "p2": "Diet\nA diet rich in fibre lowers cholesterol.",
        "p3": "Nothing of the kind.",
    }
    scores = cm.CrossEncoder(scorer["model"]).score_pairs(
        [("cholesterol", text) for text in texts.values()]
    )
    order = [name for _, name in sorted(zip(-scores, texts, strict=True))]
    value = searched(run, {"retrieve": ["bm25"], "rerank": [scorer]})
    assert [hit["id"] for hit in value["hits"]] == [name for name in order if name != "p3"]
    cur = {"kind": "cur", "scorer": scorer, "budget": 3, "rounds": 1, "side": None}
    value = searched(run, {"retrieve": [cur]})
    assert [hit["id"] for hit in value["hits"]] == order
