"""The OpenAPI document holds: schemathesis asks every operation, and every answer is documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.specs.openapi import checks
from serving import BIRDS, Lengths, Log, in_process, make_birds, on_a_port
from toys import ToyDense, ToyEncoder

from cormorant.api.server.app import create_app
from cormorant.api.server.openapi import LINKS
from cormorant.api.server.settings import Settings

WANTED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


@schemathesis.serializer("application/x-ndjson")
def lines_as_they_are(_: Any, value: Any) -> bytes:
    """schemathesis has none of its own for this type."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    root = tmp_path_factory.mktemp("root")
    make_birds(root / "birds.cm")
    app = create_app(
        Settings(root=root, warm=False),
        log=Log().logger,
        scorers={"0": Lengths()},
        encoders={"0": ToyEncoder(ToyDense(dim=4))},
    )
    with on_a_port(app) as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def ask(case: Any) -> None:
    """Send a case; whatever it is, the server answers as it said it would, and does not fail."""
    response = case.call(timeout=30)
    assert response.status_code not in (500, 503, 507), response.text
    case.validate_response(response, checks=WANTED)


def operations() -> list[tuple[str, str]]:
    """Every operation but the bulk, whose lines schemathesis cannot write."""
    document = create_app(Settings(), log=Log().logger).openapi()
    return [
        (path, method)
        for path, methods in document["paths"].items()
        for method in methods
        if (path, method) != ("/v1/collections/{name}/documents", "post")
        and path not in ("/readyz", "/metrics")
    ]


@pytest.mark.parametrize(("path", "method"), operations())
def test_every_answer_is_documented_and_none_is_a_failure(
    schema: Any, path: str, method: str
) -> None:
    strategy = schema[path][method.upper()].as_strategy()

    @settings(
        max_examples=6,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=strategy)
    def test(case: Any) -> None:
        ask(case)

    test()


def test_operations_that_lead_to_each_other_hold(tmp_path: Path) -> None:
    """What one answer gives is asked of another: collections, indexes, documents."""
    app = create_app(
        Settings(root=tmp_path, warm=False),
        log=Log().logger,
        scorers={"0": Lengths()},
        encoders={"0": ToyEncoder(ToyDense(dim=4))},
    )
    reached: set[tuple[str, int]] = set()
    lines = "".join(json.dumps(bird.as_json()) + "\n" for bird in BIRDS)
    with on_a_port(app) as url, httpx2.Client(base_url=url) as client:
        described = schemathesis.openapi.from_url(f"{url}/openapi.json")
        described.config.generation.update(modes=[schemathesis.GenerationMode.POSITIVE])
        machine = described.as_state_machine()

        class Journey(machine):  # type: ignore[misc, valid-type]
            def setup(self) -> None:
                """Every journey begins with the same: one collection, of birds."""
                for item in client.get("/v1/collections").json()["collections"]:
                    client.delete(f"/v1/collections/{item['name']}")
                assert client.post("/v1/collections", json={"name": "birds"}).status_code == 201
                url = "/v1/collections/birds/documents"
                ndjson = {"content-type": "application/x-ndjson"}
                assert client.post(url, content=lines, headers=ndjson).json()["added"] == 3

            def before_call(self, case: Any) -> None:
                """What no schema can guess is given; what depends on the time is left out."""
                name = case.operation.definition.raw["operationId"]
                if isinstance(case.body, dict):
                    case.body.pop("timeout_ms", None)
                    case.body.pop("when", None)
                    if name == "add_index":
                        case.body["settings"] = {"kind": "bm25", "k1": 0.9}
                if name == "scroll" and case.query:
                    case.query.pop("filter", None)
                    case.query.pop("after", None)

            def validate_response(self, response: Any, case: Any, **more: Any) -> None:
                name = case.operation.definition.raw["operationId"]
                reached.add((name, response.status_code))
                assert response.status_code < 500, response.text
                case.validate_response(response, checks=WANTED[:-1])

        Journey.run(
            settings=settings(
                max_examples=40,
                stateful_step_count=6,
                phases=[Phase.generate],
                deadline=None,
                derandomize=True,
                database=None,
                suppress_health_check=list(HealthCheck),
            )
        )
    assert {("create_collection", 201), ("scroll", 200)} <= reached, sorted(reached)


