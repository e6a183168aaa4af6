"""Replies: what is read, and what is refused instead of guessed at."""

from __future__ import annotations

import copy
import json
from typing import Any

import httpx2
import pytest
from scripted import DESCRIBED, FOUND, Script, problem, reply

import cormorant as cm
from cormorant import errors


def test_a_result_reads_as_an_embedded_one() -> None:
    (hit,) = result = Script(reply(FOUND)).papers.search("one")
    assert isinstance(result, cm.Result)
    assert (hit.rank, hit.id, hit.score, hit.title, hit.passage) == (1, "a", 1.5, "A", "one")
    assert hit.document == cm.Document(id="a", text="one two", title="A", metadata={"n": 1})
    assert hit.explanation is None
    assert (result.version, result.flags, result.total_ms) == (7, ("late",), 0.5)
    assert result.as_json() == FOUND


def test_explanations_come_along() -> None:
    found = copy.deepcopy(FOUND)
    found["hits"][0]["explanation"] = {"why": 1}  # type: ignore[index]
    result = Script(reply(found)).papers.search("one", explain=True)
    assert result[0].explanation == {"why": 1}


MIRRORED = [
    ("invalid_input", 422, errors.InputError),
    ("limit_exceeded", 422, errors.InputError),
    ("too_large", 413, errors.InputError),
    ("unknown_name", 404, errors.UnknownNameError),
    ("unknown_name", 422, errors.UnknownNameError),
    ("collection_exists", 409, errors.CollectionExistsError),
    ("locked", 409, errors.LockedError),
    ("read_only", 409, errors.ReadOnlyError),
    ("conflict", 409, errors.CollectionError),
    ("corruption", 500, errors.CorruptionError),
    ("disk_full", 507, errors.DiskFullError),
    ("missing_model", 503, errors.ModelNotFoundError),
    ("shard_unavailable", 503, errors.ShardUnavailableError),
    ("unauthorized", 401, errors.UnauthorizedError),
    ("forbidden", 403, errors.ForbiddenError),
    ("deadline_exceeded", 504, errors.DeadlineError),
    ("overloaded", 429, errors.OverloadedError),
    ("not_ready", 503, errors.OverloadedError),
    ("internal", 500, errors.ServiceError),
    ("model_failed", 502, errors.ServiceError),
    ("unsupported_media_type", 415, errors.ServiceError),
    ("of_the_future", 418, errors.ServiceError),
]


@pytest.mark.parametrize(("code", "status", "kind"), MIRRORED)
def test_a_problem_is_the_error_an_embedded_collection_raises(
    code: str, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as caught:
        Script(problem(status, code, "so it is")).papers.search("x")
    assert type(caught.value) is kind
    assert "so it is" in str(caught.value)
    if isinstance(caught.value, cm.ServiceError):
        assert (caught.value.code, caught.value.request_id) == (code, "r1")
    else:
        assert any("request r1" in note for note in caught.value.__notes__)


def test_every_code_of_the_server_has_an_error() -> None:
    problems = pytest.importorskip("cormorant.api.server.problems")
    known = {code for code, _, _ in MIRRORED}
    known |= {"method_not_allowed", "request_timeout", "client_closed"}  # ServiceError all
    codes = {code for _, code in problems._BY_ERROR}
    assert codes <= known, codes - known


def test_field_and_line_are_told_once() -> None:
    answer = problem(422, "invalid_input", "field 'k': is from 1 to 1000", field="k")
    with pytest.raises(cm.InputError, match=r"^field 'k': is from 1 to 1000(\n|$)") as caught:
        Script(answer).papers.search("x")
    assert (caught.value.field, caught.value.line) == ("k", None)


def test_a_damaged_file_is_named() -> None:
    answer = problem(500, "corruption", "p.cm/head: bad", file="p.cm/head")
    with pytest.raises(cm.CorruptionError, match=r"^p\.cm/head: bad(\n|$)") as caught:
        Script(answer).papers.search("x")
    assert caught.value.file == "p.cm/head"
    with pytest.raises(cm.CorruptionError, match=r"^bad(\n|$)") as caught:
        Script(problem(500, "corruption", "bad")).papers.search("x")
    assert caught.value.file == ""


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>502</html>",
        b"null",
        b"[]",
        b"{}",
        b'{"code": 5}',
        b'{"code": null, "detail": "x"}',
        b'{"code": "x"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"code": "x", "status": 1e999}',
        b'{"code": "x", "line": ' + b"9" * 5000 + b"}",
    ],
)
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 418, 500, 599])
def test_an_error_page_is_an_error_too(status: int, body: bytes) -> None:
    for kind in ("text/html", "application/problem+json", ""):
        answer = httpx2.Response(status, content=body, headers={"content-type": kind})
        with pytest.raises(cm.CormorantError):
            Script(answer).papers.search("x")


@pytest.mark.parametrize(
    "more",
    [{"field": 3}, {"line": "x"}, {"line": True}, {"detail": None}, {"detail": {}}, {"title": 3}],
)
def test_a_problem_with_odd_members_is_still_told(more: dict[str, Any]) -> None:
    answer = json.loads(problem(422, "invalid_input").content) | more
    headers = {"content-type": "application/problem+json; charset=utf-8"}
    with pytest.raises(cm.InputError):
        Script(httpx2.Response(422, json=answer, headers=headers)).papers.search("x")


