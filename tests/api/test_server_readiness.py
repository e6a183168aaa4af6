"""What turns ``/readyz`` red, what does not, and what a server for reading refuses."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from serving import in_process, make_birds

import cormorant as cm
from cormorant.api.server.logs import log_serving, make_log


def test_a_check_that_finds_damage_turns_readyz_red_until_one_finds_none(tmp_path: Path) -> None:
    make_birds(tmp_path / "birds.cm")
    array = max(tmp_path.glob("birds.cm/segments/bm25/*/*.npy"), key=lambda p: p.stat().st_size)
    with in_process(root=tmp_path) as client:
        client.app.state.server.warm = True
        assert client.get("/readyz").status_code == 200
        sound = array.read_bytes()
        array.write_bytes(sound[:-1] + bytes([sound[-1] ^ 255]))
        assert not client.post("/v1/collections/birds/check").json()["ok"]
        red = client.get("/readyz")
        assert (red.status_code, red.json()["collections"]["birds"]["code"]) == (503, "corruption")
        assert array.name in red.json()["collections"]["birds"]["detail"]
        assert str(tmp_path) not in red.text
        array.write_bytes(sound)
        assert client.post("/v1/collections/birds/check").json()["ok"]
        assert client.get("/readyz").status_code == 200


def test_a_collection_that_is_being_made_makes_no_server_less_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with in_process(root=tmp_path) as client:
        registry = client.app.state.server.registry
        troubles: list[Any] = []
        create = cm.Collection.create

        def spy(*arguments: Any, **more: Any) -> cm.Collection:
            troubles.append(registry.troubles())
            return create(*arguments, **more)

        monkeypatch.setattr(cm.Collection, "create", spy)
        assert client.post("/v1/collections", json={"name": "new"}).status_code == 201
        assert troubles == [{}]


def test_a_server_for_reading_takes_no_judgement(tmp_path: Path) -> None:
    birds = make_birds(tmp_path / "birds.cm")
    with in_process(collections=(birds,), read_only=True) as client:
        body = {"query_id": "q", "query": "x", "document_id": "c", "grade": 1}
        answer = client.put("/v1/collections/birds/judgements", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "read_only")
        assert not list(tmp_path.glob("*.judgements.jsonl"))


def test_a_collection_that_was_repaired_is_opened_without_a_restart(tmp_path: Path) -> None:
    make_birds(tmp_path / "birds.cm")
    array = max(tmp_path.glob("birds.cm/segments/bm25/*/*.npy"), key=lambda p: p.stat().st_size)
    sound = array.read_bytes()
    array.write_bytes(sound[:-1] + bytes([sound[-1] ^ 255]))
    body = {"query": "fish"}
    with in_process(root=tmp_path) as client:
        url = "/v1/collections/birds/search"
        assert client.post(url, json=body).json()["code"] == "corruption"
        array.write_bytes(sound)
        deadline = time.monotonic() + 20
        while client.post(url, json=body).status_code != 200:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_part_of_a_batch_comes_though_nothing_was_ready(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    birds = make_birds(tmp_path / "birds.cm")
    with in_process(collections=(birds,)) as client:
        monkeypatch.setattr("cormorant.api.server.searching.grace_seconds", lambda seconds: 0.05)
        search = cm.Collection.search_batch

        def slow(*arguments: Any, **more: Any) -> Any:
            time.sleep(1.0)
            return search(*arguments, **more)

        monkeypatch.setattr(cm.Collection, "search_batch", slow)
        body = {"queries": ["fish", "owl"], "timeout_ms": 50, "partial": True}
        answer = client.post("/v1/collections/birds/search/batch", json=body)
        assert answer.status_code == 200, answer.text
        assert [result["hits"] for result in answer.json()["results"]] == [[], []]
        assert "before any answer" in answer.json()["results"][1]["flags"][0]
        whole = client.post(
            "/v1/collections/birds/search/batch", json={**body, "timeout_ms": 5000}
        ).json()
        assert len(whole["results"][0]["hits"]) == 2


@pytest.mark.parametrize("watched", [True, False])
def test_a_person_at_a_terminal_is_told_the_address_in_a_plain_line(
    monkeypatch: pytest.MonkeyPatch, watched: bool
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: watched)
    monkeypatch.setattr(sys, "stderr", terminal)
    log_serving(make_log(), "http://127.0.0.1:8080/")
    logged, *plain = terminal.getvalue().splitlines()
    assert '"event": "serving"' in logged
    assert plain == ["serving at http://127.0.0.1:8080/, Ctrl-C stops"] * watched