def test_links_lead_to_operations_that_there_are() -> None:
    """Operations once had other names than the links: nothing led anywhere."""
    document = create_app(Settings(), log=Log().logger).openapi()
    found = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = {operation["operationId"] for operation in found}
    assert {name for name, _ in LINKS} | {to for links in LINKS.values() for to in links} <= names
    linked = {
        (operation["operationId"], status)
        for operation in found
        for status, answer in operation["responses"].items()
        if "links" in answer
    }
    assert linked == LINKS.keys()


GOOD: dict[str, Any] = {
    "create_collection": {"name": "new"},
    "add_index": {"name": "extra", "settings": "bm25"},
    "search": {"query": "fish"},
    "search_batch": {"queries": ["fish"]},
    "add_documents": "".join(json.dumps(bird.as_json()) + "\n" for bird in BIRDS),
}
"""Bodies that are right, by operation."""


@pytest.mark.parametrize(("source", "target"), [(key, to) for key in LINKS for to in LINKS[key]])
def test_every_link_can_be_followed(tmp_path: Path, source: tuple[str, str], target: str) -> None:
    """What the answer to a right request leads to is there: no link ends in a 404."""
    make_birds(tmp_path / "birds.cm")
    document = create_app(Settings(), log=Log().logger).openapi()
    places = {
        operation["operationId"]: (method, path)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    with in_process(root=tmp_path) as client:

        def ask_for(operation: str, values: dict[str, Any]) -> Any:
            method, path = places[operation]
            inside = {key: value for key, value in values.items() if f"{{{key}}}" in path}
            query = {key: value for key, value in values.items() if key not in inside}
            body = GOOD.get(operation)
            sent = {"content": body} if isinstance(body, str) else {"json": body}
            kind = "application/x-ndjson" if isinstance(body, str) else "application/json"
            return client.request(
                method,
                path.format(**{key: quote(value, safe="") for key, value in inside.items()}),
                params=query,
                headers={"content-type": kind},
                **(sent if body is not None else {}),
            )

        operation, status = source
        asked = {"name": "birds", "limit": 1} if operation == "scroll" else {"name": "birds"}
        answer = ask_for(operation, asked)
        assert answer.status_code == int(status), answer.text
        body = GOOD.get(operation)
        given = {"$request.path.name": "birds"}
        if isinstance(body, dict):
            given |= {f"$request.body#/{field}": content for field, content in body.items()}
        values = {}
        for parameter, expression in LINKS[source][target].items():
            where, _, pointer = expression.partition("#/")
            value: Any = given.get(expression)
            if where == "$response.body":
                value = answer.json()
                for step in pointer.split("/"):
                    value = value[int(step) if step.isdigit() else step]
            values[parameter] = value
        followed = ask_for(target, values)
        assert followed.status_code < 300, followed.text


def test_a_bulk_of_anything_is_answered(tmp_path: Path) -> None:
    from hypothesis import strategies

    make_birds(tmp_path / "birds.cm")
    pieces = strategies.sampled_from(
        [b'{"id": "', b'"', b'"text": ', b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\r", b"\0",
         b"\xff", b"null", b"NaN", b"1e999", b"-0", b'"\\ud800"', b'"a"', b"9" * 5000, b" ",
         b'{"id":"a","text":"b"}\n', b'{"id":"a","text":"b","metadata":',
         b'"vectors": {"bm25": [1]}']
    )  # fmt: skip

    with in_process(root=tmp_path) as client:

        @settings(max_examples=60, deadline=None, derandomize=True, database=None)
        @given(strategies.lists(pieces, max_size=12))
        def test(parts: list[bytes]) -> None:
            answer = client.post(
                "/v1/collections/birds/documents",
                content=b"".join(parts),
                headers={"content-type": "application/x-ndjson"},
            )
            assert answer.status_code == 200, answer.text
            for error in answer.json()["errors"]:
                assert error["line"] >= 1
                assert error["code"] in ("invalid_input", "limit_exceeded", "unknown_name")

        test()
