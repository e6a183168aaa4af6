"""Bad input: each limit exceeded by one, every field missing, of the wrong type, unknown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import toys
from serving import Lengths, in_process, make_birds

from cormorant.api.server.limits import Limits
from cormorant.api.server.settings import Settings

SEARCH = "/v1/collections/birds/search"
BATCH = "/v1/collections/birds/search/batch"
LIMITS = {
    "body_bytes": 2000,
    "bulk_bytes": 3000,
    "line_bytes": 200,
    "bulk_lines": 20,
    "bulk_errors": 2,
    "json_depth": 20,
    "k": 20,
    "depth": 1000,
    "batch_queries": 3,
    "query_characters": 10,
    "vector_dim": 4,
    "stages": 3,
    "filter_conditions": 5,
    "filter_depth": 4,
    "scroll_documents": 2,
    "delete_ids": 3,
    "collections": 2,
    "indexes": 2,
    "rerank_documents": 3,
    "embed_texts": 3,
    "text_characters": 10,
    "timeout_ms": 5000,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("limits")


@pytest.fixture(scope="module")
def birds(folder: Path) -> Iterator[Any]:
    """One server for all tests of this module: they change nothing that another looks at."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        toys.use(monkeypatch)
        yield from serve(folder)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Any]:
    yield from serve(tmp_path)


def serve(root: Path) -> Iterator[Any]:
    make_birds(root / "birds.cm")
    with in_process(
        root=root,
        limits=Limits(**LIMITS),
        scorers={"lengths": Lengths()},
        encoders={"toy": toys.ToyEncoder(toys.ToyDense(dim=4))},
    ) as client:
        yield client


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"$not": value} if value != 1 else {"a": 1}
    return value


EXCEEDED: list[tuple[str, str, Any, Any]] = [
    ("k", SEARCH, {"query": "a", "k": 20}, {"query": "a", "k": 21}),
    ("k", SEARCH, {"query": "a", "k": 1, "offset": 19}, {"query": "a", "k": 1, "offset": 20}),
    ("k", BATCH, {"queries": ["a"], "k": 20}, {"queries": ["a"], "k": 21}),
    ("query_characters", SEARCH, {"query": "a" * 10}, {"query": "a" * 11}),
    ("query_characters", BATCH, {"queries": ["a" * 10]}, {"queries": ["a" * 11]}),
    ("batch_queries", BATCH, {"queries": ["a"] * 3}, {"queries": ["a"] * 4}),
    (
        "depth",
        SEARCH,
        {"query": "a", "pipeline": {"retrieve": ["bm25"], "depth": 1000}},
        {"query": "a", "pipeline": {"retrieve": ["bm25"], "depth": 1001}},
    ),
    (
        "depth",
        SEARCH,
        {"query": "a", "pipeline": {"retrieve": [{"index": "bm25", "depth": 1000}]}},
        {"query": "a", "pipeline": {"retrieve": [{"index": "bm25", "depth": 1001}]}},
    ),
    (
        "depth",
        SEARCH,
        {"query": "fish", "pipeline": {"retrieve": ["bm25"], "rerank": [{"kind": "toy-shortest"}]}},
        {
            "query": "fish",
            "pipeline": {"retrieve": ["bm25"], "rerank": [{"kind": "toy-shortest", "depth": 1001}]},
        },
    ),
    (
        "stages",
        SEARCH,
        {"query": "fish", "pipeline": {"retrieve": ["bm25"], "rerank": ["toy-shortest"] * 2}},
        {"query": "fish", "pipeline": {"retrieve": ["bm25"], "rerank": ["toy-shortest"] * 3}},
    ),
    (
        "filter_conditions",
        SEARCH,
        {"query": "a", "filter": {str(n): 1 for n in range(5)}},
        {"query": "a", "filter": {str(n): 1 for n in range(6)}},
    ),
    (
        "filter_conditions",
        SEARCH,
        {"query": "a", "filter": {"a": {"in": [1, 2, 3]}}},
        {"query": "a", "filter": {"a": {"in": [1, 2, 3, 4]}}},
    ),
    (
        "filter_depth",
        SEARCH,
        {"query": "a", "filter": nested(4)},
        {"query": "a", "filter": nested(5)},
    ),
    (
        "delete_ids",
        "/v1/collections/birds/documents/delete",
        {"ids": ["x"] * 3},
        {"ids": ["x"] * 4},
    ),
    (
        "rerank_documents",
        "/v1/rerank",
        {"model": "lengths", "query": "q", "documents": ["d"] * 3},
        {"model": "lengths", "query": "q", "documents": ["d"] * 4},
    ),
    (
        "text_characters",
        "/v1/rerank",
        {"model": "lengths", "query": "q", "documents": ["d" * 10]},
        {"model": "lengths", "query": "q", "documents": ["d" * 11]},
    ),
    (
        "embed_texts",
        "/v1/embed",
        {"model": "toy", "texts": ["t"] * 3},
        {"model": "toy", "texts": ["t"] * 4},
    ),
    (
        "text_characters",
        "/v1/embed",
        {"model": "toy", "texts": ["t" * 10]},
        {"model": "toy", "texts": ["t" * 11]},
    ),
]


