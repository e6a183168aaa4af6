"""Averages, published figures and parts of data sets."""

import json
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
from commands import LINES

from cormorant.errors import InputError, MissingDependencyError, UnknownNameError
from cormorant.eval.averages import averages
from cormorant.eval.baselines import published, published_grid
from cormorant.eval.beside import beside
from cormorant.eval.datasets import dataset_name, dataset_paths, load_dataset
from cormorant.eval.irds import irds_folder
from cormorant.eval.result import EvalResult
from cormorant.eval.runner import run_files


def result(dataset, pipeline="bm25", **measures):
    named = {"nDCG@10" if name == "ndcg" else name: value for name, value in measures.items()}
    return EvalResult(dataset, pipeline, named, {}, {}, 10)


def test_the_parts_of_cqadupstack_count_as_one():
    results = [
        result("nfcorpus", ndcg=0.3, AP=0.1),
        *(result(f"cqadupstack-part{n}", ndcg=n / 10, AP=0.2) for n in range(12)),
        result("quora", ndcg=0.8),
        result("nfcorpus", "dense", ndcg=0.4),
    ]
    whole, mean = averages(results)
    assert (whole.dataset, whole.queries) == ("cqadupstack", 120)
    assert whole.measures == pytest.approx({"nDCG@10": 0.55, "AP": 0.2})
    assert mean.dataset == "mean of 3"
    assert mean.measures == pytest.approx({"nDCG@10": (0.3 + 0.55 + 0.8) / 3})
    assert averages(results[:1]) == []
    # Not all of them are not the set.
    assert [one.dataset for one in averages(results[1:3])] == ["cqadupstack (2 of 12)"]
    part, mean = averages([results[0], *results[1:12], results[-2]])
    assert (part.dataset, mean.dataset) == ("cqadupstack (11 of 12)", "mean of 2")
    assert mean.measures == pytest.approx({"nDCG@10": 0.55})


def test_a_set_in_parts_is_asked_part_by_part(dataset, tmp_path):
    home = tmp_path / "cqadupstack"
    home.mkdir()
    for name in ("android", "english"):
        dataset.rename(home / name) if name == "english" else _copy(dataset, home / name)
    paths = dataset_paths(["elsewhere", str(home)])
    assert paths == ["elsewhere", str(home / "android"), str(home / "english")]
    assert [load_dataset(path).name for path in paths[1:]] == [
        "cqadupstack-android",
        "cqadupstack-english",
    ]


