"""Queries from JSON lines, TREC topics and two-column files."""

import gzip
import json

import pytest

from cormorant.errors import InputError
from cormorant.eval.topics import read_queries

CLASSIC = """
<top>

<num> Number: 301
<title> International Organized
Crime &amp; <desc> Description:
Identify organizations ...

<narr> Narrative:
A relevant document must ...
</top>

<TOP>
<num>302</num><title>
poliomyelitis   and post-polio
</title>
</TOP>
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_beir(tmp_path):
    lines = [
        {"_id": "q2", "text": "two\twords", "metadata": {}},
        {"id": "q1", "text": "naïve"},
        {"_id": "q3", "text": ""},
    ]
    path = write(tmp_path / "queries.jsonl", "\n".join(map(json.dumps, lines)))
    assert read_queries(path) == {"q2": "two\twords", "q1": "naïve", "q3": ""}
    assert list(read_queries(path)) == ["q2", "q1", "q3"]
    packed = tmp_path / "queries.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert read_queries(packed) == read_queries(path)


def test_classic_topics(tmp_path):
    path = write(tmp_path / "topics.txt", CLASSIC)
    assert read_queries(path) == {
        "301": "International Organized Crime &",
        "302": "poliomyelitis and post-polio",
    }


def test_the_first_trec_titles_say_topic(tmp_path):
    text = "<top>\n<num> Number:  051\n<title> Topic:  Airbus Subsidies\n<desc> x\n</top>"
    path = write(tmp_path / "topics", text)
    assert read_queries(path) == {"051": "Airbus Subsidies"}


def test_two_columns(tmp_path):
    path = write(tmp_path / "topics.tsv", "1\twhat is x < y\n2\tAT&T &amp; co\n")
    assert read_queries(path) == {"1": "what is x < y", "2": "AT&T &amp; co"}


@pytest.mark.parametrize(
    ("name", "text", "line", "field", "message"),
    [
        ("q.jsonl", '{"_id": "1", "text": "x"}\n{"_id": "1"\n', 2, None, "not JSON"),
        ("q.jsonl", "[1]\n", 1, None, "expected a JSON object, got list"),
        ("q.jsonl", '{"text": "x"}\n', 1, "id", "missing"),
        ("q.jsonl", '{"_id": "1"}\n', 1, "text", "missing"),
        ("q.jsonl", '{"_id": 1, "text": "x"}\n', 1, "id", "expected a string, got int"),
        ("q.jsonl", '{"_id": "1", "text": ["x"]}\n', 1, "text", "expected a string, got list"),
        ("q.jsonl", '{"_id": "1", "text": "\\ud800"}\n', 1, "text", "lone surrogate"),
        ("q.jsonl", '{"_id": "", "text": "x"}\n', 1, "id", "non-empty"),
        ("q.jsonl", '{"_id": "a\\tb", "text": "x"}\n', 1, "id", "control characters"),
        ("q.jsonl", '{"_id":"1","text":"x"}\n\n{"_id":"1","text":"y"}', 3, "id", "also on line 1"),
        ("q.jsonl", "\n", None, None, "no query in this file"),
        ("t.tsv", "1\tone\n2 two\n", 2, None, "expected 2 tab-separated columns .* got 1"),
        ("t.tsv", "1\tone\tmore\n", 1, None, "got 3"),
        ("t.tsv", "\tone\n", 1, "id", "non-empty"),
        ("t.tsv", "1\tone\n1\ttwo\n", 2, "id", "also on line 1"),
        ("t.tsv", "", None, None, "no query in this file"),
        ("t.txt", "<top>\n<num> 1\n<title> x\n", None, None, "not closed"),
        ("t.txt", "<top>\n<num> 1\n<top>\n</top>", 3, None, "do not nest"),
        ("t.txt", "\n\n<title> x </top>", 3, None, "do not nest"),
        ("t.txt", "<top>\n<title> x\n</top>", 1, "num", "no <num>"),
        ("t.txt", "<top>\n<num> 1\n<title>\n<desc> x\n</top>", 1, "title", "no <title>"),
        ("t.txt", '<topics><topic number="1"/></topics>', None, None, "no <top>"),
        ("t.txt", CLASSIC + "<top><num>302<title>again</top>", 18, "id", "also on line 13"),
    ],
)
def test_a_broken_line_is_named(tmp_path, name, text, line, field, message):
    path = write(tmp_path / name, text)
    with pytest.raises(InputError, match=message) as caught:
        read_queries(path)
    assert (caught.value.file, caught.value.line, caught.value.field) == (str(path), line, field)
