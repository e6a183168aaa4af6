"""Judging pools: what is in them, in which order, and that they are qrels as they are filled in."""

from pathlib import Path

import pytest

from cormorant.errors import InputError
from cormorant.eval.pool import make_pool, pool_grid, pool_lines
from cormorant.eval.qrels import read_qrels

RUNS = {
    "one": {"q1": [("c", 3.0), ("a", 2.0), ("x", 1.0)], "q2": [("b", 1.0)]},
    "two": {"q1": [("b", 9.0), ("c", 8.0)], "q3": [("z", 1.0)]},
}


def test_the_union_of_the_first_of_each():
    pool = make_pool(RUNS, 2, {})
    assert pool == {
        "q1": {"a": ("one",), "b": ("two",), "c": ("one", "two")},
        "q2": {"b": ("one",)},
        "q3": {"z": ("two",)},
    }
    assert [list(documents) for documents in pool.values()] == [["a", "b", "c"], ["b"], ["z"]]
    grid = pool_grid(pool, RUNS)
    assert [[cell.text for cell in row] for row in grid.rows] == [
        ["one", "3", "2"],
        ["two", "3", "2"],
    ]
    assert grid.notes == ["5 pairs to judge, of 3 queries"]


def test_what_is_judged_is_not_judged_again():
    pool = make_pool(RUNS, 1, {"q1": {"c": 0, "b": 1}, "q2": {"a": 1}})
    assert pool == {"q2": {"b": ("one",)}, "q3": {"z": ("two",)}}


def test_a_depth_of_nothing():
    with pytest.raises(InputError, match="field 'depth': is at least 1, got 0"):
        make_pool(RUNS, 0, {})


def test_a_pool_judged_in_part_is_qrels(tmp_path):
    file = tmp_path / "pool.tsv"
    lines = list(pool_lines(make_pool(RUNS, 2, {})))
    assert lines[:2] == ["query-id\tcorpus-id\tscore", "q1\ta\t"]
    file.write_text("\n".join(lines))
    with pytest.raises(InputError, match="no judgement in this file"):
        read_qrels(file)
    file.write_text("\r\n".join([*lines[:2], "q1\tb\t2", *lines[3:]]))
    assert read_qrels(file) == {"q1": {"b": 2}}


def test_the_command(run):
    for name in ("one", "two"):
        Path(f"{name}.run").write_text(
            "".join(f"{q} Q0 {d} 1 {s} t\n" for q, own in RUNS[name].items() for d, s in own)
        )
    code, out, err = run("pool", "one.run", "two.run", "--depth", 2)
    assert code == 0
    assert out.splitlines() == list(pool_lines(make_pool(RUNS, 2, {})))
    assert "5 pairs to judge, of 3 queries" in err
    Path("known.tsv").write_text("query-id\tcorpus-id\tscore\nq1\tc\t1\n")
    code, out, _ = run(
        "pool", "one.run", "two.run", "--depth", 1, "--qrels", "known.tsv", "--into", "pool.tsv"
    )
    assert (code, out) == (0, "")
    expected = "query-id\tcorpus-id\tscore\nq1\tb\t\nq2\tb\t\nq3\tz\t\n"
    assert Path("pool.tsv").read_text() == expected
    judged = expected.replace("q1\tb\t", "q1\tb\t2")
    Path("pool.tsv").write_text(judged)
    for extra in ((), ("--qrels", "pool.tsv")):
        code, _, err = run("pool", "one.run", *extra, "--into", "pool.tsv")
        assert code == 2
        assert "name another file" in err
    assert Path("pool.tsv").read_text() == judged
    code, _, err = run("pool", "one.run", "--depth", 0)
    assert code == 2
