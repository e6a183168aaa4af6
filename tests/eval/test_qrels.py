"""Judgements in BEIR's and TREC's format, and every way a line can be wrong."""

import gzip

import pytest

from cormorant.errors import InputError
from cormorant.eval.qrels import read_judgements, read_qrels

HEADER = "query-id\tcorpus-id\tscore\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_beir(tmp_path):
    path = write(tmp_path / "test.tsv", HEADER + "q1\td1\t2\nq1\td 2\t0\nq2\td1\t-1\n")
    assert read_qrels(path) == {"q1": {"d1": 2, "d 2": 0}, "q2": {"d1": -1}}
    assert [judgement.line for judgement in read_judgements(path)] == [2, 3, 4]


def test_trec(tmp_path):
    path = write(tmp_path / "qrels.txt", "301 0 FT911-1 1\n301\t0  FT911-2\t0\n302 Q0 FT911-1 2\n")
    assert read_qrels(path) == {"301": {"FT911-1": 1, "FT911-2": 0}, "302": {"FT911-1": 2}}


def test_compressed(tmp_path):
    (tmp_path / "q.gz").write_bytes(gzip.compress(b"1 0 a 1\n"))
    assert read_qrels(tmp_path / "q.gz") == {"1": {"a": 1}}


@pytest.mark.parametrize(
    ("text", "line", "field", "message"),
    [
        (HEADER + "q1\td1\n", 2, None, "expected 3 tab-separated columns .* got 2"),
        (HEADER + "q1\td1\t1\tx\n", 2, None, "got 4"),
        (HEADER + "q1 d1 1\n", 2, None, "got 1"),
        (HEADER + "q1\td1\t1\n\nq1\td2\t1.0\n", 4, "score", "an integer from -1000 to 1000"),
        (HEADER + "q1\td1\tyes\n", 2, "score", "got 'yes'"),
        (HEADER + "q1\td1\t1_0\n", 2, "score", "got '1_0'"),
        (HEADER + "q1\td1\t\uff11\n", 2, "score", "an integer"),
        (HEADER + "q1\td1\t1001\n", 2, "score", "from -1000 to 1000"),
        (HEADER + "q1\td1\t99999999999999999999\n", 2, "score", "from -1000 to 1000"),
        (HEADER + "\td1\t1\n", 2, "query-id", "non-empty"),
        (HEADER + "q1\t\t1\n", 2, "corpus-id", "non-empty"),
        (HEADER + "q1\td1\t1\nq1\td1\t1\n", 3, None, "'q1' and document 'd1' is judged twice"),
        ("q1\td1\t1\n", 1, None, "starts with the header"),
        ("1 0 a 1\n1 0 b\n", 2, None, "expected 4 columns .* got 3"),
        ("1 0 a x\n", 1, "score", "an integer"),
        (HEADER, None, None, "no judgement"),
        ("", None, None, "no judgement"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, line, field, message):
    path = write(tmp_path / "test.tsv", text)
    with pytest.raises(InputError, match=message) as caught:
        read_qrels(path)
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(path), line, field)
