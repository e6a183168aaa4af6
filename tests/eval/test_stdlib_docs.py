"""The demonstration corpus: what is read from the standard library, and the judgements."""

import csv
import json
import re
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from cormorant.eval import stdlib_docs
from cormorant.eval.stdlib_docs import StdlibDoc, read_stdlib

FOLDER = Path(stdlib_docs.__file__).parent

SAMPLE = '''
"""The module."""

import nothing_of_that_name

raise SystemExit("this module must not be imported")


def plain(a, /, b: int = 1, *args, c="x", **kwargs) -> str:
    """
    Summary.

        Indented.
    """

    def inner():
        """Not covered."""


async def waiting():
    """Wait."""


class Outer:
    """The outer class."""

    class Inner:
        """The inner class."""

        def method(self):
            """The inner method."""

    @property
    def size(self):
        """The getter."""

    @size.setter
    def size(self, value):
        """The setter."""

    if True:

        def conditional(self):
            """A method after all."""

    def silent(self):
        pass

    def blank(self):
        """   """


try:
    import something
except ImportError:

    def fallback():
        """Defined only where needed."""
'''


@pytest.fixture(scope="module")
def corpus() -> dict[str, StdlibDoc]:
    return {doc.id: doc for doc in read_stdlib()}


@pytest.fixture(scope="module")
def queries() -> dict[str, str]:
    lines = (FOLDER / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert all(record.keys() == {"_id", "text"} for record in records)
    assert len({record["_id"] for record in records}) == len(records)
    return {record["_id"]: record["text"] for record in records}


@pytest.fixture(scope="module")
def judgements() -> dict[str, dict[str, int]]:
    with (FOLDER / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter="\t")
    assert header == ["query-id", "corpus-id", "score"]
    assert len({(query, document) for query, document, _ in rows}) == len(rows)
    judged: dict[str, dict[str, int]] = defaultdict(dict)
    for query, document, score in rows:
        judged[query][document] = int(score)
    return judged


def write(path: Path, text: str = '"""Text."""\n') -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_the_corpus_is_large_and_its_ids_are_unique(corpus):
    docs = list(read_stdlib())
    assert len(docs) >= 6000
    assert len({doc.id for doc in docs}) == len(docs)
    assert docs == list(corpus.values()), "the order differs from one call to the next"


def test_every_record_is_whole(corpus):
    for doc in corpus.values():
        assert doc.text.strip() == doc.text != ""
        assert doc.title.startswith(doc.id)
        assert doc.metadata.keys() == {"module", "kind"}
        assert doc.metadata["kind"] in {"module", "class", "function", "method"}
        module = doc.metadata["module"]
        assert doc.id == module or doc.id.startswith(module + ".")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("asyncio.tasks.gather", "function"),
        ("collections.abc.Mapping", "class"),
        ("datetime.date.fromisoformat", "method"),
        ("decimal.Decimal.quantize", "method"),
        ("functools.lru_cache", "function"),
        ("json", "module"),
        ("os.walk", "function"),
        ("pathlib.Path.glob", "method"),
        ("textwrap.TextWrapper", "class"),
        ("unittest.mock.Mock", "class"),
    ],
)
def test_known_names_are_there(corpus, name, kind):
    assert corpus[name].metadata["kind"] == kind


def test_a_function_s_title_shows_its_signature(corpus):
    assert corpus["functools.lru_cache"].title == "functools.lru_cache(maxsize=128, typed=False)"
    assert corpus["json"].title == "json"


def test_tests_and_third_party_code_are_left_out(corpus):
    modules = {doc.metadata["module"] for doc in corpus.values()}
    for module in modules:
        assert not {"test", "tests", "idlelib", "turtledemo"} & set(module.split(".")), module
    assert not any("site-packages" in module or "pip" in module.split(".") for module in modules)


