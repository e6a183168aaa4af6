"""The OpenAPI document holds: schemathesis asks every operation, and every answer is documented."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi import checks
from serving import Lengths, Log, make_birds, on_a_port
from toys import ToyDense, ToyEncoder

from cormorant.api.server.app import create_app
from cormorant.api.server.settings import Settings

WANTED = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
    checks.negative_data_rejection,
]


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


def test_a_bulk_of_anything_is_answered(tmp_path: Path) -> None:
    from hypothesis import strategies
    from serving import in_process

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
