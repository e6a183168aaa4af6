"""Run files and judgements as people have them: a right answer, or an error with its line."""

import gzip
import re
import subprocess
import sys
from pathlib import Path

import pytest

GOOD = "q1 Q0 a 1 3.0 t\nq1 Q0 b 2 2.0 t\nq2 Q0 a 1 1.0 t\n"
QRELS = "q1 0 a 1\nq2 0 b 1\nq2 0 a 0\n"


def packed(content: bytes) -> bytes:
    """The same bytes in every worker: gzip otherwise writes the time, and it names the test."""
    return gzip.compress(content, mtime=0)


@pytest.fixture
def compared(run):
    """RR of each query in one figure: q1's is 1 and q2's 0 where ``GOOD`` is understood."""

    def call(run_bytes: bytes, qrels_bytes: bytes = QRELS.encode(), name: str = "a.run"):
        Path(name).write_bytes(run_bytes)
        Path("qrels").write_bytes(qrels_bytes)
        code, out, err = run("compare", name, "--qrels", "qrels", "--measures", "RR P@1")
        figures = [line.split()[1:3] for line in out.splitlines() if line.startswith("a ")]
        return code, figures[0] if figures else None, err

    return call


@pytest.mark.parametrize(
    ("run_bytes", "name"),
    [
        (GOOD.encode(), "a.run"),
        (GOOD.replace("\n", "\r\n").encode(), "a.run"),
        (b"\xef\xbb\xbf" + GOOD.encode(), "a.run"),
        (GOOD.replace(" ", "\t").rstrip().encode(), "a.run"),
        (packed(GOOD.encode()), "a.run.gz"),
        (packed(GOOD.encode()), "a.run"),
        (packed(GOOD.replace("\n", "\r\n").encode()), "a.gz"),
        (GOOD.replace(" 2 2.0", " 1 2.0").encode(), "a.run"),  # a rank twice
        (GOOD.replace(" 1 ", " 0 ").replace(" 2 2.0", " 0 2.0").encode(), "a.run"),
        ("".join(GOOD.splitlines(keepends=True)[::-1]).encode(), "a.run"),  # scores rise
        (GOOD.replace("3.0", "3.4e38").replace("2.0", "-3.4E+38").encode(), "a.run"),
        (GOOD.replace("2.0", "3.0").replace(" b ", " A ").encode(), "a.run"),  # a tie
    ],
)
def test_the_right_answer(compared, run_bytes, name):
    assert compared(run_bytes, name=name) == (0, ["0.5000", "0.5000"], "")


@pytest.mark.parametrize(
    ("run_bytes", "message"),
    [
        (GOOD.replace("2.0 t", "2.0 my own tag").encode(), "a.run:2: expected 6 columns .* got 8"),
        (GOOD.replace(" b ", " b c ").encode(), "a.run:2: .* no id and no tag has white space"),
        (GOOD.replace("2.0", "1e308").encode(), r"a.run:2: field 'score': .* 32-bit .* '1e308'"),
        (GOOD.replace("2.0", "1e400").encode(), "a.run:2: field 'score'"),
        (GOOD.replace("2.0", "nan").encode(), "a.run:2: field 'score': .* got 'nan'"),
        (GOOD.replace("2.0", "2,0").encode(), "a.run:2: field 'score': .* got '2,0'"),
        (GOOD.replace(" b ", " a ").encode(), "a.run:2: the document 'a' occurs twice"),
        (b"", "a.run: no hit in this file"),
        (b"\r\n\n", "a.run: no hit in this file"),
        (packed(b""), "a.run: no hit in this file"),
        (packed(GOOD.encode())[:20], "a.run:1: cannot be read"),
        (GOOD.encode("utf-16"), "a.run:1: not UTF-8: byte 0xff"),
        (QRELS.encode(), "a.run:1: expected 6 columns .* got 4"),
    ],
)
def test_a_clear_error(compared, run_bytes, message):
    code, figures, err = compared(run_bytes)
    assert (code, figures) == (2, None)
    assert re.search(message, err), err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("qrels_bytes", "message"),
    [
        (b"", "qrels: no judgement in this file"),
        (b"q1 0 a 0\n", "no query has a positive judgement"),
        (b"q1 0 a -1\n", "no query has a positive judgement"),
        (b"q9 0 a 1\n", r"a\.run: no query of this run .* is 'q1', .* judgements 'q9'"),
        (b"q1 0 a 1\nq1 0 a 0\n", "qrels:2: .* judged twice"),
        (b"q1 0 a 1e3\n", "qrels:1: field 'score': a grade is an integer"),
        (b"q1 0 a -99999\n", "qrels:1: field 'score': .* from -1000 to 1000"),
        (GOOD.encode(), "qrels:1: expected 4 columns .* got 6"),
    ],
)
def test_bad_judgements(compared, qrels_bytes, message):
    code, _, err = compared(GOOD.encode(), qrels_bytes)
    assert code == 2
    assert re.search(message, err), err


def test_negative_grades_are_no_gain(compared):
    """A query that has nothing else is left out: trec_eval itself would crash on it, or hang."""
    qrels = b"q1 0 a 1\r\nq1 0 b -2\r\nq2 0 b 1\r\nq2 0 a -1\r\nq3 0 a -1\r\nq3 0 b -1000\r\n"
    assert compared(GOOD.encode(), qrels) == (0, ["0.5000", "0.5000"], "")


def test_measures_survive_negative_grades():
    """In a process of its own, as what goes wrong here ends the process."""
    code = (
        "from cormorant.eval.measures import evaluate\n"
        "qrels = {'q1': {'a': -1}, 'q2': {'a': -2, 'b': 2, 'c': -1000}, 'q3': {'a': -3, 'd': 0}}\n"
        "run = {q: [('c', 3.0), ('a', 2.0), ('b', 1.0)] for q in qrels}\n"
        "names = ['nDCG', 'nDCG@3', 'AP', 'RR', 'Bpref', 'infAP', 'Judged@10', 'P@2', 'Rprec']\n"
        "found = evaluate(names, qrels, run)\n"
        "assert list(found.per_query) == ['q2']\n"
        "assert found.means['nDCG'] == 0.5 and abs(found.means['RR'] - 1 / 3) < 1e-9\n"
        "assert found.means['P@2'] == 0.0 and found.means['Judged@10'] == 1.0\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
