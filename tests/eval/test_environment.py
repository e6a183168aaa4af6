"""The reproducibility record: complete, JSON, and without a path of the machine."""

import hashlib
import json
import re
from pathlib import Path

import pytest
import toys

from cormorant.errors import InputError
from cormorant.eval import environment as module
from cormorant.eval.datasets import load_dataset
from cormorant.eval.environment import (
    checksums,
    dataset_checksums,
    environment,
    machine,
    settings_of,
    without_folders,
)
from cormorant.indexers.dense.settings import Dense
from cormorant.retrieval.pipeline import Pipeline


def test_the_record():
    record = environment(
        ["/usr/bin/cormorant", "eval", "/data/nfcorpus", "--json=/var/out.json"],
        "2026-11-21T10:00:00Z",
        data={"nfcorpus/corpus.jsonl": "sha256:00"},
        models={"minilm": "sha256:01"},
    )
    assert json.loads(json.dumps(record)) == record
    assert record["command"] == ["cormorant", "eval", "nfcorpus", "--json=out.json"]
    assert record["date"] == "2026-11-21T10:00:00Z"
    assert record["data"] == {"nfcorpus/corpus.jsonl": "sha256:00"}
    assert record["models"] == {"minilm": "sha256:01"}
    assert re.match(r"CPython 3\.\d+\.\d+", record["python"])
    assert re.fullmatch(r"\d+\.\d+\.\d+", record["sqlite"])
    assert record["packages"]["numpy"]
    assert record["packages"]["ir_measures"]
    assert {"torch", "transformers", "sentence-transformers"} <= record["packages"].keys()
    assert record["cormorant"]["version"]
    for folder in (str(Path.home()), str(Path(__file__).resolve().parents[2])):
        assert folder not in json.dumps(record)


def test_eval_records_models_pipelines_and_indexes(run, dataset, monkeypatch):
    toys.use(monkeypatch)
    Path("two.json").write_text('{"retrieve": ["bm25", "dense"], "fuse": {"kind": "rrf"}}')
    indexes = ("--with", '{"kind": "bm25", "k1": 2.0}', "--with", 'dense:{"kind": "toy-dense"}')
    pipelines = ("--pipeline", "two.json", "--pipeline", "bm25")
    code, out, err = run("eval", dataset, *indexes, *pipelines, "--json", "-", "--runs", "runs")
    assert code == 0, err
    value = json.loads(out)
    assert value["environment"]["models"] == {"dense": "toy-8-0"}
    assert value["pipelines"]["bm25"] == {"retrieve": ["bm25"]}
    assert value["pipelines"]["two"] == json.loads(Path("two.json").read_text())
    assert value["indexes"]["bm25"] == {"kind": "bm25", "k1": 2.0}
    assert value["indexes"]["dense"] == {"kind": "toy-dense"}
    code, out, err = run("eval", dataset, "--run", "runs/tiny.two.run.gz", "--json", "-")
    assert code == 0, err
    assert "pipelines" not in json.loads(out), "those of another's runs are not known"


def test_a_models_folder_is_cut_down():
    found = settings_of({"p": Pipeline("d")}, {"d": Dense("/home/someone/minilm")})
    assert found["indexes"] == {"d": {"kind": "dense", "model": "minilm"}}


def test_the_machine():
    facts = machine()
    assert facts["cores"] >= 1
    assert facts["memory_bytes"] > 1 << 26
    assert facts["cpu"]
    assert facts["cpu_quota"] is None or facts["cpu_quota"] > 0


def test_the_commit_is_that_of_our_own_checkout(tmp_path):
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    commit = module._commit(root)
    if not commit:
        pytest.skip("git does not answer here")
    assert re.fullmatch(r"[0-9a-f]{40,64}", commit["commit"])
    assert isinstance(commit["modified"], bool)


def test_another_projects_checkout_is_not_taken_for_ours(tmp_path):
    (tmp_path / ".git").mkdir()
    (tmp_path / "pyproject.toml").write_text("")
    assert module._commit(tmp_path) == {}


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("eval", "eval"),
        ("nDCG@10", "nDCG@10"),
        ("/a/b/c.json", "c.json"),
        ("/a/b/c d.json", "c d.json"),
        ("/a/b/", "b"),
        ("~/a/b", "b"),
        ("--json=/a/b.json", "--json=b.json"),
        ("dense=/models/minilm", "dense=minilm"),
        ("x=/a/b,y=/c/d", "x=b,y=d"),
        ("../data/nfcorpus", "../data/nfcorpus"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("http://host:8080/papers", "http://host:8080/papers"),
        ('{"year": {"gte": 2015}}', '{"year": {"gte": 2015}}'),
    ],
)
def test_absolute_paths_are_cut_down(word, kept):
    assert without_folders(word) == kept


def test_checksums(tmp_path):
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    for name in ("corpus.jsonl", "queries.jsonl"):
        (folder / name).write_text('{"_id": "1", "text": "x"}\n')
    (folder / "qrels" / "test.tsv").write_text("1 0 1 1\n")
    sums = dataset_checksums(load_dataset(folder))
    corpus = hashlib.sha256((folder / "corpus.jsonl").read_bytes()).hexdigest()
    assert list(sums) == ["toy/corpus.jsonl", "toy/queries.jsonl", "toy/qrels/test.tsv"]
    assert sums["toy/corpus.jsonl"] == f"sha256:{corpus}"
    outside = tmp_path / "topics.tsv"
    outside.write_text("1\tx\n")
    assert list(checksums([outside], folder=folder)) == ["topics.tsv"]


def test_checksums_of_what_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        checksums([tmp_path / "none"])
    (tmp_path / "a").write_text("")
    with pytest.raises(InputError, match="two files have the name 'a'"):
        checksums([tmp_path / "a", tmp_path / "a"])
