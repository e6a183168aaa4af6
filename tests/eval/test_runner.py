"""The runner, on a toy collection that ranks by shared words."""

import itertools
import json
import shutil
from pathlib import Path

import pytest

from cormorant.documents import Document
from cormorant.errors import InputError
from cormorant.eval import runner
from cormorant.eval.datasets import load_dataset
from cormorant.eval.result import results_json, save_result
from cormorant.eval.runner import run_dataset, run_files
from cormorant.eval.trec import read_run
from cormorant.results import Answers, Span, Stored

HEADER = "query-id\tcorpus-id\tscore\n"


class Toy:
    """Ranks by the number of shared words, ties by id; the pipeline ``worst`` the other way."""

    made = ()

    def __init__(self, path, indexes):
        self.path, self.indexes, self.calls, self.closed = path, indexes, [], False
        self.documents: list[Document] = []
        (path / "segments" / "toy" / "1").mkdir(parents=True)
        (path / "catalog.sqlite").write_bytes(b"c" * 7)
        Toy.made = (*Toy.made, self)

    def add(self, documents):
        self.documents.extend(documents)

    def flush(self):
        (self.path / "segments" / "toy" / "1" / "words.npy").write_bytes(b"s" * 100)

    def search(self, query, *, k, pipeline):
        self.calls.append((query, k, pipeline))
        return self._result(query, k, pipeline).load()

    def search_batch(self, queries, *, k, pipeline):
        self.calls.append((len(queries), k, pipeline))
        return [self._result(query, k, pipeline) for query in queries]

    def close(self):
        self.closed = True

    def _result(self, query, k, pipeline):
        words = set(query.split())
        scored = [
            (-len(words & set(document.text.split())), document.id, document)
            for document in self.documents
        ]
        scored = sorted((hit for hit in scored if hit[0]), reverse=pipeline == "worst")[:k]
        answers = Answers(
            [name for _, name, _ in scored],
            [float(-score) for score, _, _ in scored],
            [0, len(scored)],
            lambda number: [Stored(document, Span(0, 0)) for _, _, document in scored],
            version=1,
            timings_ms={},
            flags=("cut",) if "cut" in words else (),
        )
        return answers.results()[0]


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    texts = {"d1": "red fish", "d2": "blue fish", "d3": "one bird", "q2": "two birds"}
    queries = {"q1": "red fish", "q2": "two birds", "q3": "cut bird", "q4": "fish"}
    (folder / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in texts.items())
    )
    (folder / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": name, "text": text}) + "\n" for name, text in queries.items())
    )
    (folder / "qrels" / "test.tsv").write_text(
        HEADER + "q1\td1\t1\nq2\tq2\t1\nq3\td3\t1\nq4\td1\t0\n"
    )
    return load_dataset(folder)


@pytest.fixture(autouse=True)
def forget_collections():
    Toy.made = ()


def ticking():
    ticks = itertools.count()
    return lambda: next(ticks) * 0.25


