"""Data sets from folders: BEIR's layout, TREC's files, and what is refused."""

import dataclasses
import gzip
import json
from pathlib import Path

import pytest

from cormorant.errors import InputError, UnknownNameError
from cormorant.eval import datasets
from cormorant.eval.datasets import load_dataset

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
HEADER = "query-id\tcorpus-id\tscore\n"
DOCUMENTS = [
    {"_id": "d1", "title": "Statins", "text": "and cancer"},
    {"_id": "d2", "title": "", "text": "diving birds"},
]
QUERIES = [
    {"_id": "q1", "text": "statins"},
    {"_id": "q2", "text": "birds"},
    {"_id": "q3", "text": "not judged here"},
]


def jsonl(values):
    return "".join(json.dumps(value) + "\n" for value in values)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    (folder / "corpus.jsonl").write_text(jsonl(DOCUMENTS))
    (folder / "queries.jsonl").write_text(jsonl(QUERIES))
    (folder / "qrels" / "test.tsv").write_text(HEADER + "q1\td1\t1\nq2\td2\t2\nq2\td1\t0\n")
    (folder / "qrels" / "train.tsv").write_text(HEADER + "q3\td2\t1\n")
    return folder


def refused(folder, message, **arguments):
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(folder, **arguments)
    return caught.value


def test_beir_layout(folder):
    dataset = load_dataset(folder)
    assert (dataset.name, dataset.path, dataset.split) == ("toy", folder, "test")
    assert dataset.queries == {"q1": "statins", "q2": "birds"}
    assert dataset.qrels == {"q1": {"d1": 1}, "q2": {"d2": 2, "d1": 0}}
    assert [document.id for document in dataset.documents()] == ["d1", "d2"]
    assert [file.name for file in dataset.files] == ["corpus.jsonl", "queries.jsonl", "test.tsv"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        dataset.name = "other"


def test_another_split(folder):
    dataset = load_dataset(str(folder), split="train")
    assert (dataset.queries, dataset.split) == ({"q3": "not judged here"}, "train")


def test_the_name_is_the_folders_wherever_one_stands(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert load_dataset(".").name == "toy"
    assert load_dataset("../toy/").name == "toy"


def test_compressed_files(folder):
    for name in ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"):
        plain = folder / name
        plain.with_name(f"{plain.name}.gz").write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    dataset = load_dataset(folder)
    assert len(list(dataset.documents())) == 2
    assert dataset.queries_file.name == "queries.jsonl.gz"


def test_trec_files_in_the_folder(folder):
    (folder / "queries.jsonl").unlink()
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "topics.txt").write_text("<top><num> Number: 7 <title> statins </top>")
    (folder / "qrels.test.txt").write_text("7 0 d1 1\n7 0 d2 0\n")
    dataset = load_dataset(folder)
    assert dataset.queries == {"7": "statins"}
    assert dataset.qrels == {"7": {"d1": 1, "d2": 0}}
    (folder / "topics.test.tsv").write_text("7\tthose of the split come first\n")
    assert load_dataset(folder).queries == {"7": "those of the split come first"}


def test_trec_files_by_argument(folder, tmp_path):
    topics, qrels = tmp_path / "t.tsv", tmp_path / "q.txt"
    topics.write_text("7\tbirds\n")
    qrels.write_text("7 0 d2 1\n")
    dataset = load_dataset(folder, topics=topics, qrels=str(qrels))
    assert (dataset.queries, dataset.qrels) == ({"7": "birds"}, {"7": {"d2": 1}})
    assert dataset.files == (folder / "corpus.jsonl", topics, qrels)


def test_missing_files_say_what_was_looked_for(folder):
    error = refused(
        folder, r"looked for qrels/dev\.tsv, .*; it has the splits test, train", split="dev"
    )
    assert error.file == str(folder)
    (folder / "queries.jsonl").unlink()
    refused(folder, r"no queries in this folder; looked for queries\.jsonl, topics\.test\.tsv")
    (folder / "corpus.jsonl").unlink()
    refused(folder, r"no documents in this folder; looked for corpus\.jsonl")
    refused(folder.parent, r"it holds several data sets|no documents")
    refused(folder, "a split is a plain name", split="../test")


def test_a_folder_of_data_sets_lists_them(folder):
    refused(folder.parent, rf"it holds several data sets: {folder.parent.name}/toy")


def test_a_file_is_not_a_data_set(folder):
    refused(folder / "corpus.jsonl", "a data set is a folder, this is a file")


def test_no_such_folder_is_not_looked_up(folder, monkeypatch):
    monkeypatch.setattr(datasets, "beir_folder", lambda *_, **__: pytest.fail("was looked up"))
    refused(folder / "none", "there is no such folder")


def test_a_name_that_is_not_beirs_lists_those_that_are():
    with pytest.raises(
        UnknownNameError, match=r"'scifacts' is neither a folder .* scidocs, scifact"
    ):
        load_dataset("scifacts")
    with pytest.raises(UnknownNameError, match=r"'robust04' is a BEIR data set that its owner"):
        load_dataset("robust04")


def test_a_beir_name_is_taken_from_the_cache(folder, monkeypatch, tmp_path):
    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "datasets").mkdir(parents=True)
    folder.rename(tmp_path / "cache" / "datasets" / "scifact")
    monkeypatch.chdir(tmp_path)
    assert load_dataset("scifact").name == "scifact"


