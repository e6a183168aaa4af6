"""``cormorant cluster``, as a person or a program uses it."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from commands import LINES, Run


def test_create_index_search_status_grow_snapshot_restore(run: Run, dataset: Path) -> None:
    code, out, _ = run("cluster", "create", "c", "--shards", 2, "--replicas", 2)
    assert (code, out.strip()) == (0, "c: 2 shards, 2 replicas of each")
    code, out, _ = run("cluster", "index", dataset, "--into", "c", "--collection", "papers")
    assert (code, out.split()[0]) == (0, "3")
    assert "it holds 3 in 2 shards (bm25)" in out
    code, out, _ = run("cluster", "search", "c", "papers", "lowering cholesterol", "-k", 2)
    assert code == 0
    assert out.index("p1") < out.index("p2")
    code, out, _ = run(
        "cluster", "search", "c", "papers", "cholesterol", "--json", "-", "--explain",
        "--filter", '{"year": {"gte": 2000}}',
    )  # fmt: skip
    value = json.loads(out)
    assert [hit["id"] for hit in value["hits"]] == ["p1"]
    assert value["hits"][0]["explanation"]["bm25"]["rank"] == 1
    assert run("cluster", "snapshot", "c", "copy")[0] == 0
    code, out, _ = run("cluster", "add-shards", "c", 1)
    assert (code, out.strip()) == (0, "c: 3 shards")
    code, out, _ = run("cluster", "repair", "c")
    assert (code, out.strip()) == (0, "c: every replica is up and in step")
    code, out, _ = run("cluster", "status", "c")
    assert "papers: 3 documents (bm25)" in out
    assert out.count("(up, up)") == 3
    code, out, _ = run("cluster", "restore", "copy", "again")
    assert (code, out.strip()) == (0, "copy restored to again: papers")
    code, out, _ = run("cluster", "status", "again", "--json", "-")
    described = json.loads(out)
    assert (described["shards"], described["collections"]["papers"]["documents"]) == (2, 3)


def test_the_answers_are_those_of_one_collection(run: Run, dataset: Path) -> None:
    run("index", dataset, "--into", "p.cm")
    run("cluster", "create", "c", "--shards", 3)
    run("cluster", "index", dataset, "--into", "c", "--collection", "p")
    for query in ("cholesterol", "a diet of fibre", "nothing"):
        one = json.loads(run("search", "p.cm", query, "--json", "-")[1])
        many = json.loads(run("cluster", "search", "c", "p", query, "--json", "-")[1])
        assert one["hits"] == many["hits"]


def test_documents_from_stdin(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lines = "".join(json.dumps(line) + "\n" for line in LINES).encode()
    stdin = io.TextIOWrapper(io.BytesIO(lines))
    monkeypatch.setattr(sys, "stdin", stdin)
    run("cluster", "create", "c", "--shards", 2)
    code, out, _ = run("cluster", "index", "-", "--into", "c", "--collection", "p")
    assert (code, out.split()[0]) == (0, "3")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("status", "absent"), 4, "not a cluster"),
        (("create", "c", "--shards", 2), 4, "exists"),
        (("search", "c", "absent", "x"), 2, "no collection 'absent'"),
        (("status", "c", "--executor", "dask"), 2, "--executor"),
        (("status", "c", "--ray-address", "auto"), 2, "--ray-address"),
        (("status", "c", "--executor", "ray", "--ray-address", "1.1.1.1:1"), 2, "private"),
        (("index", "c/none.jsonl", "--into", "c", "--collection", "p"), 2, "none.jsonl"),
        (("index", "-", "--into", "c", "--collection", "p", "--encoders", 1), 2, "--encoders"),
    ],
)
def test_what_cannot_be_done_says_why(run: Run, words: tuple, code: int, message: str) -> None:
    run("cluster", "create", "c", "--shards", 1)
    found, _, err = run("cluster", *words)
    assert found == code
    assert message in err


def test_a_collection_that_is_there_keeps_its_indexes(run: Run, dataset: Path) -> None:
    run("cluster", "create", "c", "--shards", 2)
    run("cluster", "index", dataset, "--into", "c", "--collection", "p")
    code, _, err = run(
        "cluster", "index", dataset, "--into", "c", "--collection", "p", "--language", "de"
    )
    assert code == 2
    assert "leave out" in err