def test_every_pipeline_on_one_collection(dataset, tmp_path):
    seen = []
    best, worst = run_dataset(
        dataset,
        {"bm25": "bm25", "upside": "worst"},
        create=Toy,
        indexes={"toy": "settings"},
        measures=["nDCG@10", "MRR@10", "R@200"],
        k=100,
        workdir=tmp_path,
        progress=lambda *now: seen.append(now),
        clock=ticking(),
    )
    (toy,) = Toy.made
    assert toy.indexes == {"toy": "settings"}
    assert toy.closed
    assert not toy.path.parent.exists()
    assert (4, 200, "bm25") in toy.calls
    assert (4, 200, "worst") in toy.calls
    assert best.measures == {"nDCG@10": 1.0, "RR@10": 1.0, "R@200": 1.0}
    assert worst.measures["RR@10"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert best.per_query["q3"] == {"nDCG@10": 1.0, "RR@10": 1.0, "R@200": 1.0}
    assert best.run["q1"] == [("d1", 2.0), ("d2", 1.0)]
    assert (best.dataset, best.pipeline, best.queries) == ("toy", "bm25", 3)
    assert best.latency_ms == {"p50": 250.0, "p95": 250.0, "p99": 250.0}
    assert (best.index_seconds, best.index_bytes, best.catalog_bytes) == (0.25, 100, 7)
    assert best.flags == {"cut": 1}
    assert ("toy: indexing", 4, 4) in seen
    assert ("toy: upside", 4, 4) in seen


def test_a_segment_that_is_merged_away_while_bytes_are_counted(tmp_path, monkeypatch):
    for name, size in (("segments/bm25/1/a", 10), ("segments/bm25/2/a", 5), ("catalog", 3)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    walk = Path.rglob

    def walking(self, pattern):
        for file in walk(self, pattern):
            if file.name == "1":
                shutil.rmtree(file)
            yield file

    monkeypatch.setattr(Path, "rglob", walking)
    assert runner._bytes_on_disk(tmp_path) == {"bm25": 5, "": 3}


def test_a_document_with_the_querys_id_is_not_dropped(dataset):
    (result,) = run_dataset(dataset, {"bm25": "bm25"}, create=Toy, indexes={})
    assert result.run["q2"] == [("q2", 2.0)]
    assert result.per_query["q2"]["RR@10"] == 1.0


def test_latency_is_of_single_searches_spread_over_the_queries(dataset, monkeypatch):
    monkeypatch.setattr("cormorant.eval.runner.LATENCY_QUERIES", 2)
    monkeypatch.setattr("cormorant.eval.runner.WARM_UP_QUERIES", 1)
    ticks = iter([0.0, 1.0, 1.0, 1.5, 2.0, 2.001, 3.0, 3.003])  # index, batch, two searches
    (result,) = run_dataset(
        dataset, {"p": "bm25"}, create=Toy, indexes={}, clock=lambda: next(ticks)
    )
    singles = [call for call in Toy.made[0].calls if isinstance(call[0], str)]
    assert singles == [("red fish", 10, "bm25"), ("red fish", 10, "bm25"), ("cut bird", 10, "bm25")]
    assert result.latency_ms == pytest.approx({"p50": 2.0, "p95": 2.9, "p99": 2.98})


def test_the_json_of_the_command_line(dataset):
    results = run_dataset(dataset, {"bm25": "bm25"}, create=Toy, indexes={}, clock=ticking())
    value = json.loads(json.dumps(results_json(results, {"python": "CPython"})))
    (row,) = value["results"]
    assert set(value) == {"results", "environment"}
    assert value["environment"] == {"python": "CPython"}
    assert row.pop("flags") == {"cut": 1}
    cost = row.pop("cost")
    assert cost.pop("memory_bytes") is None
    assert cost.pop("index_bytes") == 100
    assert cost.pop("per_1000_queries")["search_seconds"] == pytest.approx(0.25 / 4 * 1000)
    assert not cost
    assert row == {
        "dataset": "toy",
        "pipeline": "bm25",
        "measures": {"nDCG@10": 1.0, "R@100": 1.0, "RR@10": 1.0, "AP@100": 1.0},
        "latency_ms": {"p50": 250.0, "p95": 250.0, "p99": 250.0},
        "index_seconds": 0.25,
        "index_bytes": 100,
        "queries": 3,
    }


def test_runs_and_values_are_kept(dataset, tmp_path):
    (result,) = run_dataset(
        dataset, {"bm25": "bm25"}, create=Toy, indexes={}, runs=tmp_path / "runs"
    )
    folder = tmp_path / "runs"
    assert sorted(file.name for file in folder.iterdir()) == [
        "toy.bm25.per_query.jsonl",
        "toy.bm25.run.gz",
    ]
    back = read_run(folder / "toy.bm25.run.gz")
    assert {query: [name for name, _ in hits] for query, hits in back.items()} == {
        query: [name for name, _ in hits] for query, hits in result.run.items()
    }
    lines = (folder / "toy.bm25.per_query.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"query_id": query, "measures": values} for query, values in result.per_query.items()
    ]
    before = (folder / "toy.bm25.run.gz").read_bytes()
    save_result(result, folder)
    assert (folder / "toy.bm25.run.gz").read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pipelines": {}}, "no pipeline"),
        ({"measures": ["nDGC@10"]}, "unknown measure"),
        ({"k": 0}, "k is at least 1"),
        ({"pipelines": {"../x": "bm25"}, "runs": "runs"}, r"got '\.\./x'"),
        ({"pipelines": {"a b": "bm25"}, "runs": "runs"}, "got 'a b'"),
    ],
)
def test_refused_before_anything_is_built(dataset, changes, message):
    arguments = {"pipelines": {"p": "bm25"}, "create": Toy, "indexes": {}, **changes}
    with pytest.raises(InputError, match=message):
        run_dataset(dataset, **arguments)
    assert Toy.made == ()


def test_ids_that_no_run_file_holds_are_refused_while_reading(dataset, tmp_path):
    with dataset.corpus.open("a") as stream:
        stream.write('{"_id": "d 9", "text": "x"}\n')
    run_dataset(dataset, {"p": "bm25"}, create=Toy, indexes={})
    with pytest.raises(InputError, match="document id cannot be written"):
        run_dataset(dataset, {"p": "bm25"}, create=Toy, indexes={}, runs=tmp_path / "runs")
    assert Toy.made[-1].closed
    assert not Toy.made[-1].path.exists()


def test_judged_documents_that_are_missing_stop_the_build(dataset):
    with dataset.qrels_file.open("a") as stream:
        stream.write("q1\td99\t1\n")
    with pytest.raises(InputError, match="1 judged documents are not in corpus.jsonl"):
        run_dataset(load_dataset(dataset.path), {"p": "bm25"}, create=Toy, indexes={})
    assert Toy.made[0].closed


def test_a_few_missing_documents_are_a_flag_of_every_pipeline(dataset):
    with dataset.corpus.open("a") as stream:
        stream.writelines(f'{{"_id": "e{n}", "text": "x"}}\n' for n in range(100))
    with dataset.qrels_file.open("a") as stream:
        stream.writelines(f"q4\te{n}\t0\n" for n in range(100))
        stream.write("q1\td99\t1\nq4\td99\t1\n")
    found = run_dataset(load_dataset(dataset.path), {"p": "bm25"}, create=Toy, indexes={})
    assert found[0].flags == {"cut": 1, "judged documents are not in corpus.jsonl": 2}


def test_a_cost_is_of_a_warm_collection(dataset):
    """A batch of one query, untimed, comes before the one that the cost is taken from."""
    run_dataset(dataset, {"p": "bm25"}, create=Toy, indexes={})
    assert Toy.made[0].calls[:2] == [(1, 100, "bm25"), (4, 100, "bm25")]


def test_a_run_of_other_queries_is_refused(dataset, tmp_path):
    """It would be worth nothing, and look like a system that found nothing."""
    run = tmp_path / "other.run"
    run.write_text("x1 Q0 d1 1 1.0 t\n")
    message = "its first is 'x1', that of the judgements 'q1'"
    with pytest.raises(InputError, match=message):
        run_files(dataset, [run])
