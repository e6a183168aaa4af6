"""What long work ends in: places to write are looked at first, and one failure loses nothing."""

import json
import shutil
from pathlib import Path

import pytest

WORDS = ("--json", "new/folder/out.json")


@pytest.fixture
def runs(dataset):
    for name, document in (("a", "p2"), ("b", "p1")):
        Path(f"{name}.run").write_text(f"q1 Q0 {document} 1 1.0 t\n")
    return dataset / "qrels" / "test.tsv"


@pytest.mark.parametrize("option", ["--json", "--runs", "--report"])
def test_eval_looks_at_every_place_first(run, dataset, monkeypatch, option):
    """It failed at the very end, after all searches."""
    if option == "--report":
        pytest.importorskip("matplotlib", reason="needs: pip install cormorant[report]")
    Path("file").write_text("")
    monkeypatch.setattr("cormorant.eval.datasets.load_dataset", None)
    code, _, err = run("eval", dataset, option, "file/out.json")
    assert code == 6
    assert "cannot be written" in err


def test_compare_and_pool_look_first(run, runs):
    Path("file").write_text("")
    nothing = ("nothing.run", "--qrels", "nothing")
    for words in (
        ("compare", *nothing, "--json", "file/out.json"),
        ("pool", *nothing, "--into", "file/pool.tsv"),
        ("pool", *nothing, "--into", "."),
        ("bench", "nothing", "--json", "file/out.json"),
    ):
        code, _, err = run(*words)
        assert (code, "cannot be written" in err) == (6, True), err


def test_folders_are_made(run, dataset, runs):
    for words in (
        ("eval", dataset, "--robustness", *WORDS),
        ("compare", "a.run", "b.run", "--qrels", runs, *WORDS),
        ("pool", "a.run", "--into", "new/folder/out.json"),
    ):
        code, _, err = run(*words)
        assert code == 0, err
        assert Path("new/folder/out.json").stat().st_size > 20
        shutil.rmtree("new")


def test_what_was_there_stays_until_there_is_something_better(run, dataset):
    Path("out.json").write_text("before")
    assert run("eval", dataset, "--pipeline", "nothing", "--json", "out.json")[0] == 2
    (dataset / "corpus.jsonl").write_text("x")
    assert run("eval", dataset, "--json", "out.json")[0] == 2
    assert Path("out.json").read_text() == "before"


@pytest.fixture
def sets(dataset, tmp_path):
    """Two that work, and between them one whose judgements name an unknown query."""
    for name in ("broken", "last"):
        shutil.copytree(dataset, tmp_path / name)
    with (tmp_path / "broken" / "qrels" / "test.tsv").open("a") as qrels:
        qrels.write("q9\tp1\t1\n")
    return dataset, tmp_path / "broken", tmp_path / "last"


def test_one_failing_set_loses_no_other(run, sets):
    code, out, err = run("eval", *sets, "--json", "out.json", "--runs", "runs")
    assert code == 2
    assert "1 judged queries are not in queries.jsonl" in err
    rows = [line.split() for line in out.splitlines()]
    assert [row[0] for row in rows if row[1:2] == ["bm25"]] == ["tiny", "last"]
    assert any(row[:4] == ["mean", "of", "2", "bm25"] for row in rows)
    assert ["not", "measured", "because"] in rows
    assert any(row[:1] == ["broken"] and "'q9'" in row for row in rows)
    value = json.loads(Path("out.json").read_text())
    assert [row["dataset"] for row in value["results"]] == ["tiny", "last"]
    (failure,) = value["failed"]
    assert failure["dataset"] == "broken"
    assert failure["error"].startswith("test.tsv:3: field 'query-id': 1 judged"), "no folders"
    assert len(list(Path("runs").iterdir())) == 4


def test_a_reason_is_whole(run, sets):
    """It was cut at its last slash."""
    (sets[1] / "qrels" / "test.tsv").unlink()
    code, out, _ = run("eval", *sets, "--json", "-")
    assert code == 2
    (failure,) = json.loads(out)["failed"]
    assert failure["error"].startswith("broken: no judgements in this folder; looked for qrels/")


def test_the_report_says_what_failed(run, sets):
    pytest.importorskip("matplotlib", reason="needs: pip install cormorant[report]")
    code, _, err = run("eval", *sets, "--report", "out")
    assert code == 2, err
    html = Path("out/index.html").read_text()
    assert "not measured" in html
    assert "last" in html


def test_nothing_that_worked_is_the_error_alone(run, sets):
    code, out, err = run("eval", sets[1], "missing")
    assert (code, out) == (2, "")
    assert "1 judged queries" in err


def test_another_kind_of_failure_loses_nothing_either(run, sets, monkeypatch, capsys):
    from cormorant.eval import runner

    real = runner.run_dataset

    def failing(data, *words, **named):
        if data.name == "last":
            raise MemoryError("no room")
        return real(data, *words, **named)

    monkeypatch.setattr("cormorant.eval.runner.run_dataset", failing)
    with pytest.raises(MemoryError):
        run("eval", sets[0], sets[2], "--json", "out.json")
    assert "no room" in capsys.readouterr().out
    value = json.loads(Path("out.json").read_text())
    assert [row["dataset"] for row in value["results"]] == ["tiny"]


def test_two_runs_of_one_name_are_two(run, dataset):
    """They were one pipeline, with a mean of its two "data sets"."""
    for folder, document in (("a", "p2"), ("b", "p1")):
        Path(folder).mkdir()
        Path(folder, "x.run").write_text(f"q1 Q0 {document} 1 1.0 t\n")
    words = ("eval", dataset, "--run", "a/x.run", "--run", "b/x.run", "--json", "-")
    code, out, err = run(*words)
    assert code == 0, err
    value = json.loads(out)
    assert [row["pipeline"] for row in value["results"]] == ["a/x.run", "b/x.run"]
    assert "averages" not in value
    code, out, err = run(*words, "--baseline", "b/x.run")
    assert code == 0, err
    assert json.loads(out)["results"][0]["against"]["measures"]["nDCG@10"]["wins"] == 1
    code, _, err = run("eval", dataset, "--run", "a/x.run", "--run", "a/x.run")
    assert code == 2
    assert "a/x.run: is given twice" in err
