"""Run files: what is written, read back, and refused."""

import numpy as np
import pytest

from cormorant.errors import InputError
from cormorant.eval.trec import read_run, strictly_decreasing, write_run


def test_the_format(tmp_path):
    run = {"q1": [("d2", 2.5), ("d1", 0.1)], "q2": [("d1", -1e-9)]}
    write_run(tmp_path / "a.run", run, tag="bm25")
    assert (tmp_path / "a.run").read_text() == (
        "q1 Q0 d2 1 2.5 bm25\nq1 Q0 d1 2 0.1 bm25\nq2 Q0 d1 1 -1e-09 bm25\n"
    )


@pytest.mark.parametrize("name", ["a.run", "a.run.gz"])
def test_round_trip_keeps_the_order_whatever_the_scores(tmp_path, name):
    random = np.random.default_rng(7)
    run = {}
    for number in range(60):
        scores = [
            random.normal(size=40) * 10.0 ** random.integers(-40, 38),
            random.integers(0, 3, 40).astype(float),
            np.zeros(40),
            1.0 + random.random(40) * 1e-9,
            random.random(40) * 1e-44,
        ][number % 5]
        hits = [f"d{place}" for place in random.permutation(40)]
        run[f"q{number}"] = list(zip(hits, sorted(scores.tolist(), reverse=True), strict=True))
    write_run(tmp_path / name, run, tag="t")
    back = read_run(tmp_path / name)
    assert list(back) == list(run)
    for query, hits in run.items():
        assert [document for document, _ in back[query]] == [document for document, _ in hits]
        scores = np.array([score for _, score in back[query]], np.float32)
        assert (np.diff(scores.astype(np.float64)) < 0).all()
    write_run(tmp_path / "again.run", back, tag="t")
    assert read_run(tmp_path / "again.run") == back


def test_trec_eval_sees_our_order(tmp_path):
    """Ties, and doubles that are one 32-bit float: trec_eval would turn both around."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    run = {
        "tied": [("a", 1.0), ("z", 1.0)],
        "near": [("a", 1.0 + 1e-12), ("z", 1.0)],
        "zero": [("a", 0.0), ("z", 0.0)],
        "rising": [("a", 1.0), ("z", 2.0)],
    }
    qrels = {query: {"a": 1} for query in run}
    trec_eval = pytrec_eval.RelevanceEvaluator(qrels, ["recip_rank"])
    direct = trec_eval.evaluate({query: dict(hits) for query, hits in run.items()})
    assert {value["recip_rank"] for value in direct.values()} == {0.5}
    write_run(tmp_path / "a.run", run, tag="t")
    written = trec_eval.evaluate(
        {query: dict(hits) for query, hits in read_run(tmp_path / "a.run").items()}
    )
    assert {value["recip_rank"] for value in written.values()} == {1.0}


def test_strictly_decreasing():
    scores = strictly_decreasing([1.0, 1.0, 1.0, 0.5, 0.0, 0.0, -1.0])
    assert scores.dtype == np.float32
    below = np.nextafter(np.float32(1), np.float32(0))
    assert scores[:4].tolist() == [1.0, below, np.nextafter(below, np.float32(0)), 0.5]
    assert scores[4:].tolist() == [0.0, -np.finfo(np.float32).tiny, -1.0]
    assert strictly_decreasing([]).shape == (0,)


def test_others_files_are_read_as_trec_eval_reads_them(tmp_path):
    """The rank is not looked at; ties go by descending document id."""
    (tmp_path / "a.run").write_text(
        "q1 Q0 a 0 1.0 x\nq1 Q0 b 0 3e0 x\nq2\tQ0\tz\t9\t.5\tx\r\n\nq1 Q0 c 0 1.00000000001 x\n"
    )
    assert read_run(tmp_path / "a.run") == {
        "q1": [("b", 3.0), ("c", 1.00000000001), ("a", 1.0)],
        "q2": [("z", 0.5)],
    }


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("q Q0 d 1 2.0\n", 1, "expected 6 columns .* got 5"),
        ("q Q0 d 1 2.0 tag\nq Q0 e 2 1.0 tag more\n", 2, "got 7"),
        ("q Q0 d 1 high tag\n", 1, "a score is a finite 32-bit float .* got 'high'"),
        ("q Q0 d 1 nan tag\n", 1, "finite"),
        ("q Q0 d 1 inf tag\n", 1, "finite"),
        ("q Q0 d 1 1_0 tag\n", 1, "finite"),
        ("q Q0 d 1 1e39 tag\n", 1, "finite"),
        ("q Q0 d 1 2.0 t\nq Q0 d 2 1.0 t\n", 2, "'d' occurs twice for query 'q'"),
        ("\n", None, "no hit in this file"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, line, message):
    path = tmp_path / "a.run"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_run(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)


@pytest.mark.parametrize(
    ("run", "tag", "message"),
    [
        ({"q 1": [("d", 1.0)]}, "t", "query id .* 'q 1'"),
        ({"": [("d", 1.0)]}, "t", "query id"),
        ({"q": [("d\t1", 1.0)]}, "t", "document id"),
        ({"q": [("", 1.0)]}, "t", "document id"),
        ({"q": [("d", 1.0)]}, "my run", "tag"),
        ({"q": [("d", 1.0), ("d", 0.5)]}, "t", "twice"),
        ({"q": [("d", float("nan"))]}, "t", "query 'q', document 'd': a score is a finite"),
        ({"q": [("d", float("inf"))]}, "t", "finite"),
        ({"q": [("d", 1e300)]}, "t", "finite"),
        ({"q": [("a", -3.4028234663852886e38), ("b", -3.4028234663852886e38)]}, "t", "no room"),
    ],
)
def test_what_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, run, tag, message):
    with pytest.raises(InputError, match=message):
        write_run(tmp_path / "a.run", run, tag)
    assert list(tmp_path.iterdir()) == []


def test_ids_with_other_white_space_are_columns(tmp_path):
    run = {"q\u00a01": [("d\u20281", 1.0)]}
    write_run(tmp_path / "a.run", run, tag="t")
    assert read_run(tmp_path / "a.run") == run


def test_a_query_without_hits_has_no_line(tmp_path):
    write_run(tmp_path / "a.run", {"q1": [], "q2": [("d", 1.0)]}, tag="t")
    assert read_run(tmp_path / "a.run") == {"q2": [("d", 1.0)]}
