"""Who may do what: deny by default, on every route."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving import in_process, make_birds

from cormorant.api.server import keys as keys_module
from cormorant.api.server.keys import Keys, hash_of, new_key, read_keys
from cormorant.errors import InputError

PUBLIC = {"/livez", "/readyz"}
BODIES: dict[str, Any] = {
    "/v1/collections": {"name": "birds"},
    "/v1/collections/{name}/search": {"query": "fish"},
    "/v1/collections/{name}/answer": {"question": "bird"},
    "/v1/collections/{name}/search/batch": {"queries": ["fish"]},
    "/v1/collections/{name}/highlights": {"query": "fish", "text": "a fish"},
    "/v1/collections/{name}/documents/delete": {"ids": ["nobody"]},
    "/v1/collections/{name}/indexes": {"name": "bm25", "settings": "bm25"},
    "/v1/rerank": {"model": "m", "query": "q", "documents": ["d"]},
    "/v1/embed": {"model": "m", "texts": ["t"]},
}
JUDGEMENT = {"query_id": "q", "query": "fish", "document_id": "nobody", "grade": 1}
RIGHTS = {
    ("GET", "/v1/collections/{name}"): "read",
    ("DELETE", "/v1/collections/{name}"): "admin",
    ("POST", "/v1/collections/{name}/indexes"): "admin",
    ("DELETE", "/v1/collections/{name}/indexes/{index}"): "admin",
    ("POST", "/v1/collections/{name}/flush"): "write",
    ("POST", "/v1/collections/{name}/merge"): "write",
    ("POST", "/v1/collections/{name}/check"): "admin",
    ("POST", "/v1/collections/{name}/documents"): "write",
    ("GET", "/v1/collections/{name}/documents"): "read",
    ("GET", "/v1/collections/{name}/documents/{id}"): "read",
    ("DELETE", "/v1/collections/{name}/documents/{id}"): "write",
    ("POST", "/v1/collections/{name}/documents/delete"): "write",
    ("POST", "/v1/collections/{name}/search"): "read",
    ("POST", "/v1/collections/{name}/answer"): "read",
    ("POST", "/v1/collections/{name}/search/batch"): "read",
    ("POST", "/v1/collections/{name}/highlights"): "read",
    ("PUT", "/v1/collections/{name}/judgements"): "write",
    ("GET", "/v1/collections/{name}/judgements"): "read",
    ("POST", "/v1/collections"): "admin",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def keyed(tmp_path: Path, file: Path) -> Iterator[Any]:
    """A client without a key; ``keyed.keys`` has one for each right on birds."""
    secrets = {
        right: new_key(file, right, {"birds": right}, ()) for right in ("read", "write", "admin")
    }
    secrets["other"] = new_key(file, "other", {"fishes": "admin"}, ())
    secrets["staff"] = new_key(file, "staff", {"*": "write"}, ("staff",))
    root = tmp_path / "root"
    root.mkdir()
    make_birds(root / "birds.cm")
    with in_process(root=root, keys=file) as client:
        client.keys = secrets
        yield client


def operations(client: Any) -> list[tuple[str, str]]:
    """Every (method, path) the application has, found in its routes and not in its own words."""
    document = client.app.openapi()
    found = [(verb.upper(), path) for path, verbs in document["paths"].items() for verb in verbs]
    return [*found, ("GET", "/openapi.json")]


def call(client: Any, method: str, path: str, key: str | None) -> Any:
    url = path.replace("{name}", "birds").replace("{id}", "nobody").replace("{index}", "nobody")
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    body = JUDGEMENT if method == "PUT" else BODIES.get(path)
    if method == "POST" and path.endswith("/documents"):
        headers["content-type"] = "application/x-ndjson"
        return client.post(url, content=b"", headers=headers)
    return client.request(method, url, headers=headers, json=body if method != "GET" else None)


def test_the_openapi_document_lists_every_route(keyed: Any) -> None:
    def walk(routes: Any) -> Iterator[str]:
        for route in routes:
            inner = getattr(route, "original_router", None) or getattr(route, "router", None)
            if inner is not None:
                yield from walk(inner.routes)
            elif hasattr(route, "path"):
                yield route.path

    listed = {path for _, path in operations(keyed)} | {"/"}
    for path in walk(keyed.app.router.routes):
        plain = path.replace("{id:path}", "{id}")
        assert plain in listed or plain.startswith("/page/"), plain


def test_no_route_answers_without_a_key(keyed: Any) -> None:
    walked = operations(keyed)
    assert len(walked) > 20
    for method, path in walked:
        for key in (None, "", "cm_wrong", keyed.keys["read"] + "x", keyed.keys["read"][:-1]):
            answer = call(keyed, method, path, key)
            if path in PUBLIC:
                assert answer.status_code in (200, 503)
            else:
                assert answer.status_code == 401, (method, path, answer.text)
                assert answer.json()["code"] == "unauthorized"
                assert answer.headers["www-authenticate"].startswith("Bearer")
    assert keyed.get("/no/such/path").status_code == 401
    assert keyed.get("/docs").status_code == 401


def test_every_route_wants_its_right_and_no_less(keyed: Any) -> None:
    order = ["read", "write", "admin"]
    walked = [item for item in operations(keyed) if "{name}" in item[1]]
    assert set(walked) | {("POST", "/v1/collections")} == RIGHTS.keys()
    for (method, path), right in RIGHTS.items():
        if (method, path) == ("DELETE", "/v1/collections/{name}"):
            continue  # last
        for name in ("other", *order):
            answer = call(keyed, method, path, keyed.keys[name])
            enough = name != "other" and order.index(name) >= order.index(right)
            assert (answer.status_code != 403) == enough, (method, path, name, answer.text)
            assert answer.status_code != 401
    for name in ("other", "read", "write"):
        answer = call(keyed, "DELETE", "/v1/collections/{name}", keyed.keys[name])
        assert answer.status_code == 403
    answer = call(keyed, "DELETE", "/v1/collections/{name}", keyed.keys["admin"])
    assert answer.status_code == 204


def test_a_collection_without_the_right_looks_like_one_that_is_not_there(keyed: Any) -> None:
    headers = {"X-API-Key": keyed.keys["other"]}
    there = keyed.get("/v1/collections/birds", headers=headers)
    nowhere = keyed.get("/v1/collections/nowhere", headers=headers)
    for answer in (there, nowhere):
        assert answer.status_code == 403
    strip = ("instance", "request_id")
    assert [{k: v for k, v in a.json().items() if k not in strip} for a in (there,)] == [
        {k: v for k, v in a.json().items() if k not in strip} for a in (nowhere,)
    ]
    assert keyed.get("/v1/collections", headers=headers).json() == {"collections": []}
    assert keyed.get("/readyz", headers=headers).json()["collections"] == {}
    assert keyed.get("/readyz").json()["collections"] == {}


def test_labels_come_from_the_key(keyed: Any) -> None:
    staff = {"X-API-Key": keyed.keys["staff"]}
    everyone = {"X-API-Key": keyed.keys["read"]}
    url = "/v1/collections/birds"
    body = {"query": "bird", "k": 10}
    found = keyed.post(f"{url}/search", json=body, headers=staff).json()["hits"]
    assert {hit["id"] for hit in found} == {"h", "o/1 ü"}
    every = keyed.post(f"{url}/search", json=body, headers=everyone).json()["hits"]
    assert len(every) == 3
    for smuggled in ("as_labels", "labels"):
        answer = keyed.post(f"{url}/search", json={**body, smuggled: ["open"]}, headers=staff)
        assert answer.status_code == 422
    batch = keyed.post(f"{url}/search/batch", json={"queries": ["bird"]}, headers=staff).json()
    assert len(batch["results"][0]["hits"]) == 2
    scrolled = keyed.get(f"{url}/documents", headers=staff).json()["documents"]
    assert [item["id"] for item in scrolled] == ["h", "o/1 ü"]
    assert keyed.get(f"{url}/documents/c", headers=staff).status_code == 404
    hidden = keyed.get(f"{url}/documents", params={"after": "c0"}, headers=staff).json()
    assert {item["id"] for item in hidden["documents"]} <= {"h", "o/1 ü"}

    ndjson = {**staff, "content-type": "application/x-ndjson"}
    lines = [
        {"id": "mine", "text": "x", "labels": ["staff"]},
        {"id": "none", "text": "x"},
        {"id": "wider", "text": "x", "labels": ["staff", "open"]},
        {"id": "c", "text": "replaced unseen", "labels": ["staff"]},
        {"id": "h", "text": "x", "labels": ["staff"]},
    ]
    content = "\n".join(map(json.dumps, lines)).encode()
    added = keyed.post(f"{url}/documents", content=content, headers=ndjson).json()
    assert added["added"] == 2
    assert [(e["line"], e["code"]) for e in added["errors"]] == [
        (2, "forbidden"), (3, "forbidden"), (4, "forbidden"),
    ]  # fmt: skip
    ids = {"ids": ["c", "mine"]}
    assert keyed.post(f"{url}/documents/delete", json=ids, headers=staff).json() == {"deleted": 1}
    assert keyed.get(f"{url}/documents/c", headers=everyone).status_code == 200

    judgement = {"query_id": "q", "query": "secret", "document_id": "c", "grade": 1}
    writer = {"X-API-Key": keyed.keys["write"]}
    assert keyed.put(f"{url}/judgements", json=judgement, headers=staff).status_code == 422
    assert keyed.put(f"{url}/judgements", json=judgement, headers=writer).status_code == 204
    assert keyed.get(f"{url}/judgements", headers=staff).text == ""
    assert keyed.get(f"{url}/judgements", params={"queries": 1}, headers=staff).text == ""


def test_keys_are_kept_as_hashes_and_compared_in_constant_time(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = new_key(file, "ann", {"papers": "write", "*": "read"}, ("a", "b"))
    assert secret not in file.read_text()
    assert hash_of(secret) in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    new_key(file, "bob", {}, ())
    compared: list[Any] = []
    real = keys_module.hmac.compare_digest
    monkeypatch.setattr(
        keys_module.hmac, "compare_digest", lambda *pair: compared.append(pair) or real(*pair)
    )
    key = Keys(file).find(secret)
    assert len(compared) == 2, "every key is compared, whichever fits"
    assert key.name == "ann"
    assert key.labels == ("a", "b")
    assert key.may("write", "papers")
    assert not key.may("admin", "papers")
    assert key.may("read", "others")
    assert not key.may("write", "others")
    bob = read_keys(file)[1]
    assert not bob.may("read", "papers")


def test_two_keys_of_a_name_for_rotation_and_no_third(file: Path) -> None:
    first = new_key(file, "ann", {"*": "read"}, ())
    keys = Keys(file)
    second = new_key(file, "ann", {"*": "read"}, ())
    os.utime(file, (1, 1))
    keys._checked -= 10
    assert keys.find(first).name == keys.find(second).name == "ann"
    with pytest.raises(InputError, match="two keys called 'ann'"):
        new_key(file, "ann", {"*": "read"}, ())
    value = json.loads(file.read_text())
    value["keys"] = value["keys"][1:]
    file.write_text(json.dumps(value))
    keys._checked -= 10
    assert keys.find(first) is None
    assert keys.find(second) is not None
    file.write_text("{")
    keys._checked -= 10
    assert keys.find(second) is not None, "a broken file changes nothing"
    assert "keys.json" in keys.trouble


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        '{"keys": [{"name": "a", "sha256": "x"}]}',
        '{"keys": [{"name": "A", "sha256": "' + "0" * 64 + '"}]}',
        '{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "rights": {"*": "all"}}]}',
        '{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "rights": {"../x": "read"}}]}',
        '{"keys": [{"name": "a", "sha256": "' + "0" * 64 + '", "right": "read"}]}',
    ],
)
def test_a_keys_file_that_cannot_be_used_is_an_error(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(InputError, match=r"keys\.json"):
        read_keys(file)


def test_a_key_that_says_more_than_it_may_is_not_made(file: Path) -> None:
    for name, rights in (("A b", {}), ("a", {"*": "owner"}), ("a", {"../x": "read"})):
        with pytest.raises(InputError):
            new_key(file, name, rights, ())
    assert not file.exists()
