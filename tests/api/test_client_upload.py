"""Bulk uploads over a line that breaks: nothing lost, nothing doubled, every bad line told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import Script, problem, reply

import cormorant as cm
from cormorant.api.client import Retries, upload

BROKEN = httpx2.RemoteProtocolError("peer closed connection")


class Store:
    """A server that keeps documents by id, as lines come in; ``faults`` happen to its requests.

    A fault ``(when, how)``: before anything is kept, after half the lines are, or after all are.
    """

    def __init__(self, *faults: str, most_bytes: int = 1 << 40) -> None:
        self.documents: dict[str, Any] = {}
        self.kept_lines = 0
        self.faults = list(faults)
        self.most_bytes = most_bytes
        self.sizes: list[int] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            name = request.url.path.rsplit("/", 1)[1]
            found = self.documents.get(name)
            return reply(found) if found else problem(404, "unknown_name", field="id")
        body = request.content
        if len(body) > self.most_bytes:
            return problem(413, "too_large")
        lines = body.splitlines()
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "before":
            raise BROKEN
        if fault == "busy":
            return problem(429, "overloaded", retry_after="0")
        self.sizes.append(len(body))
        errors = []
        for number, line in enumerate(lines[: len(lines) // 2] if fault == "half" else lines, 1):
            value = json.loads(line)
            if value["text"].startswith("bad"):
                errors.append(
                    {"line": number, "code": "invalid_input", "detail": "is bad", "field": "text"}
                )
            elif value["text"].startswith("full"):
                errors.append({"line": number, "code": "disk_full", "detail": "no space left"})
            else:
                self.documents[value["id"]] = value
                self.kept_lines += 1
        if fault in ("half", "after"):
            raise BROKEN
        if fault == "html":
            return httpx2.Response(502, text="<html>")
        return reply({"added": len(lines) - len(errors), "version": 1, "errors": errors})


def _documents(count: int, text: str = "text") -> Iterator[cm.Document]:
    return (cm.Document(id=f"d{i}", text=f"{text} {i}", labels=["x"]) for i in range(count))


@pytest.fixture(autouse=True)
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of about ten of these documents."""
    monkeypatch.setattr(upload.Upload.__init__, "__defaults__", (800,))


def test_a_stream_is_sent_in_parts_of_bounded_bytes() -> None:
    store = Store()
    told: list[tuple[str, int]] = []
    added = Script(store).papers.add(_documents(95), progress=lambda *what: told.append(what))
    assert added == 95 == len(store.documents)
    assert max(store.sizes) <= 800
    assert len(store.sizes) > 5
    assert {what for what, _ in told} == {"added"}
    assert sum(count for _, count in told) == 95
    assert store.documents["d3"] == cm.Document(id="d3", text="text 3", labels=["x"]).as_json()


def test_nothing_is_read_ahead_of_what_is_sent() -> None:
    store, seen = Store(), []

    def documents() -> Iterator[cm.Document]:
        for document in _documents(95):
            seen.append(len(store.documents))
            yield document

    Script(store).papers.add(documents())
    assert max(n - kept for n, kept in enumerate(seen)) <= 25


def test_a_document_larger_than_a_part_goes_alone() -> None:
    store = Store()
    big = cm.Document(id="big", text="x" * 5000)
    assert Script(store).papers.add([*_documents(3), big, cm.Document(id="z", text="z")]) == 5
    assert len(store.documents) == 5


@pytest.mark.parametrize("fault", ["before", "half", "after", "busy", "html"])
def test_a_part_that_broke_off_is_sent_again(fault: str) -> None:
    store = Store("", fault, "", fault, fault)
    assert Script(store).papers.add(_documents(95)) == 95
    assert list(store.documents) == [f"d{i}" for i in range(95)]
    again = Store("", fault, "", fault, fault)
    assert asyncio.run(Script(again).async_papers.add(_documents(95))) == 95
    assert again.documents == store.documents


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["", "before", "half", "after", "busy", "html"]), max_size=30),
    st.integers(0, 60),
)
def test_whatever_breaks_nothing_is_lost_or_doubled(faults: list[str], count: int) -> None:
    store = Store(*faults)
    script = Script(store, retries=Retries(40, total_seconds=1e6))
    assert script.papers.add(_documents(count)) == count
    assert list(store.documents) == [f"d{i}" for i in range(count)]


def test_when_the_line_stays_broken_the_error_says_what_is_in() -> None:
    store = Store("", *["before"] * 100)
    with pytest.raises(cm.ServiceError, match="the connection to .* broke") as caught:
        Script(store).papers.add(_documents(95))
    kept = len(store.documents)
    assert 0 < kept < 95
    assert any(f"{kept} documents of this upload are in" in note for note in caught.value.__notes__)


