"""What the command line says to somebody who meets it for the first time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from commands import Run
from typer.main import get_command

import cormorant as cm


def test_help_keeps_what_stands_in_brackets(run: Run) -> None:
    """The extras and defaults that help texts name are no markup."""
    from cormorant.__main__ import EXIT_CODES, app

    for name, command in get_command(app).commands.items():
        if not hasattr(command, "commands"):
            shown = "".join(run(name, "--help")[1].split())
            for option in command.params:
                assert "".join((option.help or "").split()) in shown, option.name
    assert "needs cormorant[report]" in run("eval", "--help")[1]
    out = " ".join(run("--help")[1].split())
    for code in {*dict(EXIT_CODES).values(), 0, 1, 130}:
        assert f" {code} " in out


def test_tune_says_that_optuna_is_missing_before_anything_is_read(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    code, _, err = run("tune", "no-such-folder")
    assert code == 3
    assert "pip install 'cormorant[tune]'" in err


def test_a_file_is_no_collection(run: Run, dataset: Path) -> None:
    corpus = dataset / "corpus.jsonl"
    before = corpus.read_bytes()
    for words in (("index", corpus, "--into", corpus), ("search", corpus, "x")):
        code, _, err = run(*words)
        assert code == 4
        assert "corpus.jsonl is a file, not a collection" in err
    assert corpus.read_bytes() == before


@pytest.mark.parametrize("words", [(), ("--pipeline", "bm25")])
@pytest.mark.parametrize("query", ["", " \t"])
def test_an_empty_query_is_refused(
    run: Run, dataset: Path, query: str, words: tuple[str, ...]
) -> None:
    run("index", dataset, "--into", "c.cm")
    code, out, err = run("search", "c.cm", query, *words)
    assert (code, out) == (2, "")
    assert "field 'query': is empty; ask something" in err


def test_no_blank_lines_where_stderr_is_no_terminal(run: Run, dataset: Path) -> None:
    code, out, err = run("index", dataset, "--into", "c.cm")
    assert (code, err) == (0, "")
    assert out.startswith("3 documents added or replaced in c.cm; it holds 3 ")
    assert run("index", dataset, "--into", "c.cm")[1] == out
    assert run("eval", dataset)[2] == ""


def test_a_pipeline_may_be_written_out(run: Run, dataset: Path) -> None:
    run("index", dataset, "--into", "c.cm")
    asked = ("search", "c.cm", "fibre", "--json", "-", "--pipeline")
    code, out, err = run(*asked, ' {"retrieve": ["bm25"], "feedback": "rm3"}')
    assert code == 0, err
    assert json.loads(out)["hits"][0]["id"] == "p2"
    code, _, err = run(*asked, '{"retreive": ["bm25"]}')
    assert code == 2
    assert "field 'retreive': a pipeline takes depth, " in err
    code, _, err = run(*asked, '{"retrieve": ["bm25", "dense"]}')
    assert code == 2
    assert 'several lists (bm25, dense) need a fusion, such as RRF(); in JSON "fuse": ' in err
    code, _, err = run(*asked, '{"retrieve"')
    assert code == 2
    assert "field '--pipeline': is not JSON" in err
    code, _, err = run("eval", dataset, "--pipeline", '{"retrieve": ["bm25"]}')
    assert code == 2
    assert "put the JSON into a file" in err
    code, _, err = run(*asked, "nope.json")
    assert (code, err) == (
        2, "cormorant: error: nope.json: cannot be read: No such file or directory\n",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            '{"id": "a", "text": "x"}\n{"id": "b"\r\n',
            "c.jsonl:2: not JSON: Expecting ',' delimiter at column 11",
        ),
        ("[\n", "l:1: not JSON: Expecting value at column 2; one JSON object a line is expected"),
        ("id,text\n", "at column 1; one JSON object a line is expected"),
    ],
)
def test_what_is_no_jsonl_is_said_with_its_column(run: Run, content: str, message: str) -> None:
    Path("c.jsonl").write_text(content)
    code, _, err = run("index", "c.jsonl", "--into", "c.cm")
    assert code == 2
    assert err.endswith(f"{message}\n")


def test_a_collection_that_a_server_holds_is_reached_through_it(run: Run, dataset: Path) -> None:
    run("index", dataset, "--into", "c.cm")
    with cm.Collection.open("c.cm"):
        code, _, err = run("index", dataset, "--into", "c.cm")
    assert code == 4
    assert "or ask the server that holds it, at its URL" in err