@pytest.mark.parametrize(("limit", "url", "within", "beyond"), EXCEEDED)
def test_each_limit_exceeded_by_one(
    birds: Any, limit: str, url: str, within: Any, beyond: Any
) -> None:
    assert birds.post(url, json=within).status_code == 200, birds.post(url, json=within).text
    answer = birds.post(url, json=beyond)
    assert (answer.status_code, answer.json()["code"]) == (422, "limit_exceeded")
    assert answer.json()["limit"] == limit
    assert f"{LIMITS[limit]:,}" in answer.json()["detail"]


HUGE: list[tuple[str, dict[str, Any], str, str]] = [
    (BATCH, {"queries": [1] * 100_000}, "invalid_input", "queries"),
    (BATCH, {"vectors": [[""] * 100_000]}, "limit_exceeded", "vectors"),
    (BATCH, {"vectors": [{str(n): "" for n in range(100_000)}]}, "limit_exceeded", "vectors"),
    (BATCH, {"vectors": [{"terms": [""] * 100_000, "weights": 1}]}, "limit_exceeded", "vectors"),
    (BATCH, {"vectors": [""] * 100_000}, "limit_exceeded", "vectors"),
    (SEARCH, {"query": "a", **{str(n): 1 for n in range(100_000)}}, "invalid_input", "0"),
    ("/v1/collections/birds/documents/delete", {"ids": [1] * 100_000}, "invalid_input", "ids"),
    (
        "/v1/rerank",
        {"model": "lengths", "query": "a", "documents": [1] * 100_000},
        "invalid_input",
        "documents",
    ),
    ("/v1/embed", {"model": "toy", "texts": [1] * 100_000}, "invalid_input", "texts"),
    (
        "/v1/collections",
        {"name": "x", "indexes": {str(n): 1 for n in range(100_000)}},
        "limit_exceeded",
        "indexes",
    ),
]


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server with the limits it has by default."""
    root = tmp_path_factory.mktemp("roomy")
    make_birds(root / "birds.cm")
    with in_process(root=root, scorers={"lengths": Lengths()}) as client:
        yield client


@pytest.mark.parametrize(
    ("url", "body", "code", "field"), HUGE, ids=[f"{n}-{item[3]}" for n, item in enumerate(HUGE)]
)
def test_one_body_of_many_mistakes_does_not_stall_the_server(
    roomy: Any, url: str, body: Any, code: str, field: str
) -> None:
    """It took seconds to list them all: what is counted is counted first, one mistake is enough."""
    answer = roomy.post(url, json=body).json()
    assert (answer["code"], answer["field"].split(".")[0]) == (code, field)
    assert "more)" not in answer["detail"]
    assert len(answer["detail"]) < 300


LONG = "1" + "0" * 400
BAD_VECTORS = [
    '{"terms": [1e999], "weights": [1]}',
    '{"terms": [-1e999], "weights": [1]}',
    '{"terms": [1], "weights": [1e999]}',
    f'{{"terms": [1], "weights": [{LONG}]}}',
    f'{{"terms": [{LONG}], "weights": [1]}}',
    '{"terms": [0.5], "weights": [1]}',
    '{"cat": 1e39}',
    f'{{"cat": {LONG}}}',
    f"[{LONG}]",
    f"[[{LONG}]]",
    "[-1e999]",
]


@pytest.mark.parametrize("vector", BAD_VECTORS, ids=[vector[:40] for vector in BAD_VECTORS])
def test_a_number_that_no_float_can_hold_is_no_failure(roomy: Any, vector: str) -> None:
    headers = {"content-type": "application/json"}
    content = f'{{"vectors": [{vector}]}}'.encode()
    answer = roomy.post(BATCH, content=content, headers=headers)
    assert (answer.status_code, answer.json()["field"]) == (422, "vectors"), answer.text
    # Of a bulk it costs its own line, not the others.
    line = f'{{"id": "n", "text": "t", "vectors": {{"x": {vector}}}}}\n'
    content = f'{{"id": "c2", "text": "a"}}\n{line}{{"id": "c3", "text": "b"}}\n'.encode()
    answer = roomy.post(
        "/v1/collections/birds/documents",
        content=content,
        headers={"content-type": "application/x-ndjson"},
    )
    assert (answer.status_code, answer.json()["added"]) == (200, 2), answer.text
    assert [error["line"] for error in answer.json()["errors"]] == [2]


def test_empty_weights_go_with_tokens_and_with_numbers(roomy: Any) -> None:
    body = {"name": "sparse", "indexes": {"sparse": "sparse"}}
    assert roomy.post("/v1/collections", json=body).status_code == 201
    url = "/v1/collections/sparse/search/batch"
    numbered = {"terms": [3], "weights": [1.0]}
    for vectors in ([numbered, {}], [{}, numbered], [{"cat": 1.0}, {}], [{}, {}]):
        answer = roomy.post(url, json={"vectors": vectors})
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["results"]) == 2
    for vectors in ([[1.0], {}], [{}, [[1.0]]], [numbered, {"cat": 1.0}]):
        answer = roomy.post(url, json={"vectors": vectors})
        assert (answer.status_code, answer.json()["field"]) == (422, "vectors")
        assert "of one kind" in answer.json()["detail"]


def test_limits_of_parameters_and_of_what_there_may_be(fresh: Any) -> None:
    url = "/v1/collections/birds/documents"
    assert fresh.get(url, params={"limit": 2}).status_code == 200
    assert fresh.get(url, params={"limit": 3}).json()["limit"] == "scroll_documents"
    filter = json.dumps(nested(5))
    assert fresh.get(url, params={"filter": filter}).json()["limit"] == "filter_depth"
    vectors = {"vectors": [[1.0] * 5]}
    assert fresh.post(BATCH, json=vectors).json()["limit"] == "vector_dim"
    indexes = {name: "bm25" for name in ("a", "b", "c")}
    body = {"name": "new", "indexes": indexes}
    assert fresh.post("/v1/collections", json=body).json()["limit"] == "indexes"
    assert fresh.post("/v1/collections", json={"name": "new"}).status_code == 201
    assert fresh.post("/v1/collections", json={"name": "newer"}).json()["limit"] == "collections"
    index = {"name": "second", "settings": "bm25"}
    assert fresh.post("/v1/collections/new/indexes", json=index).status_code == 201
    index = {"name": "third", "settings": "bm25"}
    assert fresh.post("/v1/collections/new/indexes", json=index).json()["limit"] == "indexes"


def test_a_body_is_measured_before_it_is_parsed(birds: Any) -> None:
    frame = len('{"query": ""}')
    for extra, status in ((0, 422), (1, 413)):
        content = json.dumps({"query": "a" * (2000 - frame + extra)})
        headers = {"content-type": "application/json"}
        answer = birds.post(SEARCH, content=content, headers=headers)
        assert answer.status_code == status, answer.text
    assert answer.json()["limit"] == "body_bytes"

    def parts() -> Iterator[bytes]:  # chunked: no Content-Length says how much will come
        for _ in range(30):
            yield b" " * 100

    answer = birds.post(SEARCH, content=parts(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_limits_of_a_bulk(birds: Any) -> None:
    url = "/v1/collections/birds/documents"
    headers = {"content-type": "application/x-ndjson"}

    def bulk(*lines: Any) -> Any:
        content = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return birds.post(url, content=content, headers=headers)

    frame = len(json.dumps({"id": "x", "text": ""}))
    fits = {"id": "x", "text": "a" * (200 - frame)}
    assert bulk(fits).json()["added"] == 1
    answer = bulk({**fits, "text": fits["text"] + "a"}, {"id": "y", "text": "b"}).json()
    assert answer["added"] == 1
    assert (answer["errors"][0]["line"], answer["errors"][0]["code"]) == (1, "limit_exceeded")
    answer = bulk(*({"id": n} for n in range(4))).json()
    assert (len(answer["errors"]), answer["errors_left_out"]) == (2, 2)
    deep: Any = "x"
    for _ in range(21):
        deep = [deep]
    answer = bulk({"id": "d", "text": "a", "metadata": {"deep": deep}}).json()
    assert answer["errors"][0]["code"] == "limit_exceeded"
    answer = bulk(*({"id": str(n), "text": "a"} for n in range(21)))
    assert (answer.status_code, answer.json()["limit"]) == (413, "bulk_lines")
    answer = bulk(*(fits for _ in range(16)))
    assert (answer.status_code, answer.json()["limit"]) == (413, "bulk_bytes")


def test_a_caller_who_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    path = make_birds(tmp_path / "birds.cm")
    limits = Limits(requests_per_minute=3)
    with in_process(collections=(path,), limits=limits) as client:
        for _ in range(3):
            assert client.get("/v1/collections").status_code == 200
        answer = client.get("/v1/collections")
        assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
        assert 1 <= int(answer.headers["retry-after"]) <= 20
        assert client.get("/livez").status_code == 200


FIELDS: list[tuple[str, str, dict[str, Any]]] = [
    ("POST", SEARCH, {"query": "a", "k": 1, "offset": 0, "pipeline": "bm25", "filter": {},
                      "explain": False, "timings": True, "highlight": False, "timeout_ms": 1000,
                      "partial": False}),
    ("POST", BATCH, {"queries": ["a"], "k": 1, "pipeline": "bm25", "filter": {}, "explain": False,
                     "timings": True, "highlight": False, "timeout_ms": 1000, "partial": False}),
    ("POST", "/v1/collections", {"name": "x", "indexes": {"a": "bm25"},
                                 "chunk": {"tokens": 16, "overlap": 2}}),
    ("POST", "/v1/collections/birds/indexes", {"name": "x", "settings": "bm25", "when": "now"}),
    ("POST", "/v1/collections/birds/documents/delete", {"ids": []}),
    ("POST", "/v1/collections/birds/highlights", {"query": "a", "text": "a", "index": "bm25"}),
    ("PUT", "/v1/collections/birds/judgements",
     {"query_id": "q", "query": "a", "document_id": "c", "grade": 1}),
    ("POST", "/v1/rerank", {"model": "lengths", "query": "q", "documents": ["d"], "top_n": 1,
                            "max_tokens_per_doc": 1, "timeout_ms": 1000}),
    ("POST", "/v1/embed", {"model": "toy", "texts": ["t"], "input_type": "query",
                           "timeout_ms": 1000}),
]  # fmt: skip
REQUIRED = {"query", "name", "settings", "ids", "query_id", "document_id", "grade", "model",
            "documents", "texts", "text"}  # fmt: skip
STRANGE = [[[]], {"x": {}}, -1, 0.5, 10**30, True, "\u0000"]


@pytest.mark.parametrize(("method", "url", "body"), FIELDS)
def test_every_field_missing_of_the_wrong_type_and_unknown(
    birds: Any, method: str, url: str, body: dict[str, Any]
) -> None:
    for name, good in body.items():
        missing = {key: value for key, value in body.items() if key != name}
        answer = birds.request(method, url, json=missing)
        if name in REQUIRED:
            assert answer.status_code == 422, (name, answer.text)
            assert answer.json()["field"] == name
        else:
            assert answer.status_code < 500
        for value in STRANGE:
            answer = birds.request(method, url, json={**body, name: value})
            assert answer.status_code < 500, (name, value, answer.text)
            if type(value) is not type(good):
                assert answer.status_code in (422, 200, 201), (name, value, answer.text)
                if type(good) in (bool, int):
                    assert answer.json()["field"] == name, (name, value, answer.text)
    answer = birds.request(method, url, json={**body, "surprise": 1})
    assert (answer.status_code, answer.json()["field"]) == (422, "surprise")


BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"query": NaN}',
    b'{"query": "a", "k": 1e400}',
    b'{"query": "a", "k": ' + b"9" * 1500 + b"}",
    b'{"query": "\\ud800"}',
    b'{"query": "\xff"}',
    b"[" * 1900,
    b'{"query": "a", "filter": ' + b'{"$not":' * 200 + b"1" + b"}" * 201,
    b"\xef\xbb\xbf{}",
    b'{"query": "a"} x',
]


@pytest.mark.parametrize("content", BROKEN)
def test_broken_json_is_a_problem_and_no_failure(birds: Any, content: bytes) -> None:
    answer = birds.post(SEARCH, content=content, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] in ("invalid_input", "limit_exceeded")


def test_other_content_types_are_refused(birds: Any) -> None:
    for given in ("", "text/plain", "application/xml", "application/x-www-form-urlencoded"):
        headers = {"content-type": given}
        answer = birds.post(SEARCH, content=b'{"query": "a"}', headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
        url = "/v1/collections/birds/documents"
        assert birds.post(url, content=b"{}", headers=headers).status_code == 415
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    assert birds.post(SEARCH, content=b"{}", headers=headers).status_code == 415
    headers = {"content-type": "application/json; charset=utf-8"}
    assert birds.post(SEARCH, content=b'{"query": "a"}', headers=headers).status_code == 200


def test_names_from_the_wire_are_never_paths(fresh: Any, tmp_path: Path) -> None:
    for name in ("..", "../birds", "a/b", "/etc", "A", "", "a.cm", "-a", "a" * 65, "a\n", "ä"):
        answer = fresh.post("/v1/collections", json={"name": name})
        assert (answer.status_code, answer.json()["field"]) == (422, "name"), name
    for path in ("%2e%2e", "..%2fbirds", "birds.cm", "%2Fetc"):
        answer = fresh.get(f"/v1/collections/{path}")
        assert answer.status_code == 404
    assert {path.name for path in tmp_path.iterdir()} == {"birds.cm"}


def test_no_message_shows_where_the_collections_are(birds: Any, folder: Path) -> None:
    answer = birds.post(SEARCH, json={"query": "a", "pipeline": "nothing"})
    assert answer.json()["code"] == "unknown_name"
    assert str(folder) not in answer.text


def test_settings_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORMORANT_ENCODING_CACHE", "/somewhere")  # another's: no setting of ours
    monkeypatch.setenv("CORMORANT_LIMITS__K", "7")
    monkeypatch.setenv("CORMORANT_MODELS", '["a/b"]')
    settings = Settings()
    assert (settings.limits.k, settings.models) == (7, ("a/b",))
    for name, value in (("CORMORANT_LIMITS__K", "0"), ("CORMORANT_LIMITS__NOTHING", "1")):
        with monkeypatch.context() as context:
            context.setenv(name, value)
            with pytest.raises(ValueError, match="limits"):
                Settings()


def test_pages_of_other_sites_are_refused(tmp_path: Path) -> None:
    path = make_birds(tmp_path / "birds.cm")
    hosts = ("localhost", "127.0.0.1", "::1")
    with in_process(collections=(path,), trusted_hosts=hosts) as client:
        assert client.get("/v1/collections").status_code == 200
        assert client.get("/v1/collections", headers={"host": "[::1]:80"}).status_code == 200
        rebound = client.get("/v1/collections", headers={"host": "evil.example"})
        assert (rebound.status_code, rebound.json()["code"]) == (403, "forbidden")
        url = "/v1/collections/birds/flush"
        assert client.post(url, headers={"origin": "http://evil.example"}).status_code == 403
        assert client.post(url, headers={"origin": "null"}).status_code == 403
        assert client.post(url, headers={"origin": "http://127.0.0.1"}).status_code == 200