def _copy(source, target):
    (target / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        (target / name).write_bytes((source / name).read_bytes())


def test_published_figures_stand_beside_ours_by_name_split_and_measure():
    results = [result("scifact", ndcg=0.7), result("mine", ndcg=0.9)]
    results[0] = replace(results[0], judgements=339)
    found = published(results, "test")
    assert {one.dataset for one in found} == {"scifact"}
    assert len(found) == 12
    assert all(one.source and 0 < one.value < 1 for one in found)
    assert [one.value for one in found] == sorted((one.value for one in found), reverse=True)
    assert published(results, "train") == []
    assert published([replace(results[0], measures={"AP": 0.7})], "test") == []
    rows = [[cell.text for cell in row] for row in published_grid(found, results).rows]
    assert ["scifact", "bm25", "nDCG@10", "measured now", "0.700"] in rows
    assert len(rows) == 13
    grids, entries = beside(results, "test")
    assert len(grids) == 2
    assert entries["averages"][0]["measures"] == {"nDCG@10": pytest.approx(0.8)}
    assert json.loads(json.dumps(entries))["published"][0]["system"]
    assert beside(results[1:], "test") == ([], {})


def test_a_set_of_that_name_with_other_judgements_is_another_set(run, dataset, tmp_path):
    """A folder called scifact that judged one pair was shown beside SciFact's figures."""
    other = dataset.rename(tmp_path / "scifact")
    code, out, err = run("eval", other, "--json", "-")
    assert code == 0, err
    assert "published" not in json.loads(out)
    lines = "".join(f'{{"_id": "d{n}", "text": "fibre"}}\n' for n in range(338))
    with (other / "corpus.jsonl").open("a") as corpus:
        corpus.write(lines)
    with (other / "qrels" / "test.tsv").open("a") as qrels:
        qrels.writelines(f"q1\td{n}\t0\n" for n in range(338))
    code, out, err = run("eval", other, "--json", "-")
    assert code == 0, err
    assert len(json.loads(out)["published"]) == 12


def test_hits_with_the_querys_own_id_are_left_out_where_asked(dataset, tmp_path):
    (dataset / "queries.jsonl").write_text('{"_id": "p1", "text": "x"}\n')
    (dataset / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\np1\tp2\t1\n")
    run = tmp_path / "a.run"
    run.write_text("p1 Q0 p1 1 9.0 t\np1 Q0 p2 2 8.0 t\n")
    data = load_dataset(dataset)
    (kept,), (left,) = (
        run_files(data, [run], measures=["RR@10"], exclude_self=exclude)
        for exclude in (False, True)
    )
    assert (kept.measures["RR@10"], left.measures["RR@10"]) == (0.5, 1.0)
    assert left.run == {"p1": [("p2", 8.0)]}


def test_eval_excludes_them_and_fills_their_place(run, dataset, tmp_path):
    (dataset / "queries.jsonl").write_text('{"_id": "p1", "text": "cholesterol"}\n')
    (dataset / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\np1\tp2\t1\n")
    words = ("eval", dataset, "--measures", "P@1", "-k", 1, "--runs", "r", "--json", "-")
    code, out, err = run(*words)
    assert code == 0, err
    assert json.loads(out)["results"][0]["measures"] == {"P@1": 0.0}
    code, out, err = run(*words, "--exclude-self")
    assert code == 0, err
    assert json.loads(out)["results"][0]["measures"] == {"P@1": 1.0}


def test_eval_shows_what_stands_beside(run, dataset, tmp_path):
    words = ("--robustness", "--seed", 3, "--price", "hour=2", "--json", "all.json")
    code, out, err = run("eval", dataset, *words)
    assert code == 0, err
    for shown in ("paraphrase", "money/1k"):
        assert shown in out
    value = json.loads((tmp_path / "all.json").read_text())
    assert [row["queries"] for row in value["robustness"]] == [
        "typos",
        "case",
        "keywords",
        "paraphrase",
    ]
    assert value["results"][0]["cost"]["per_1000_queries"]["money"] > 0
    assert run("eval", dataset, "--price", "minute=2")[0] == 2


def test_a_pipeline_may_be_called_as_a_change_of_queries_is(run, dataset, tmp_path):
    (tmp_path / "case.json").write_text('{"retrieve": ["bm25"]}')
    code, out, err = run("eval", dataset, "--pipeline", "case.json", "--robustness", "--json", "-")
    assert code == 0, err
    rows = json.loads(out)["robustness"]
    assert [row["pipeline"] for row in rows] == ["case"] * 4
    (row,) = [row for row in rows if row["queries"] == "case"]
    assert row["against"]["nDCG@10"]["difference"] == 0


# -- ir_datasets ----------------------------------------------------------------------------


class Source:
    """What ir_datasets would load."""

    def __init__(self, lacking=()):
        for part in ("docs", "queries", "qrels"):
            setattr(self, f"has_{part}", lambda part=part: part not in lacking)

    def docs_count(self):
        return len(LINES)

    def docs_iter(self):
        for line in LINES:
            text = f"{line['title']} {line['text']}"
            yield SimpleNamespace(doc_id=line["_id"], default_text=lambda text=text: text)
        yield SimpleNamespace(doc_id="p4", title="Birds", text="Herons.")

    def queries_iter(self):
        yield SimpleNamespace(query_id="q1", default_text=lambda: "fibre in a diet")

    def qrels_iter(self):
        yield SimpleNamespace(query_id="q1", doc_id="p2", relevance=1)


@pytest.fixture
def ir_datasets(monkeypatch, tmp_path):
    known = {"toys/small": Source(), "toys/unjudged": Source(lacking=("qrels", "queries"))}
    known |= {"toys/a/test": Source(), "toys/b/test": Source()}
    loads = []

    def load(name):
        loads.append(name)
        return known[name]

    monkeypatch.setitem(sys.modules, "ir_datasets", SimpleNamespace(load=load))
    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path))
    return loads


def test_a_data_set_of_ir_datasets_is_written_once(ir_datasets):
    for _ in range(2):
        data = load_dataset("irds:toys/small")
    assert ir_datasets == ["toys/small"]
    assert data.name == "toys-small"
    assert data.queries == {"q1": "fibre in a diet"}
    documents = list(data.documents())
    assert documents[0].text == "Statins Statins lower cholesterol."
    assert (documents[3].title, documents[3].text) == ("Birds", "Herons.")


def test_the_command_tells_ids_apart_and_names_files_by_them(run, ir_datasets):
    ids = ("irds:toys/a/test", "irds:toys/b/test")
    code, out, err = run("eval", *ids, "--json", "-")
    assert code == 0, err
    names = [row["dataset"] for row in json.loads(out)["results"]]
    assert names == [dataset_name(word) for word in ids] == ["toys-a-test", "toys-b-test"]
    pytest.importorskip("matplotlib", reason="needs: pip install cormorant[report]")
    code, _, err = run("eval", ids[0], "--report", "out")
    assert code == 0, err


def test_what_ir_datasets_lacks_is_said(ir_datasets, monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="knows no data set 'nothing'"):
        irds_folder("irds:nothing")
    with pytest.raises(InputError, match="has no queries and no qrels"):
        irds_folder("irds:toys/unjudged")
    assert not list((tmp_path / "datasets" / "irds").glob("*"))
    monkeypatch.setitem(sys.modules, "ir_datasets", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cormorant\[irds\]'"):
        irds_folder("irds:toys/small")
