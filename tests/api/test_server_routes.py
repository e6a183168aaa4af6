"""Every route, as a program uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import toys
from serving import BIRDS, Lengths, Log, in_process, make_birds, on_a_port

import cormorant as cm
from cormorant.api.server.app import create_app
from cormorant.api.server.settings import Settings


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[Any]:
    with in_process(collections=(make_birds(tmp_path / "birds.cm"),)) as client:
        yield client


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    toys.use(monkeypatch)
    (tmp_path / "root").mkdir()
    with in_process(root=tmp_path / "root", models=("toy-0",)) as client:
        yield client


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


def bulk(client: Any, name: str, content: bytes, **parameters: Any) -> Any:
    return client.post(
        f"/v1/collections/{name}/documents",
        content=content,
        params=parameters,
        headers={"content-type": "application/x-ndjson"},
    )


def test_a_search_over_the_wire_is_the_search_in_the_process(birds: Any, tmp_path: Path) -> None:
    body = {"query": "diving for fish", "k": 2, "filter": {"wings": 2}, "explain": True}
    answer = birds.post("/v1/collections/birds/search", json=body)
    assert answer.status_code == 200, answer.text
    with cm.Collection.open(tmp_path / "birds.cm", read_only=True) as collection:
        expected = collection.search(
            "diving for fish", 2, filter={"wings": 2}, explain=True
        ).as_json()
    got = answer.json()
    assert got["hits"] == json.loads(json.dumps(expected["hits"]))
    assert got["version"] == expected["version"]
    assert "retrieve.bm25" in got["timings_ms"]
    assert got["flags"] == []


def test_options_of_a_search(birds: Any) -> None:
    url = "/v1/collections/birds/search"
    body = {"query": "fish", "timings": False, "highlight": True}
    answer = birds.post(url, json=body).json()
    assert "timings_ms" not in answer
    (start, end) = answer["hits"][0]["highlights"][0]
    assert answer["hits"][0]["text"][start:end] == "fish"
    every = birds.post(url, json={"query": "bird", "k": 3}).json()["hits"]
    pages = [
        birds.post(url, json={"query": "bird", "k": 1, "offset": place}).json()["hits"]
        for place in range(4)
    ]
    assert [hit for page in pages for hit in page] == every
    assert pages[3] == []


def test_a_pipeline_ranks_no_further_than_its_depth(root: Any) -> None:
    indexes = {"a": {"kind": "toy"}, "b": "bm25"}
    root.post("/v1/collections", json={"name": "deep", "indexes": indexes})
    documents = [{"id": f"d{n}", "text": f"fish {'x' * n}"} for n in range(12)]
    assert bulk(root, "deep", lines(*documents)).json()["added"] == 12
    pipeline = {"retrieve": ["a", "b"], "fuse": {"kind": "toy-sum"}, "depth": 10}
    url = "/v1/collections/deep/search"
    body = {"query": "fish x", "pipeline": pipeline}
    whole = root.post(url, json={**body, "k": 10}).json()["hits"]
    pages = [
        hit
        for offset in (0, 4, 8)
        for hit in root.post(url, json={**body, "k": min(4, 10 - offset), "offset": offset}).json()[
            "hits"
        ]
    ]
    assert pages == whole
    beyond = root.post(url, json={**body, "k": 4, "offset": 8})
    assert (beyond.status_code, beyond.json()["code"]) == (422, "limit_exceeded")
    assert beyond.json()["limit"] == "depth"


def test_a_batch_gives_what_single_searches_give(birds: Any) -> None:
    queries = ["fish", "night", "nothing of the kind"]
    batch = birds.post(
        "/v1/collections/birds/search/batch", json={"queries": queries, "k": 2}
    ).json()["results"]
    for query, result in zip(queries, batch, strict=True):
        alone = birds.post("/v1/collections/birds/search", json={"query": query, "k": 2}).json()
        assert result["hits"] == alone["hits"]
    empty = birds.post("/v1/collections/birds/search/batch", json={"queries": []})
    assert empty.json() == {"results": []}
    both = {"queries": ["a"], "vectors": [[1.0]]}
    assert birds.post("/v1/collections/birds/search/batch", json=both).status_code == 422


def test_ready_vectors_search_a_dense_index(root: Any) -> None:
    body = {"name": "vectors", "indexes": {"toy": {"kind": "toy-dense", "dim": 4}}}
    assert root.post("/v1/collections", json=body).status_code == 201
    bulk(root, "vectors", lines({"id": "1", "text": "a"}, {"id": "2", "text": "b"}))
    found = root.post(
        "/v1/collections/vectors/search/batch",
        json={"vectors": [[1.0, 0.0, 0.0, 0.0]], "k": 2, "pipeline": "toy"},
    )
    assert len(found.json()["results"][0]["hits"]) == 2, found.text
    wrong = root.post("/v1/collections/vectors/search/batch", json={"vectors": [[1.0]], "k": 2})
    assert wrong.json()["code"] == "invalid_input"


def test_the_life_of_a_collection(root: Any, tmp_path: Path) -> None:
    created = root.post(
        "/v1/collections",
        json={"name": "papers", "indexes": {"bm25": "bm25"}, "chunk": {"tokens": 16, "overlap": 4}},
    )
    assert created.status_code == 201, created.text
    assert created.headers["location"] == "/v1/collections/papers"
    assert created.json()["pipelines"] == ["bm25"]
    assert (tmp_path / "root" / "papers.cm").is_dir()
    again = root.post("/v1/collections", json={"name": "papers"})
    assert (again.status_code, again.json()["code"]) == (409, "collection_exists")
    assert bulk(root, "papers", lines({"id": "1", "text": "a fish"})).json()["added"] == 1

    added = root.post("/v1/collections/papers/indexes", json={"name": "letters", "settings": "toy"})
    assert added.status_code == 201, added.text
    assert added.json()["pipelines"] == ["bm25", "letters", "toy"]
    assert root.delete("/v1/collections/papers/indexes/letters").status_code == 204
    gone = root.delete("/v1/collections/papers/indexes/letters")
    assert (gone.status_code, gone.json()["code"]) == (404, "unknown_name")

    for verb in ("flush", "merge"):
        assert root.post(f"/v1/collections/papers/{verb}").json()["version"] >= 2
    report = root.post("/v1/collections/papers/check").json()
    assert report["ok"]
    assert report["documents"] == 1

    listed = root.get("/v1/collections").json()["collections"]
    assert [item["name"] for item in listed] == ["papers"]
    assert "path" not in listed[0]
    assert str(tmp_path) not in json.dumps(listed)
    assert root.delete("/v1/collections/papers").status_code == 204
    assert list((tmp_path / "root").iterdir()) == []
    assert root.get("/v1/collections/papers").status_code == 404


def test_a_root_is_served_again_as_it_was_left(tmp_path: Path) -> None:
    with in_process(root=tmp_path) as client:
        client.post("/v1/collections", json={"name": "kept"})
        bulk(client, "kept", lines({"id": "1", "text": "a fish"}))
    (tmp_path / ".left.0.dropped").mkdir()
    with in_process(root=tmp_path) as client:
        assert client.get("/v1/collections/kept").json()["documents"] == 1
    assert not (tmp_path / ".left.0.dropped").exists()


def test_given_collections_are_neither_created_nor_dropped(birds: Any) -> None:
    for answer in (
        birds.post("/v1/collections", json={"name": "new"}),
        birds.delete("/v1/collections/birds"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_documents_one_by_one(birds: Any) -> None:
    url = "/v1/collections/birds/documents"
    strange = quote(BIRDS[2].id, safe="")
    assert birds.get(f"{url}/{strange}").json() == BIRDS[2].as_json()
    assert birds.get(f"{url}/nobody").json()["code"] == "unknown_name"
    assert birds.delete(f"{url}/{strange}").json() == {"deleted": 1}
    assert birds.delete(f"{url}/{strange}").json() == {"deleted": 0}
    many = birds.post(f"{url}/delete", json={"ids": ["c", "c", "nobody"]})
    assert many.json() == {"deleted": 1}
    assert birds.get("/v1/collections/birds").json()["documents"] == 1


def test_ids_of_every_kind_come_back(tmp_path: Path) -> None:
    names = ["a/b/", "/", "a?b#c", "100%", "%2F", "a b", "日本", "a//b", "delete", "x" * 512]
    path = make_birds(tmp_path / "birds.cm")
    app = create_app(Settings(collections=(path,), warm=False), log=Log().logger)
    with on_a_port(app) as url, httpx2.Client(base_url=url) as client:
        added = bulk(client, "birds", lines(*({"id": name, "text": "x"} for name in names)))
        assert added.json()["added"] == len(names)
        for name in names:
            found = client.get(f"/v1/collections/birds/documents/{quote(name, safe='')}")
            assert found.json()["id"] == name, found.text


def test_scrolling_by_cursor(birds: Any) -> None:
    url = "/v1/collections/birds/documents"
    first = birds.get(url, params={"limit": 2}).json()
    assert [item["id"] for item in first["documents"]] == ["c", "h"]
    second = birds.get(url, params={"limit": 2, "after": first["next"]}).json()
    assert [item["id"] for item in second["documents"]] == [BIRDS[2].id]
    assert (second["next"], len(second["cursors"])) == (None, 1)
    some = birds.get(url, params={"filter": '{"colour": "grey"}'}).json()
    assert [item["id"] for item in some["documents"]] == ["h"]
    for bad in ("[]", "{", '{"$x": 1}', '{"a": null}'):
        assert birds.get(url, params={"filter": bad}).json()["code"] == "invalid_input"
    assert birds.get(url, params={"after": "nobody"}).json()["code"] == "invalid_input"


def test_a_bulk_reports_its_bad_lines_and_adds_the_good_ones(birds: Any) -> None:
    content = (
        lines({"id": "n1", "text": "new"})
        + b"\n{broken\n"
        + lines({"id": "n2"}, {"id": "", "text": "x"}, ["no object"], {"id": "n1", "text": "twice"})
        + b'{"id": "n3", "text": "\xff"}\n'
        + lines({"id": "n4", "text": "x", "labels": "no list"})
        + b'{"id": "n5", "text": "no newline at the end", "year": 2020}'
    )
    answer = bulk(birds, "birds", content).json()
    assert answer["added"] == 2
    assert [(error["line"], error["field"]) for error in answer["errors"]] == [
        (3, None), (4, "text"), (5, "id"), (6, None), (7, "id"), (8, None), (9, "labels"),
    ]  # fmt: skip
    found = birds.post("/v1/collections/birds/search", json={"query": "newline"}).json()
    assert [hit["id"] for hit in found["hits"]] == ["n5"]
    assert found["hits"][0]["metadata"] == {"year": 2020}
    assert found["version"] == answer["version"]


def test_a_bulk_for_later_is_durable_and_flagged(birds: Any) -> None:
    answer = bulk(birds, "birds", lines({"id": "later", "text": "a pelican"}), index="later")
    assert answer.json()["added"] == 1
    assert birds.get("/v1/collections/birds/documents/later").status_code == 200
    assert bulk(birds, "birds", b"", index="never").status_code == 422


def test_judgements_become_qrels(birds: Any, tmp_path: Path) -> None:
    url = "/v1/collections/birds/judgements"
    body = {"query_id": "q1", "query": "fish", "document_id": "c", "grade": 3}
    assert birds.get(url).text == ""
    assert birds.put(url, json=body).status_code == 204
    assert birds.put(url, json={**body, "document_id": "h", "grade": 0}).status_code == 204
    assert birds.put(url, json={**body, "grade": 1}).status_code == 204
    assert birds.get(url).text == "q1 0 c 1\nq1 0 h 0\n"
    assert birds.get(url).headers["content-type"].startswith("text/plain")
    assert birds.get(url, params={"queries": 1}).text == '{"_id": "q1", "text": "fish"}\n'
    assert birds.put(url, json={**body, "document_id": "nobody"}).json()["code"] == "unknown_name"
    for wrong in ({"grade": 4}, {"grade": True}, {"query_id": "a b"}, {"document_id": "a b"}):
        assert birds.put(url, json={**body, **wrong}).json()["code"] == "invalid_input"
    file = tmp_path / "birds.judgements.jsonl"
    with file.open("ab") as torn:
        torn.write(b'{"query_id": "q2", "que')
    assert birds.get(url).text == "q1 0 c 1\nq1 0 h 0\n"
    assert birds.put(url, json={**body, "grade": 2}).status_code == 204
    assert birds.get(url).text == "q1 0 c 2\nq1 0 h 0\n"
    from cormorant.eval.qrels import read_qrels

    (tmp_path / "qrels").write_text(birds.get(url).text)
    assert read_qrels(tmp_path / "qrels") == {"q1": {"c": 2, "h": 0}}


def test_rerank_takes_and_gives_what_coheres_does(tmp_path: Path) -> None:
    with in_process(scorers={"lengths": Lengths()}) as client:
        body = {
            "model": "lengths",
            "query": "q",
            "documents": ["long text", {"text": "x"}, "longer than that"],
            "top_n": 2,
        }
        answer = client.post("/v1/rerank", json=body)
        value = answer.json()
        assert [result["index"] for result in value["results"]] == [1, 0]
        assert value["results"][0]["relevance_score"] == 0.5
        assert value["id"] == answer.headers["x-request-id"]
        assert value["meta"]["api_version"]["version"] == "2"
        cut = client.post("/v1/rerank", json={**body, "max_tokens_per_doc": 1}).json()
        assert [result["index"] for result in cut["results"]] == [1, 0]
        unknown = client.post("/v1/rerank", json={**body, "model": "/etc/passwd"})
        assert (unknown.status_code, unknown.json()["field"]) == (422, "model")
        assert client.post("/v1/rerank", json={**body, "documents": []}).status_code == 422
        for top_n in (None, 3, 100):
            found = client.post("/v1/rerank", json={**body, "top_n": top_n}).json()["results"]
            assert [result["index"] for result in found] == [1, 0, 2]
        for top_n in (0, -1, 1.5, "2"):
            refused = client.post("/v1/rerank", json={**body, "top_n": top_n})
            assert (refused.status_code, refused.json()["field"]) == (422, "top_n")


def test_embed_encodes_queries_and_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = toys.ToyEncoder(toys.ToyDense(dim=4, max_tokens=2))
    with in_process(encoders={"toy": encoder}) as client:
        body = {"model": "toy", "texts": ["a b c", "a"], "input_type": "query"}
        value = client.post("/v1/embed", json=body).json()
        assert value["dim"] == 4
        assert value["cut"] == [True, False]
        assert value["vectors"] == encoder.encode_query(["a b c", "a"]).vectors.tolist()
        assert client.post("/v1/embed", json={**body, "texts": []}).json()["vectors"] == []
        assert client.post("/v1/embed", json={**body, "model": "other"}).status_code == 422


def test_a_model_that_is_not_listed_is_named_nowhere(root: Any) -> None:
    settings = {"kind": "dense", "model": "/etc"}
    for answer in (
        root.post("/v1/collections", json={"name": "x", "indexes": {"d": settings}}),
        root.post("/v1/collections", json={"name": "x", "indexes": {"d": "dense"}}),
    ):
        assert answer.json()["code"] == "invalid_input"
        assert answer.json()["field"] == "model"
    assert root.get("/v1/collections").json() == {"collections": []}


def test_new_kinds_appear_by_registration_alone(root: Any) -> None:
    body = {"name": "toys", "indexes": {"letters": {"kind": "toy", "weight": 2.0}, "bm25": "bm25"}}
    assert root.post("/v1/collections", json=body).status_code == 201
    bulk(root, "toys", lines({"id": "a", "text": "fish fish"}, {"id": "b", "text": "fish"}))
    pipeline = {
        "retrieve": ["letters", "bm25"],
        "fuse": {"kind": "toy-sum"},
        "rerank": [{"kind": "toy-shortest", "depth": 5}],
        "feedback": {"kind": "toy-first-text"},
        "reformulate": {"kind": "toy-lower"},
    }
    found = root.post("/v1/collections/toys/search", json={"query": "FISH", "pipeline": pipeline})
    assert [hit["id"] for hit in found.json()["hits"]] == ["b", "a"], found.text
    unknown = {**pipeline, "rerank": [{"kind": "nothing"}]}
    found = root.post("/v1/collections/toys/search", json={"query": "FISH", "pipeline": unknown})
    assert (found.status_code, found.json()["code"]) == (422, "unknown_name")


def test_health_metrics_and_the_api_described(birds: Any) -> None:
    assert birds.get("/livez").json() == {"ok": True}
    for _ in range(100):
        ready = birds.get("/readyz")
        if ready.status_code == 200:
            break
    assert ready.json() == {"ready": True, "collections": {"birds": {"ready": True}}}
    birds.post("/v1/collections/birds/search", json={"query": "secretquery"})
    text = birds.get("/metrics").text
    route = 'route="/v1/collections/{name}/search"'
    assert f'cormorant_requests_total{{method="POST",{route},status="200"}} 1.0' in text
    assert "cormorant_batch_size_count 1.0" in text
    assert "secretquery" not in text
    document = birds.get("/openapi.json").json()
    assert document["openapi"].startswith("3.")
    assert "/v1/collections/{name}/search" in document["paths"]
    assert "ProblemDetails" in document["components"]["schemas"]


def test_the_log_has_the_request_but_not_the_query(tmp_path: Path) -> None:
    log = Log()
    path = make_birds(tmp_path / "birds.cm")
    with in_process(collections=(path,), log=log) as client:
        client.post(
            "/v1/collections/birds/search",
            json={"query": "secretquery"},
            headers={"X-Request-ID": "my-id.1"},
        )
        client.get("/v1/collections/birds/documents/secretid")
    line = next(line for line in log.lines if line.get("request_id") == "my-id.1")
    assert line["route"] == "/v1/collections/{name}/search"
    assert (line["method"], line["status"], line["key"]) == ("POST", 200, "anybody")
    assert line["ms"] > 0
    assert "secret" not in log.stream.getvalue()
    asked = Log()
    with in_process(collections=(path,), log=asked, log_queries=True) as client:
        client.post("/v1/collections/birds/search", json={"query": "secretquery"})
    assert any(line.get("query") == "secretquery" for line in asked.lines)


def test_every_answer_has_its_headers_and_a_request_id(birds: Any) -> None:
    for answer in (
        birds.get("/livez"),
        birds.get("/nowhere"),
        birds.patch("/livez"),
        birds.post("/v1/collections/birds/search", json={}),
        birds.get("/livez", headers={"X-Request-ID": "bad id\x7f"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert len(answer.headers["x-request-id"]) == 16
        if answer.status_code >= 400:
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["request_id"] == answer.headers["x-request-id"]
            assert problem["status"] == answer.status_code
            assert {"type", "title", "detail", "instance", "code"} <= problem.keys()


def test_a_wrong_method_is_told_the_right_ones(birds: Any) -> None:
    for path, allowed in (
        ("/livez", "GET"),
        ("/v1/collections/birds/documents", "GET, POST"),
        ("/v1/collections/birds/documents/x", "DELETE, GET"),
        ("/v1/collections", "GET, POST"),
    ):
        answer = birds.patch(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed), path


def test_the_page_is_served_with_a_strict_policy(birds: Any) -> None:
    page = birds.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert birds.get("/page/page.css").headers["content-type"].startswith("text/css")
    assert birds.get("/page/../server/app.py").status_code == 404
    assert birds.get("/page/__init__.py").status_code == 404