GARBAGE: list[bytes] = [
    b"",
    b"<html>Welcome</html>",
    b"null",
    b"3",
    b"[]",
    b"{}",
    b'"x"',
    b"\xff",
    b"[" * 100_000,
    b'{"hits": NaN}',
    b'{"hits": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("body", GARBAGE, ids=lambda body: repr(body[:12]))
def test_a_reply_that_is_none_is_a_service_error(body: bytes) -> None:
    answer = httpx2.Response(200, content=body)
    papers = Script(answer).papers
    calls = [
        lambda: papers.search("x"),
        lambda: papers.search_batch(["x"]),
        lambda: papers.get("x"),
        lambda: list(papers.scroll()),
        lambda: len(papers),
        lambda: papers.delete(["x"]),
        lambda: papers.check(),
        lambda: papers.indexes,
        lambda: papers.highlights("x", "y"),
        lambda: papers.add([cm.Document(id="1", text="x")]),
        lambda: Script(answer).client.collections(),
        lambda: Script(answer).client.rerank("x", ["y"], model="m"),
        lambda: Script(answer).client.embed(["x"], model="m"),
    ]
    for number, call in enumerate(calls):
        with pytest.raises(cm.ServiceError, match="none that a Cormorant server gives"):
            call()
            pytest.fail(f"call {number} took it")


def _with(path: str, content: Any) -> dict[str, Any]:
    """FOUND with one member replaced, or removed for ``...``."""
    value: Any = copy.deepcopy(FOUND)
    at, names = value, path.split(".")
    for name in names[:-1]:
        at = at[int(name) if name.isdigit() else name]
    if content is ...:
        del at[names[-1]]
    else:
        at[names[-1]] = content
    return value


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("hits", {}),
        ("hits", [3]),
        ("hits", ...),
        ("version", True),
        ("version", 1.5),
        ("version", ...),
        ("flags", "late"),
        ("timings_ms", []),
        ("timings_ms.search", "x"),
        ("hits.0.id", 3),
        ("hits.0.id", ""),
        ("hits.0.id", ...),
        ("hits.0.text", None),
        ("hits.0.title", 1),
        ("hits.0.metadata", []),
        ("hits.0.score", "1"),
        ("hits.0.score", True),
        ("hits.0.score", 10**400),
        ("hits.0.span", [0]),
        ("hits.0.span", [0, "x"]),
        ("hits.0.span", [0, 1, 2]),
        ("hits.0.span", 3),
    ],
)
def test_a_result_of_another_shape_is_not_believed(path: str, content: Any) -> None:
    with pytest.raises(cm.ServiceError):
        Script(reply(_with(path, content))).papers.search("x")


def test_an_infinite_score_is_not_believed() -> None:
    body = json.dumps(FOUND).replace("1.5", "1e999").encode()
    with pytest.raises(cm.ServiceError, match="not finite"):
        Script(httpx2.Response(200, content=body)).papers.search("x")


def test_as_many_results_as_queries() -> None:
    with pytest.raises(cm.ServiceError, match="1 results for 2 queries"):
        Script(reply({"results": [FOUND]})).papers.search_batch(["a", "b"])


def test_a_check_that_contradicts_itself() -> None:
    answer = {"ok": True, "files": 3, "documents": 1, "problems": ["x"]}
    with pytest.raises(cm.ServiceError):
        Script(reply(answer)).papers.check()


def test_a_missing_document_is_none_and_a_missing_collection_an_error() -> None:
    assert Script(problem(404, "unknown_name", field="id")).papers.get("x") is None
    with pytest.raises(errors.UnknownNameError):
        Script(problem(404, "unknown_name", field="collection")).papers.get("x")
    # A server that names no field: the collection is asked for.
    assert Script(problem(404, "unknown_name"), reply(DESCRIBED)).papers.get("x") is None


def test_waiting_for_indexes() -> None:
    def described(behind: int, error: str | None = None) -> httpx2.Response:
        indexes = {"bm25": {"rows_behind": behind}}
        return reply({**DESCRIBED, "indexes": indexes, "background_error": error})

    script = Script(described(5), described(2), described(0))
    assert script.papers.wait_indexed() is True
    assert len(script.time.slept) == 2
    script = Script(described(5))
    assert script.papers.wait_indexed(3.0) is False
    assert sum(script.time.slept) == pytest.approx(3.0)
    assert Script(described(5)).papers.wait_indexed(0) is False
    assert Script(described(0, "old")).papers.wait_indexed() is True
    with pytest.raises(cm.ServiceError, match="disk full"):
        Script(described(5, "disk full")).papers.wait_indexed()


def test_embed_and_rerank() -> None:
    import numpy as np

    answer = {"model": "m", "dim": 2, "vectors": [[1.0, 0.5]], "cut": [True]}
    embedded = Script(reply(answer)).client.embed(["x"], model="m")
    assert embedded.vectors.dtype == np.float32
    assert (embedded.vectors.tolist(), embedded.cut) == ([[1.0, 0.5]], [True])
    for wrong in ({"dim": 3}, {"cut": []}, {"vectors": [["x", 1]]}, {"vectors": [[1e39, 1.0]]}):
        with pytest.raises(cm.ServiceError):
            Script(reply({**answer, **wrong})).client.embed(["x"], model="m")
    ranked = {"id": "1", "results": [{"index": 1, "relevance_score": 0.5}], "meta": {}}
    (best,) = Script(reply(ranked)).client.rerank("q", ["a", "b"], model="m", top_n=1)
    assert (best.index, best.score) == (1, 0.5)