def test_empty_corpus(folder):
    (folder / "corpus.jsonl").write_text("\n")
    assert refused(folder, "no document in this file").file == str(folder / "corpus.jsonl")


def test_broken_first_document(folder):
    (folder / "corpus.jsonl").write_text('{"_id": "d1"')
    assert refused(folder, "not JSON").line == 1


def test_broken_later_document(folder):
    (folder / "corpus.jsonl").write_text(jsonl(DOCUMENTS) + '{"_id": "d3"}\n')
    with pytest.raises(InputError, match="missing") as caught:
        next(iter(load_dataset(folder).documents()))
    assert (caught.value.line, caught.value.field) == (3, "text")


def test_duplicate_query_id(folder):
    (folder / "queries.jsonl").write_text(jsonl([*QUERIES, QUERIES[0]]))
    error = refused(folder, "'q1' is also on line 1")
    assert (error.line, error.field) == (4, "id")


def test_qrels_of_an_unknown_query(folder):
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q8\td1\t1\nq7\td1\t1\n")
    error = refused(folder, r"2 judged queries are not in queries\.jsonl, the first is 'q8'")
    assert error.file == str(folder / "qrels" / "test.tsv")
    assert (error.line, error.field) == (5, "query-id")


def test_no_positive_judgement(folder):
    (folder / "qrels" / "test.tsv").write_text(HEADER + "q1\td1\t0\nq2\td1\t-1\n")
    refused(folder, "no query has a positive judgement")
    (folder / "qrels" / "test.tsv").write_text(HEADER)
    refused(folder, "no judgement in this file")


def test_qrels_of_an_unknown_document(folder):
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q1\td9\t1\nq1\td8\t1\nq2\td9\t1\n")
    dataset = load_dataset(folder)
    message = r"2 judged documents are not in corpus\.jsonl, the first is 'd9'"
    with pytest.raises(InputError, match=message) as caught:
        dataset.check_qrels({"d1", "d2"})
    assert (caught.value.line, caught.value.field) == (5, "corpus-id")
    seen = []
    with pytest.raises(InputError, match=message):
        seen.extend(document.id for document in dataset.documents())
    dataset.check_qrels({"d1", "d2", "d8", "d9"})


def test_one_judged_document_in_a_hundred_may_be_missing(folder):
    """As in BEIR's ArguAna; of how many queries, the flags say."""
    known = "".join(f'{{"_id": "e{n}", "text": "x"}}\n' for n in range(100))
    with (folder / "corpus.jsonl").open("a") as stream:
        stream.write(known)
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("".join(f"q2\te{n}\t1\n" for n in range(100)) + "q1\td9\t1\n")
    flags = {}
    assert len(list(load_dataset(folder).documents(flags))) >= 100
    assert flags == {"judged documents are not in corpus.jsonl": 1}
    with (folder / "qrels" / "test.tsv").open("a") as stream:
        stream.write("q1\td8\t1\n")
    with pytest.raises(InputError, match="2 judged documents are not in"):
        list(load_dataset(folder).documents(flags))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared test collections are not here")
@pytest.mark.parametrize(
    ("name", "documents", "queries", "pairs"),
    [
        ("nfcorpus", 3633, 323, 12334),
        ("cranfield", 1400, 225, 1837),
        ("cisi", 1460, 76, 3114),
        ("vaswani", 11429, 93, 2083),
        ("xquad-zh", 240, 1190, 1190),
    ],
)
def test_published_counts(name, documents, queries, pairs):
    dataset = load_dataset(SHARED / name)
    assert sum(1 for _ in dataset.documents()) == documents
    assert len(dataset.queries) == len(dataset.qrels) == queries
    assert sum(map(len, dataset.qrels.values())) == pairs