def test_nothing_is_imported(corpus):
    before = set(sys.modules)
    assert len(list(read_stdlib())) == len(corpus)
    assert set(sys.modules) == before
    # Importing antigravity opens a browser, and this prints a poem.
    assert "antigravity.geohash" in corpus
    assert not {"antigravity", "this"} & set(sys.modules)


def test_what_is_read_from_a_source_file(tmp_path):
    write(tmp_path / "package" / "sample.py", SAMPLE)
    docs = {doc.id: doc for doc in read_stdlib(tmp_path)}
    assert [(doc.id, doc.metadata["kind"]) for doc in docs.values()] == [
        ("package.sample", "module"),
        ("package.sample.plain", "function"),
        ("package.sample.waiting", "function"),
        ("package.sample.Outer", "class"),
        ("package.sample.Outer.Inner", "class"),
        ("package.sample.Outer.Inner.method", "method"),
        ("package.sample.Outer.size", "method"),
        ("package.sample.Outer.conditional", "method"),
        ("package.sample.fallback", "function"),
    ]
    plain = docs["package.sample.plain"]
    assert plain.title == "package.sample.plain(a, /, b: int=1, *args, c='x', **kwargs)"
    assert plain.text == "Summary.\n\n    Indented."
    assert plain.metadata == {"module": "package.sample", "kind": "function"}
    assert docs["package.sample.Outer.size"].text == "The getter."


def test_which_files_are_read_and_in_which_order(tmp_path):
    for name in [
        "b.py",
        "a/__init__.py",
        "a/z.py",
        "a/test/c.py",
        "a/tests/c.py",
        "a/idle_test/c.py",
        "a/__pycache__/c.py",
        "site-packages/c.py",
        "dist-packages/c.py",
        "config-3.11-x86_64-linux-gnu/c.py",
        "ensurepip/__init__.py",
        "ensurepip/_bundled/c.py",
        "idlelib/c.py",
        "turtledemo/c.py",
        "_pydecimal.py",
        "decimal.py",
        "d.txt",
    ]:
        write(tmp_path / name)
    assert [doc.id for doc in read_stdlib(tmp_path)] == ["decimal", "a", "a.z", "b", "ensurepip"]


def test_what_cannot_be_parsed_is_skipped(tmp_path):
    write(tmp_path / "good.py", '"""Good, though \\d is no escape."""\n')
    write(tmp_path / "broken.py", '"""Broken."""\nprint "hello"\n')
    write(tmp_path / "null.py", '"""Null."""\n\0')
    (tmp_path / "latin.py").write_bytes(b'# coding: latin-1\n"""Caf\xe9."""\n')
    (tmp_path / "bytes.py").write_bytes(b'"""Caf\xe9, with no word of its encoding."""\n')
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    assert {doc.id: doc.text for doc in read_stdlib(tmp_path)} == {
        "good": "Good, though \\d is no escape.",
        "latin": "Café.",
    }


def test_there_are_enough_questions_and_each_is_judged(queries, judgements):
    assert len(queries) >= 100
    assert len(set(queries.values())) == len(queries)
    assert judgements.keys() == queries.keys()
    for query, judged in judgements.items():
        assert 1 <= len(judged) <= 5, query
        assert set(judged.values()) <= {1, 2}, query
        assert 2 in judged.values(), query


def test_no_question_names_its_answer(queries, judgements):
    for query, judged in judgements.items():
        words = set(re.findall(r"\w+", queries[query].lower()))
        for name, score in judged.items():
            assert score < 2 or name.rpartition(".")[2].lower() not in words, (query, name)


def test_what_is_judged_exists(corpus, judgements):
    names = {name for judged in judgements.values() for name in judged}
    missing = sorted(names - corpus.keys())
    if sys.version_info[:2] == (3, 11):
        assert not missing
    assert len(missing) <= 0.05 * len(names), missing


def test_the_answers_are_spread_over_many_modules(corpus, judgements):
    modules = {
        corpus[name].metadata["module"]
        for judged in judgements.values()
        for name, score in judged.items()
        if score == 2 and name in corpus
    }
    assert len(modules) >= 50
