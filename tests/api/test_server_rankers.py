"""Every kind of ranking stage over REST, with tiny models and a scripted endpoint over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from language_models import ordered
from serving import BIRDS, in_process, make_birds, on_a_port
from tiny_cross_encoder import make_cross_encoder
from tiny_models import make_model

import cormorant as cm
from cormorant.api.server.app import create_app
from cormorant.api.server.limits import Limits
from cormorant.api.server.settings import Settings
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import openai

SEARCH = "/v1/collections/birds/search"
SMALL = {"kind": "openai", "model": "small"}
TEXTS = ["night", "a bird of the night", "fish"]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def reply(prompt: str) -> str:
    """Passages by their lengths, the longest first; keywords where there are none to order."""
    return ordered(prompt, len) if "[1] " in prompt else "owl, night"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[Endpoint]:
    with pytest.MonkeyPatch.context() as patch, serving(Endpoint(reply, None)) as scripted:
        patch.setenv(openai.URL, scripted.url)
        yield scripted
    openai._client().close()
    openai._client.cache_clear()


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of a cross-encoder that is on the server's list."""
    folder = make_cross_encoder(tmp_path_factory.mktemp("pairs") / "model")
    return {"kind": "cross_encoder", "model": str(folder), "precision": "float32"}


@pytest.fixture(scope="module")
def settings(
    tmp_path_factory: pytest.TempPathFactory, pairs: dict[str, Any], endpoint: Endpoint
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("served")
    dense = str(make_model(folder / "dense"))
    indexes = {"bm25": cm.BM25(), "dense": cm.Dense(dense)}
    return {
        "collections": (make_birds(folder / "birds.cm", indexes=indexes),),
        "models": (dense,),
        "rerankers": (pairs["model"],),
        "language_models": ("openai:small",),
        "limits": Limits(scorer_calls=7, depth=1000),
    }


@pytest.fixture(scope="module")
def client(settings: dict[str, Any]) -> Iterator[Any]:
    with in_process(**settings) as served:
        yield served


def found(client: Any, pipeline: dict[str, Any], query: str = "bird fish") -> Any:
    answer = client.post(SEARCH, json={"query": query, "pipeline": pipeline, "explain": True})
    assert answer.status_code == 200, answer.text
    return answer.json()


def by_scores(model: str, query: str, texts: list[str]) -> list[int]:
    scores = cm.CrossEncoder(model, precision="float32").score_pairs([(query, t) for t in texts])
    return sorted(range(len(texts)), key=lambda place: -scores[place])


def test_cur(client: Any, pairs: dict[str, Any]) -> None:
    cur = {"kind": "cur", "scorer": pairs, "budget": 3, "rounds": 2}
    texts = [f"{bird.title}\n{bird.text}" for bird in BIRDS]
    order = by_scores(pairs["model"], "bird fish", texts)
    hits = found(client, {"retrieve": [cur]})["hits"]
    assert [hit["id"] for hit in hits] == [BIRDS[place].id for place in order]


def test_the_budget_of_cur_has_a_limit(client: Any, pairs: dict[str, Any]) -> None:
    """A request asked for a million calls of the scorer, and got them."""
    cur = {"kind": "cur", "scorer": pairs, "budget": 7}
    found(client, {"retrieve": [cur]})
    pipeline = {"retrieve": [{**cur, "budget": 8}]}
    refused = client.post(SEARCH, json={"query": "fish", "pipeline": pipeline})
    assert refused.status_code == 422
    assert (refused.json()["limit"], refused.json()["field"]) == ("scorer_calls", "budget")


@pytest.mark.parametrize("order", ["bm25", "cross_encoder"])
def test_a_cascade(client: Any, pairs: dict[str, Any], order: str) -> None:
    stage = {
        "kind": "cascade",
        "expensive": {"kind": "listwise", "language_model": SMALL, "prior_weight": 0.0},
        "margin": 1.0,
        **({} if order == "bm25" else {"cheap": pairs}),
    }
    value = found(client, {"retrieve": ["bm25"], "rerank": [stage]})
    assert [hit["id"] for hit in value["hits"]] == ["h", "c", "o/1 ü"]
    assert "1 of 1 queries were deferred to listwise" in value["flags"]


@pytest.mark.parametrize("kind", ["genqr_ensemble", "genqr_fusion"])
def test_genqr(client: Any, kind: str) -> None:
    """What the model adds finds what the query does not."""
    stage = {"kind": kind, "language_model": SMALL, "instructions": 2}
    asked = "fish"
    assert {hit["id"] for hit in found(client, {"retrieve": ["bm25"]}, asked)["hits"]} == {"c", "h"}
    hits = found(client, {"retrieve": ["bm25"], "reformulate": stage}, asked)["hits"]
    assert {hit["id"] for hit in hits} == {"c", "h", "o/1 ü"}


@pytest.mark.parametrize(
    "stage",
    [
        {"kind": "rm3", "depth": 2, "max_share": 1.0},
        {"kind": "rocchio", "depth": 2, "max_share": 1.0},
        {"kind": "genqr_feedback", "language_model": SMALL, "depth": 1, "instructions": 1},
    ],
)
def test_feedback(client: Any, stage: dict[str, Any]) -> None:
    hits = found(client, {"retrieve": ["bm25"], "feedback": stage}, "waits")["hits"]
    assert hits[0]["id"] == "h"
    assert len(hits) > 1  # the first answer has one document


def test_feedback_of_vectors(client: Any) -> None:
    feedback = {"kind": "vector_prf", "depth": 1, "alpha": 0.0, "beta": 1.0}
    first = found(client, {"retrieve": ["dense"]})["hits"][0]
    hits = found(client, {"retrieve": ["dense"], "feedback": feedback})["hits"]
    assert hits[0]["id"] == first["id"]
    assert hits[0]["score"] == pytest.approx(1.0, abs=1e-5)  # it is its own best answer


def test_a_language_model_that_is_not_the_servers(client: Any, pairs: dict[str, Any]) -> None:
    """Not even one that is on the list of cross-encoders."""
    for model in (
        {"kind": "openai", "model": "other"},
        {"kind": "local", "model": pairs["model"]},
        {"kind": "local", "model": "small"},
    ):
        for part in (
            {"rerank": [{"stage": {"kind": "listwise", "language_model": model}}]},
            {"reformulate": {"kind": "genqr_ensemble", "language_model": model}},
            {"feedback": {"kind": "genqr_feedback", "language_model": model}},
        ):
            body = {"query": "fish", "pipeline": {"retrieve": ["bm25"], **part}}
            refused = client.post(SEARCH, json=body)
            assert (refused.status_code, refused.json()["field"]) == (422, "language_model")


def test_anchors_may_be_scored_by_a_reranker_of_the_server(
    tmp_path: Path, pairs: dict[str, Any]
) -> None:
    with in_process(root=tmp_path, rerankers=(pairs["model"],)) as client:
        anchors = {"kind": "anchors", "scorer": pairs, "queries": ["fish", "night"]}
        made = client.post("/v1/collections", json={"name": "b", "indexes": {"anchors": anchors}})
        assert made.status_code == 201, made.text


# -- /v1/rerank ----------------------------------------------------------------------------


def reranked(client: Any, model: Any, texts: list[str] = TEXTS, **more: Any) -> Any:
    body = {"model": model, "query": "night bird", "documents": texts, **more}
    answer = client.post("/v1/rerank", json=body)
    assert answer.status_code == 200, answer.text
    scores = [result["relevance_score"] for result in answer.json()["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    return answer.json()


def places(value: Any) -> list[int]:
    return [result["index"] for result in value["results"]]


def test_rerank_by_any_ranker(client: Any, pairs: dict[str, Any]) -> None:
    listwise = {"kind": "listwise", "language_model": SMALL, "prior_weight": 0.0}
    wanted = by_scores(pairs["model"], "night bird", TEXTS)
    assert places(reranked(client, pairs["model"])) == wanted
    assert places(reranked(client, pairs)) == wanted
    assert places(reranked(client, listwise)) == [1, 0, 2]
    assert places(reranked(client, listwise, top_n=1)) == [1]
    assert places(reranked(client, {**listwise, "depth": 1})) == [0, 1, 2]
    value = reranked(client, {"kind": "cascade", "expensive": listwise})
    assert places(value) == [1, 0, 2]  # documents without scores leave nobody sure
    assert value["meta"]["warnings"] == ["1 of 1 queries were deferred to listwise"]


def test_passages_of_a_long_document(client: Any, pairs: dict[str, Any]) -> None:
    texts = ["fish " * 40 + "deep cormorant " * 30, "the deep fish " * 50, "fish"]
    for passages in (1, 4):
        stage = cm.CrossEncoder(pairs["model"], precision="float32", passages=passages)
        scores = stage.score_pairs([("night bird", text) for text in texts])
        value = reranked(client, {**pairs, "passages": passages}, texts)
        assert places(value) == sorted(range(3), key=lambda place: -scores[place])


@pytest.mark.parametrize(
    ("model", "code", "field"),
    [
        ({"kind": "nothing"}, "unknown_name", "model"),
        ({"x": {}}, "invalid_input", "model"),
        ({"kind": "cross_encoder", "model": "/etc"}, "invalid_input", "model"),
        ({"kind": "listwise", "language_model": {"kind": "openai", "model": "large"}},
         "invalid_input", "language_model"),
        ({"kind": "late_interaction"}, "invalid_input", "model"),
        ({"kind": "reencode", "depth": 1001}, "limit_exceeded", "depth"),
    ],
)  # fmt: skip
def test_rankers_that_rerank_nothing(client: Any, model: Any, code: str, field: str) -> None:
    body = {"model": model, "query": "night bird", "documents": TEXTS}
    refused = client.post("/v1/rerank", json=body)
    assert refused.status_code in (404, 422), refused.text
    assert (refused.json()["code"], refused.json()["field"]) == (code, field)


def test_the_client_gives_a_name_a_ranker_or_json(
    settings: dict[str, Any], pairs: dict[str, Any]
) -> None:
    app = create_app(Settings(**{**settings, "collections": (), "warm": False}))
    listwise = cm.Listwise(cm.OpenAIModel("small"), prior_weight=0.0)
    with on_a_port(app) as url, cm.Client(url) as client:
        for model in (listwise, {"kind": "listwise", "language_model": SMALL, "prior_weight": 0.0}):
            ranked = client.rerank("night bird", TEXTS, model=model)
            assert [item.index for item in ranked] == [1, 0, 2]
        ranked = client.rerank("night bird", TEXTS, model=pairs["model"])
        assert [item.index for item in ranked] == by_scores(pairs["model"], "night bird", TEXTS)
        with pytest.raises(cm.InputError, match="is a name, a ranker such as"):
            client.rerank("night bird", TEXTS, model=3)  # type: ignore[arg-type]
