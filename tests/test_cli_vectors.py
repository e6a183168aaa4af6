"""Ready vectors from files and back, on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from commands import Run

import cormorant as cm
from cormorant.indexers.sparse.files import read_csr, read_jsonl, write_csr
from cormorant.vectors import SparseVectors

LINES = [
    {"id": "a", "contents": "one fish", "vector": {"fish": 2.5, "one": 0.5}},
    {"id": "b", "contents": "", "vector": {}},
    {"id": "c", "contents": "deep", "vector": {"deep": 1.0, "fish": 0.25}},
]


def _write(path: Path, lines: list[dict[str, object]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_json_lines_there_and_back(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "v.jsonl", LINES)
    code, out, err = run(
        "index", "v.jsonl", "--into", "c.cm", "--with", "sparse", "--vectors", "sparse=v.jsonl"
    )
    assert code == 0, err
    with cm.Collection.open("c.cm", read_only=True) as collection:
        [found] = collection.search_batch(vectors=[{"fish": 2.0}], k=5, pipeline="sparse")
        assert list(zip(found.ids, found.scores, strict=True)) == [("a", 5.0), ("c", 0.5)]
        assert dict(collection.vectors("sparse")) == {line["id"]: line["vector"] for line in LINES}
    code, out, err = run("search", "c.cm", '{"fish": 2}', "--vector", "--json", "-")
    assert code == 0, err
    assert [hit["id"] for hit in json.loads(out)["hits"]] == ["a", "c"]
    assert run("search", "c.cm", '{"fish": 2}', "--vector")[0] == 0
    code, out, err = run("export", "c.cm", "out.jsonl")
    assert code == 0, err
    assert "3 vectors" in out
    assert [tuple(line) for line in read_jsonl("out.jsonl")] == [
        (line["id"], line["contents"], line["vector"]) for line in LINES
    ]
    assert run("export", "c.cm", "whole.jsonl", "--scale", "100")[0] == 0
    assert next(read_jsonl("whole.jsonl")).vector == {"fish": 250, "one": 50}
    code, _, err = run("export", "c.cm", "out.csr")
    assert code == 2
    assert "strings" in err
    assert run("export", "c.cm", "out.jsonl")[0] == 2  # exists


def test_csr_and_arrays_beside_a_corpus(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "corpus.jsonl", [{"id": name, "text": name} for name in "abc"])
    vectors = SparseVectors(
        np.array([0, 2, 2, 3]), np.array([3, 9, 70_000]), np.array([1.0, 0.5, 2.0], np.float32)
    )
    write_csr("v.csr", vectors)
    np.save("v.npy", np.eye(3, 4, dtype=np.float32))
    code, _, err = run(
        "index", "corpus.jsonl", "--into", "c.cm", "--with", "sparse",
        "--with", '{"kind": "dense", "model": null}',
        "--vectors", "sparse=v.csr", "--vectors", "dense=v.npy",
    )  # fmt: skip
    assert code == 0, err
    code, out, err = run(
        "search", "c.cm", '{"9": 2}', "--vector", "--pipeline", "sparse", "--json", "-"
    )
    assert code == 0, err
    assert [(hit["id"], hit["score"]) for hit in json.loads(out)["hits"]] == [("a", 1.0)]
    assert run("export", "c.cm", "out.csr")[0] == 0
    back = read_csr("out.csr")
    for name in ("starts", "terms", "weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(vectors, name))
    assert run("export", "c.cm", "out.npy", "--index", "dense")[0] == 0
    np.testing.assert_array_equal(np.load("out.npy"), np.eye(3, 4, dtype=np.float32))
    assert run("export", "c.cm", "x.npy", "--index", "sparse")[0] == 2
    assert run("export", "c.cm", "x.jsonl", "--index", "dense")[0] == 2
    for scale in ("nan", "inf", "0", "-1"):
        assert run("export", "c.cm", "x.jsonl", "--scale", scale)[0] == 2
    assert not list(tmp_path.glob("*x.*"))
    assert not list(tmp_path.glob(".*unfinished*"))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["--vectors", "v.jsonl"], "INDEX=FILE"),
        (["--vectors", "sparse=v.txt"], ".jsonl, .csr or .npy"),
        (["--vectors", "sparse=v.npy"], "cannot be read"),
        (["--vectors", "sparse=v.jsonl"], "has a vector of 'c' in place 2"),
        (["--vectors", "sparse=short.jsonl"], "has nothing in place 2"),
    ],
)
def test_files_that_do_not_fit(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "corpus.jsonl", [{"id": name, "text": name} for name in "ab"])
    _write(tmp_path / "v.jsonl", [LINES[0], LINES[2]])
    _write(tmp_path / "short.jsonl", LINES[:1])
    (tmp_path / "v.npy").write_text("no array")
    code, _, err = run("index", "corpus.jsonl", "--into", "c.cm", "--with", "sparse", *asked)
    assert code == 2
    assert message in " ".join(err.split())
    assert not Path("c.cm").exists()


def test_a_terminal_shows_how_far_lists_are(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORCE_COLOR", "1")  # what is asked is taken for a terminal
    _write(tmp_path / "corpus.jsonl", [{"id": str(number), "text": ""} for number in range(300)])
    vectors = np.random.default_rng(1).standard_normal((300, 8)).astype(np.float32)
    np.save("v.npy", vectors)
    cm.Collection.create("c.cm", {"spann": cm.Spann(model=None, list_rows=256)}).close()
    code, _, err = run("index", "corpus.jsonl", "--into", "c.cm", "--vectors", "spann=v.npy")
    assert code == 0, err
    for stage in ("added", "clustered", "centred", "assigned", "listed", "measured", "ordered"):
        assert f"c.cm: {stage}" in err
