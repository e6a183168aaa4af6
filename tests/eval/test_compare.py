"""Saved runs compared, with what nobody judged beside them."""

import gzip
import json
from pathlib import Path

import pytest

from cormorant.api.server.judgements import as_qrels, judge, read_judgements
from cormorant.errors import InputError
from cormorant.eval.compare import compare_run, condensed
from cormorant.eval.qrels import read_qrels
from cormorant.eval.runner import run_names

QUERIES = [f"q{n}" for n in range(8)]


def write_run(path: Path, documents: list[str], queries: list[str] = QUERIES) -> Path:
    """The same ranking for each query."""
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(
        "".join(
            f"{query} Q0 {document} {rank} {-rank}.5 tag\n"
            for query in queries
            for rank, document in enumerate(documents, 1)
        )
    )
    return path


@pytest.fixture
def qrels(tmp_path: Path) -> Path:
    path = tmp_path / "some.qrels"
    path.write_text("".join(f"{query} 0 good 1\n{query} 0 bad 0\n" for query in QUERIES))
    return path


def test_the_command(run, qrels):
    """The good one stands second; of one run no judged document stands above it."""
    write_run(Path("first.run"), ["good", "bad"])
    write_run(Path("unjudged.run"), ["unknown", "good", "bad"])
    packed = Path("second.run.gz")
    packed.write_bytes(gzip.compress(write_run(Path("x"), ["bad", "good"]).read_bytes()))
    runs = ("first.run", "unjudged.run", packed)
    words = ("compare", *runs, "--qrels", qrels, "--measures", "RR", "P@1")
    code, out, err = run(*words, "--json", "out.json")
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["run", "RR", "P@1", "queries"]
    assert ["unjudged", "-", "0.5000", "-", "0.0000", "8"] in lines
    assert ["run", "Judged@10", "Bpref", "RR'", "P@1'"] in lines
    assert ["unjudged", "0.6667", "1.0000", "1.0000", "1.0000"] in lines
    assert ["second", "1.0000", "0.0000", "0.5000", "0.0000"] in lines
    assert ["second", "RR", "-0.5000", "0", "8", "0", "0.0078", "0.0312"] in lines
    assert lines[-1][:2] == ["baseline:", "first;"]
    value = json.loads(Path("out.json").read_text())
    first, unjudged, second = value["results"]
    assert first["against"] == {"baseline": "first", "measures": {}}
    assert unjudged["gaps"] == {"Judged@10": pytest.approx(2 / 3), "Bpref": 1.0}
    assert unjudged["condensed"] == {"RR": 1.0, "P@1": 1.0}
    assert second["against"]["measures"]["RR"]["losses"] == 8
    assert {"some.qrels", "first", "second", "unjudged"} == set(value["environment"]["data"])


@pytest.mark.parametrize("baseline", ["second", "b/second.run"])
def test_the_baseline_by_name_or_by_file(run, qrels, baseline):
    write_run(Path("a/first.run"), ["good", "bad"])
    write_run(Path("b/second.run"), ["bad", "good"])
    code, out, _ = run(
        "compare", "a/first.run", "b/second.run", "--qrels", qrels, "--baseline", baseline,
        "--json", "-",
    )  # fmt: skip
    assert code == 0
    assert json.loads(out)["results"][0]["against"]["baseline"] == "second"


def test_files_of_one_name_are_told_apart_by_their_folders(run, qrels):
    for folder in "ab":
        write_run(Path(folder) / "test.run", ["good"])
    assert list(run_names([Path("a/test.run"), Path("b/test.run")])) == ["a/test.run", "b/test.run"]
    code, out, _ = run("compare", "a/test.run", "b/test.run", "--qrels", qrels, "--json", "-")
    assert [row["pipeline"] for row in json.loads(out)["results"]] == ["a/test.run", "b/test.run"]
    code, _, err = run("compare", "a/test.run", "a/test.run", "--qrels", qrels)
    assert code == 2
    assert "a/test.run: is given twice" in err


def test_missing_and_unjudged_queries_are_said(run, qrels):
    write_run(Path("some.run"), ["good"], ["q0", "q1", "other"])
    code, out, _ = run("compare", "some.run", "--qrels", qrels, "--measures", "RR", "--json", "-")
    assert code == 0
    (row,) = json.loads(out)["results"]
    assert row["measures"] == {"RR": 0.25}
    assert row["queries"] == 8
    assert row["flags"] == {
        "judged, but not in the run, which counts as nothing found": 6,
        "in the run, but without a relevant judgement, and left out": 1,
    }


def test_runs_of_other_queries_are_refused(tmp_path, qrels):
    file = write_run(tmp_path / "other.run", ["good"], ["301"])
    with pytest.raises(InputError, match=r"other\.run: no query .* is '301', .* judgements 'q0'"):
        compare_run("other", file, "qrels", read_qrels(qrels), ["RR"])


def test_a_condensed_list_keeps_every_grade():
    run = {"q": [("a", 3.0), ("b", 2.0), ("c", 1.0)], "other": [("a", 1.0)]}
    assert condensed(run, {"q": {"b": 0, "c": -1}}) == {
        "q": [("b", 2.0), ("c", 1.0)],
        "other": [],
    }


def test_what_the_page_judged_is_read(run, tmp_path):
    """A grade taken back is none; the last one counts."""
    log = tmp_path / "judgements.jsonl"
    for document, grade in (("good", 3), ("bad", 0), ("meh", 2), ("meh", None), ("bad", 1)):
        judge(log, "q9f86d081884c", "a test", document, grade)
    Path("page.qrels").write_text(as_qrels(read_judgements(log)))
    assert read_qrels("page.qrels") == {"q9f86d081884c": {"good": 3, "bad": 1}}
    write_run(Path("a.run"), ["meh", "good", "bad"], ["q9f86d081884c"])
    words = ("--measures", "RR nDCG@2", "--json", "-")
    code, out, _ = run("compare", "a.run", "--qrels", "page.qrels", *words)
    assert code == 0
    (row,) = json.loads(out)["results"]
    assert row["measures"]["RR"] == 0.5
    assert row["condensed"] == {"RR": 1.0, "nDCG@2": 1.0}


def test_judgements_without_a_bad_document_say_little(run, qrels):
    write_run(Path("a.run"), ["unknown", "good"])
    note = "all judged documents are relevant: Bpref and condensed lists say only how many"
    assert note not in run("compare", "a.run", "--qrels", qrels)[1]
    qrels.write_text("".join(f"{query} 0 good 1\n" for query in QUERIES))
    assert note in run("compare", "a.run", "--qrels", qrels)[1]
