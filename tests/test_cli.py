"""The command line, as a person or a program uses it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from commands import Run

import cormorant as cm


def test_index_search_check_backup_restore(run: Run, dataset: Path) -> None:
    code, out, _ = run("index", dataset, "--into", "p.cm")
    assert (code, out.split()[0]) == (0, "3")
    code, out, _ = run("search", "p.cm", "lowering cholesterol", "-k", 2)
    assert code == 0
    assert out.index("p1") < out.index("p2")
    assert "Statins" in out
    code, out, _ = run("search", "p.cm", "cholesterol", "--filter", '{"year": {"gte": 2000}}')
    assert "p1" in out
    assert "p2" not in out
    code, out, _ = run("search", "p.cm", "cholesterol", "--json", "-", "--explain")
    value = json.loads(out)
    assert [hit["id"] for hit in value["hits"]] == ["p1", "p2"]
    assert value["hits"][0]["explanation"]["bm25"]["rank"] == 1
    code, out, _ = run("search", "p.cm", "zebra")
    assert (code, out.strip()) == (0, "no document matches")
    assert run("check", "p.cm")[0] == 0
    assert run("backup", "p.cm", "copy.cm")[0] == 0
    assert run("restore", "copy.cm", "again.cm")[0] == 0
    code, out, _ = run("info", "again.cm", "--json", "-")
    assert json.loads(out)["documents"] == 3
    # A second corpus is added to the collection that is there.
    Path("more.jsonl.gz").write_bytes(gzip.compress(b'{"id": "p4", "text": "More fibre."}\n'))
    code, out, _ = run("index", "more.jsonl.gz", "--into", "p.cm")
    assert "it holds 4" in out


def test_a_snippet_does_not_obey_a_document(run: Run, tmp_path: Path) -> None:
    """Neither markup nor escape sequences in a document reach the terminal."""
    text = "a \x1b[31mred\x1b[0m [bold]fish[/bold] [/nothing] swims"
    with cm.Collection.create(tmp_path / "c.cm") as collection:
        collection.add([cm.Document(id="[red]x", text=text, title="[link=x]t\x07")])
    code, out, _ = run("search", "c.cm", "fish")
    assert code == 0
    assert "[bold]" in out
    assert "[/nothing]" in out
    assert "\x1b[31m" not in out
    assert "\x07" not in out


def test_eval_writes_the_agreed_json_and_runs(run: Run, dataset: Path) -> None:
    code, out, err = run("eval", dataset, "--pipeline", "bm25", "--json", "-", "--runs", "runs")
    assert code == 0, err
    value = json.loads(out)
    (result,) = value["results"]
    assert set(result) == {
        "dataset", "pipeline", "measures", "latency_ms", "index_seconds", "index_bytes", "queries",
        "cost",
    }  # fmt: skip
    assert (result["dataset"], result["pipeline"]) == ("tiny", "bm25")
    assert result["measures"]["nDCG@10"] == 1.0
    assert set(result["latency_ms"]) == {"p50", "p95", "p99"}
    assert value["environment"]["data"]
    assert str(dataset.parent) not in out, "a machine's path in the record"
    saved = gzip.decompress(Path("runs/tiny.bm25.run.gz").read_bytes()).decode()
    assert saved.splitlines()[0].split()[:4] == ["q1", "Q0", "p2", "1"]
    assert Path("runs/tiny.bm25.per_query.jsonl").exists()
    code, out, _ = run("eval", dataset, "--run", "runs/tiny.bm25.run.gz")
    assert code == 0
    assert "1.0000" in out
    for words in (("--measures", "RR@5 P@1"), ("--measures", "RR@5", "P@1")):
        code, out, _ = run("eval", dataset, *words)
        assert code == 0
        assert "RR@5" in out
        assert "P@1" in out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": "a", "text": "x"}\n{"id": "b", text}\n', "corpus.jsonl:2: not JSON"),
        (b'{"id": "a", "text": "x"}\n{"text": "y"}\n', "corpus.jsonl:2: field 'id': missing"),
        (b'{"id": "a", "text": "x"}\n{"id": "b"}\n', "corpus.jsonl:2: field 'text': missing"),
        (b'{"id": "a", "text": 3}\n', "corpus.jsonl:1: field 'text': expected a string, got int"),
        (b'{"id": 7, "text": "x"}\n', "corpus.jsonl:1: field 'id': expected a string"),
        (b'{"id": "", "text": "x"}\n', "corpus.jsonl:1: field 'id': an id is a non-empty"),
        (
            b'{"id": "a", "text": "x"}\n' * 2,
            "corpus.jsonl:2: field 'id': the id 'a' is also on line 1",
        ),
        (b'{"id": "a", "text": "\xff"}\n', "corpus.jsonl:1: not UTF-8: byte 0xff"),
        (b'{"id": "a", "text": "\\ud800"}\n', "corpus.jsonl:1: field 'text': not valid Unicode"),
        (b'{"id": "a", "text": "x", "n": NaN}\n', "corpus.jsonl:1: not JSON: NaN"),
        (b'{"id": "a", "text": "x", "metadata": 1}\n', "corpus.jsonl:1: field 'metadata'"),
        (b'{"id": "a", "text": "x", "labels": "l"}\n', "corpus.jsonl:1: field 'labels'"),
        (b"[1, 2]\n", "corpus.jsonl:1: expected a JSON object"),
        (b"\n\n", "corpus.jsonl: no document in this file"),
        (b"", "corpus.jsonl: no document in this file"),
    ],
)
def test_a_broken_corpus_names_file_line_and_field(
    run: Run, content: bytes, message: str, tmp_path: Path
) -> None:
    Path("corpus.jsonl").write_bytes(content)
    code, _, err = run("index", "corpus.jsonl", "--into", "new.cm")
    assert code == 2
    assert message in err
    assert not Path("new.cm").exists(), "half of a collection was left"
    with cm.Collection.create(tmp_path / "old.cm") as collection:
        collection.add([cm.Document(id="before", text="x")])
    assert run("index", "corpus.jsonl", "--into", "old.cm")[0] == 2
    with cm.Collection.open(tmp_path / "old.cm") as collection:
        assert [document.id for document in collection.scroll()] == ["before"]


def test_judgements_of_unknown_documents_are_named(run: Run, dataset: Path) -> None:
    with (dataset / "qrels" / "test.tsv").open("a") as file:
        file.write("q1\tnowhere\t1\n")
    code, _, err = run("eval", dataset)
    assert code == 2
    assert "'nowhere'" in err
    assert "test.tsv:3" in err


def test_exit_codes(run: Run, dataset: Path) -> None:
    assert run("index", dataset, "--into", "c.cm")[0] == 0
    assert run("search", "absent.cm", "x")[0] == 4
    assert run("restore", "c.cm", "c.cm")[0] == 4
    assert run("search", "c.cm", "x", "-k", 0)[0] == 2
    assert run("search", "c.cm", "x", "-k", 10**9)[0] == 2
    assert run("search", "c.cm", "x", "--pipeline", "nothing")[0] == 2
    assert run("search", "c.cm", "x", "--filter", "{")[0] == 2
    assert run("index", dataset, "--into", "..")[0] == 4
    assert run("index", dataset, "--into", "sub/../up.cm")[0] == 0
    assert run("index", dataset, "--into", "xx.cm", "--language", "xx")[0] == 2
    assert not Path("xx.cm").exists()
    assert run("index", dataset, "--into", "c.cm", "--language", "de")[0] == 2
    assert run("index", dataset, "--into", "c.cm", "--chunk", 0)[0] == 2
    assert run("tour", "--into", "c.cm")[0] == 2
    assert run("search", "c.cm", "diet")[0] == 0
    assert run("eval", dataset, dataset)[0] == 2
    assert run("eval", dataset, "--pipeline", "bm25", "--pipeline", "nothing")[0] == 2
    assert run("index", "absent.jsonl", "--into", "d.cm")[0] == 2
    assert run("index", dataset, "--into", "d.cm", "--with", "nothing")[0] == 2
    assert run("eval", "no-such-folder")[0] == 2
    assert run("bench", "nothing")[0] == 2
    assert run("frobnicate")[0] == 2
    writer = cm.Collection.open("c.cm")
    code, _, err = run("index", dataset, "--into", "c.cm")
    assert code == 4
    assert "open for writing in process" in err
    writer.close()
    victim = next(Path("c.cm/segments").rglob("*.npy"))
    victim.write_bytes(victim.read_bytes()[:-1])
    assert run("check", "c.cm")[0] == 5
    assert not Path("d.cm").exists()


def test_help_and_version(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    for word in ("index", "search", "eval", "check", "backup", "restore", "bench", "Exit codes"):
        assert word in out
    assert run("--version")[1] == "cormorant 0.1.0\n"


@pytest.mark.parametrize(
    "words", [["-m", "cormorant", "--help"], ["-c", "import cormorant"]], ids=["help", "import"]
)
def test_help_and_import_answer_within_half_a_second(words: list[str], tmp_path: Path) -> None:
    """Of the processor's time: the other tests' share is not counted."""
    taken = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, *words], cwd=tmp_path, check=True, capture_output=True)
        after = os.times()
        taken.append(
            after.children_user + after.children_system
            - before.children_user - before.children_system
        )  # fmt: skip
    assert min(taken) < 0.5, taken


def test_errors_are_one_line_without_a_trace(tmp_path: Path) -> None:
    done: Any = subprocess.run(
        [sys.executable, "-m", "cormorant", "search", "absent.cm", "x"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


@pytest.fixture
def animals(tmp_path: Path) -> Path:
    """Eight queries: each has one document that answers and one that is a better match of words."""
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    words = ["ant", "bear", "cat", "dog", "eel", "fox", "gnu", "hen"]
    documents = [{"_id": f"{word}1", "text": f"{word} {word}"} for word in words]
    documents += [{"_id": f"{word}2", "text": f"the {word} and much more"} for word in words]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in documents))
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": word, "text": word}) + "\n" for word in words)
    )
    judged = "".join(f"{word}\t{word}2\t1\n" for word in words)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def test_eval_against_a_baseline(run: Run, animals: Path) -> None:
    """Two depths of BM25: the answer stands second, so a list of one misses it, eight times."""
    for name, depth in (("one", 1), ("two", 2)):
        Path(f"{name}.json").write_text(
            json.dumps({"retrieve": [{"index": "bm25", "depth": depth}], "depth": depth})
        )
    words = ("eval", animals, "--pipeline", "one.json", "--pipeline", "two.json")
    measures = ("--measures", "RR@10 Judged@1 R@2")
    code, out, err = run(*words, *measures, "--baseline", "one", "--json", "out.json")
    assert code == 0, err
    value = json.loads(Path("out.json").read_text())
    one, two = value["results"]
    assert one["against"] == {"baseline": "one", "measures": {}}
    p = 2 / 2**8
    won = {"difference": 0.5, "wins": 8, "losses": 0, "ties": 0, "p": p, "p_holm": 3 * p}
    tied = {"difference": 0.0, "wins": 0, "losses": 0, "ties": 8, "p": 1.0, "p_holm": 1.0}
    assert two["against"] == {
        "baseline": "one",
        "measures": {"RR@10": won, "Judged@1": tied, "R@2": {**won, "difference": 1.0}},
    }
    assert "+ 0.5000" in out
    assert "0.0234" in out
    out.replace("\N{BOX DRAWINGS LIGHT HORIZONTAL}", "").encode("ascii")
    # The same of the saved runs.
    assert run(*words, "--runs", "runs")[0] == 0
    runs = ("--run", "runs/animals.one.run.gz", "--run", "runs/animals.two.run.gz")
    code, out, _ = run(
        "eval", animals, *runs, *measures, "--baseline", "animals.two", "--json", "-"
    )
    assert code == 0
    one, two = json.loads(out)["results"]
    lost = {**won, "difference": -0.5, "wins": 0, "losses": 8}
    assert one["against"]["measures"]["RR@10"] == lost
    assert two["against"]["measures"] == {}
    # Without the option nothing is compared.
    code, out, _ = run("eval", animals, *runs, "--json", "-")
    assert "against" not in out


def test_an_unknown_baseline_is_refused_before_anything_is_read(run: Run, animals: Path) -> None:
    code, _, err = run("eval", "no-such-folder", "--baseline", "bm25x")
    assert code == 2
    assert "no pipeline 'bm25x'; one of 'bm25'" in err
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(f"{name}/x.run").write_text("ant Q0 ant1 1 1.0 t\n")
    same = ("--run", "a/x.run", "--run", "b/x.run")
    assert run("eval", animals, *same)[0] == 0
    code, _, err = run("eval", animals, *same, "--baseline", "x")
    assert code == 2
    assert "no pipeline 'x'; one of 'a/x.run', 'b/x.run'" in err


def test_what_saved_runs_have_no_use_for_is_refused(run: Run, animals: Path) -> None:
    Path("x.run").write_text("ant Q0 ant1 1 1.0 t\n")
    for words in (["--robustness"], ["--pipeline", "bm25"], ["--price", "hour=1"]):
        code, _, err = run("eval", animals, "--run", "x.run", *words)
        assert code == 2
        assert f"field '{words[0]}': is of no use to saved runs" in err