def test_bad_lines_are_told_after_the_good_ones_are_in() -> None:
    store = Store()
    documents = list(_documents(95))
    for place in (17, 60):
        documents[place] = cm.Document(id=f"d{place}", text="bad")
    with pytest.raises(cm.InputError, match="document 18 of this upload, 'd17'") as caught:
        Script(store).papers.add(documents)
    assert "2 refused in all; 93 of 95 documents were added" in str(caught.value)
    assert (caught.value.line, caught.value.field) == (18, "text")
    assert len(store.documents) == 93


def test_a_server_in_trouble_ends_the_upload() -> None:
    store = Store()
    documents = [*_documents(40), cm.Document(id="f", text="full"), *_documents(0)]
    documents += [cm.Document(id=f"e{i}", text="later") for i in range(40)]
    with pytest.raises(cm.StorageError, match="no space left") as caught:
        Script(store).papers.add(documents)
    assert any("documents of this upload are in" in note for note in caught.value.__notes__)


def test_what_the_server_finds_too_large_is_halved() -> None:
    store = Store(most_bytes=300)
    assert Script(store).papers.add(_documents(95)) == 95
    assert len(store.documents) == 95
    with pytest.raises(cm.InputError, match="document 2 .*more than the server takes.*1 refused"):
        Script(store).papers.add([*_documents(1), cm.Document(id="x", text="x" * 400)])


@pytest.mark.parametrize(
    "answer",
    [
        {"added": 1, "version": 1, "errors": []},
        {"added": 3, "version": 1, "errors": []},
        {"added": 10**400, "version": 1, "errors": []},
        {"added": -1, "version": 1, "errors": [{"line": 1, "code": "x", "detail": "x"}] * 3},
        {"added": 1, "version": 1, "errors": [{"line": 9, "code": "x", "detail": "x"}]},
        {"added": 1, "version": 1, "errors": [{"line": 0, "code": "x", "detail": "x"}]},
        {"added": 1, "version": 1, "errors": [{"line": 1}]},
        {"added": True, "version": 1, "errors": []},
    ],
)
def test_a_reply_that_does_not_add_up(answer: dict[str, Any]) -> None:
    with pytest.raises(cm.ServiceError):
        Script(reply(answer)).papers.add(_documents(2))


def test_more_errors_than_a_server_tells() -> None:
    errors = [{"line": 1, "code": "invalid_input", "detail": "is bad"}]
    answer = {"added": 0, "version": 1, "errors": errors, "errors_left_out": 1}
    with pytest.raises(cm.InputError, match="2 refused in all; 0 of 2"):
        Script(reply(answer)).papers.add(_documents(2))


def test_an_id_twice_is_an_error_in_one_part_and_across_parts() -> None:
    double = cm.Document(id="d1", text="again")
    store = Store()
    with pytest.raises(cm.InputError, match="'d1' is given twice"):
        Script(store).papers.add([*_documents(3), double])
    assert store.documents == {}
    with pytest.raises(cm.InputError, match="'d1' is given twice"):
        Script(store).papers.add([*_documents(95), double])
    assert store.documents["d1"]["text"] == "text 1"


@pytest.mark.parametrize("bad", [3, None, "x", {"id": "1"}, cm.Document(id="1", text="x")])
def test_what_is_no_stream_of_documents(bad: Any) -> None:
    papers = Script(Store()).papers
    with pytest.raises(cm.InputError):
        papers.add(bad)
    with pytest.raises(cm.InputError):
        papers.add([bad] if not isinstance(bad, cm.Document) else [bad, "x"])


def test_an_asynchronous_stream() -> None:
    async def documents() -> AsyncIterator[cm.Document]:
        for document in _documents(30):
            await asyncio.sleep(0)
            yield document

    store = Store()
    assert asyncio.run(Script(store).async_papers.add(documents())) == 30
    assert len(store.documents) == 30


def test_vectors_travel_with_their_documents() -> None:
    store = Store()
    vectors = np.arange(60, dtype=np.float32).reshape(30, 2) / 3
    Script(store).papers.add(_documents(30), vectors={"dense": vectors})
    for place in range(30):
        sent = store.documents[f"d{place}"]["vectors"]["dense"]
        assert np.array_equal(np.array(sent, np.float32), vectors[place])
    papers = Script(Store()).papers
    for wrong, message in (
        (vectors[:29], "29 vectors for 30 documents"),
        (np.full((30, 2), np.nan), "JSON"),
        ("x" * 30, "numbers"),
        (3, "array"),
    ):
        with pytest.raises(cm.InputError, match=message):
            papers.add(list(_documents(30)), vectors={"dense": wrong})
    with pytest.raises(cm.InputError, match="vectors for"):
        papers.add(_documents(30), vectors={"dense": vectors[:29]})
    with pytest.raises(cm.InputError, match="31 vectors for 30 documents"):
        papers.add(_documents(30), vectors={"dense": np.zeros((31, 2))})
