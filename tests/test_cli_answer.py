"""``cormorant answer``, as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import Run
from endpoints import Streaming, answering_by

GOOD = "A diet rich in fibre lowers cholesterol [1]. It costs \x1b[31m9 euros."


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Streaming]:
    with answering_by(monkeypatch, lambda prompt: GOOD) as serving:
        yield serving


def test_an_answer_and_its_sources(run: Run, dataset: Path, endpoint: Streaming) -> None:
    assert run("index", dataset, "--into", "papers.cm")[0] == 0
    code, out, err = run("answer", "papers.cm", "fibre and cholesterol?", "--model", "openai:m")
    assert code == 0, err
    lines = out.splitlines()
    assert lines[0] == "A diet rich in fibre lowers cholesterol [1]. It costs  [31m9 euros."
    assert "note: 1 of 2 sentences are supported by no passage" in lines
    assert any(line.strip().startswith("[1] p2 0-40") for line in lines), out
    assert any("no passage supports: It costs" in line for line in lines), out
    assert lines[-1].startswith("openai:m: ")
    assert "\x1b" not in out


@pytest.mark.parametrize("words", [(), ("--no-stream",)])
def test_json(run: Run, dataset: Path, endpoint: Streaming, words: tuple[str, ...]) -> None:
    run("index", dataset, "--into", "papers.cm")
    asked = ("answer", "papers.cm", "cholesterol?", "--model", "openai:m", "-k", 1, *words)
    code, out, _ = run(*asked, "--json", "-")
    value = json.loads(out)
    assert code == 0
    assert value["text"] == GOOD
    assert len(value["result"]["hits"]) == 1
    code, out, _ = run(*asked, "--json", "answer.json", "--filter", '{"year": 2013}')
    assert (code, out.partition("\n")[0]) == (0, GOOD.replace("\x1b", " "))
    assert json.loads(Path("answer.json").read_text())["result"]["hits"][0]["id"] == "p1"


def test_what_cannot_be_answered(
    run: Run, dataset: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("CORMORANT_LLM_MODEL", raising=False)
    run("index", dataset, "--into", "papers.cm")
    code, _, err = run("answer", "papers.cm", "why?")
    assert code == 2
    assert "CORMORANT_LLM_MODEL" in err
    code, _, err = run("answer", "papers.cm", "cholesterol?", "--model", tmp_path)
    assert code == 3
    assert "not found" in err
    assert run("answer", "papers.cm", "why?", "--model", "m", "--mode", "fast")[0] == 2
    assert run("answer", "absent.cm", "why?", "--model", "m")[0] == 4
