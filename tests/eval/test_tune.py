"""Tuning: what is tried, what is chosen, and on which queries."""

import io
import itertools
import json
import random

import pytest
import toys
from rich.console import Console
from serving import in_process

import cormorant as cm
from cormorant.errors import InputError, MissingDependencyError
from cormorant.eval.datasets import load_dataset
from cormorant.eval.tune import FOLDS, datasets_of, pinned_version, tune_dataset
from cormorant.eval.tune_lists import FixedQueries
from cormorant.eval.tune_study import Study, Tried, front
from cormorant.eval.tune_tables import front_grid, print_tuning
from cormorant.eval.tuning import split
from cormorant.indexers.bm25.index import BM25Index
from cormorant.retrieval.pipeline import Pipeline, Retrieve, as_pipeline, read_pipeline

optuna = pytest.importorskip("optuna")

HEADER = "query-id\tcorpus-id\tscore\n"
WORDS = [
    "heron",
    "gull",
    "tern",
    "auk",
    "skua",
    "petrel",
    "diver",
    "grebe",
    "stork",
    "ibis",
    "rail",
]
BOTH = ["bm25", "dense"]


@pytest.fixture
def indexes(monkeypatch):
    toys.use(monkeypatch)
    return {
        "bm25": cm.BM25(),
        "plain": cm.BM25(language="none"),
        "dense": toys.ToyDense(dim=16),
    }


def written(folder, splits):
    """120 documents of bird names; a query is three words of the document it is for."""
    dice = random.Random(5)
    (folder / "qrels").mkdir(parents=True)
    texts = [" ".join(dice.choices(WORDS, k=12)) for _ in range(120)]
    lines = [json.dumps({"_id": f"d{n}", "text": text}) for n, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    queries = []
    for name, size in splits.items():
        judged = HEADER
        for number in range(size):
            document = dice.randrange(len(texts))
            words = dice.sample(texts[document].split(), 3)
            queries.append({"_id": f"{name}{number}", "text": " ".join(words)})
            judged += f"{name}{number}\td{document}\t1\n"
        (folder / "qrels" / f"{name}.tsv").write_text(judged)
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries))
    return folder


@pytest.fixture
def trained(tmp_path):
    return written(tmp_path / "trained", {"train": 20, "dev": 10, "test": 12})


@pytest.fixture
def untrained(tmp_path):
    return written(tmp_path / "untrained", {"test": 15})


def start_of(indexes):
    kinds = {name: "dense" if name == "dense" else "bm25" for name in indexes}
    return as_pipeline(Pipeline(BOTH, cm.Convex((0.02, 0.98))), kinds)


def ticking():
    ticks = itertools.count()
    return lambda: next(ticks) * 0.001


PIPELINES = [
    Pipeline("bm25"),
    Pipeline([Retrieve("dense", 7)]),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), depth=30),
    Pipeline(BOTH, cm.Convex((0.6, 0.4), "zscore", "zero"), depth=30),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), depth=40),
    Pipeline(["plain", Retrieve("dense", 5)], cm.RRF(20, (0.4, 0.6)), depth=30),
    Pipeline("bm25", feedback=cm.RM3(depth=3), depth=30),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), cm.VectorPRF(depth=2), depth=30),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), cm.VectorPRF(interpolate="after"), depth=30),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), cm.RM3(interpolate="before"), depth=30),
    Pipeline(BOTH, cm.Convex((0.3, 0.7)), [cm.RM3(), cm.VectorPRF()], depth=30),
    Pipeline(BOTH, cm.RRF(), reformulate=toys.ToyLower(), depth=30),
    Pipeline(BOTH, cm.RRF(), rerank=[toys.ToyShortest()], depth=30),
    Pipeline(BOTH, cm.Convex((0.8, 0.2)), depth=30),
]


def test_remembered_lists_answer_as_the_collection_does(indexes, untrained, tmp_path, monkeypatch):
    data = load_dataset(untrained)
    searches = []
    searched = BM25Index.search
    monkeypatch.setattr(
        BM25Index,
        "search",
        lambda self, *words: (searches.append(words[2]), searched(self, *words))[1],
    )
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(data.documents())
        collection.flush()
        expected = [
            collection.search_batch(list(data.queries.values()), 20, pipeline=pipeline)
            for pipeline in PIPELINES
        ]
        searches.clear()
        with pinned_version(collection.path) as version:
            lists = FixedQueries(version, data.queries)
            # Twice, and in both orders: what one pipeline left behind must not reach another.
            for number in [*range(len(PIPELINES)), *reversed(range(len(PIPELINES)))]:
                run = lists.run(PIPELINES[number], 20)
                for hits, result in zip(run.values(), expected[number], strict=True):
                    assert hits == list(zip(result.ids, result.scores, strict=True)), number
    # bm25 at depths 20, 30 and 40 and plain at 30, once each; then, both times, the second lists of
    # three feedbacks to bm25, and bm25 under the reformulation.
    assert len(searches) == 4 + 2 * 4


def test_tuned_on_training_queries_and_repeatable(indexes, trained):
    study = Study(trials=15, seed=3)
    tune = [
        tune_dataset(
            *datasets_of(trained), start_of(indexes), indexes, "nDCG@10", study, clock=ticking()
        )
        for _ in range(2)
    ]
    assert [(one.pipeline, one.value) for one in tune[0].tried] == [
        (one.pipeline, one.value) for one in tune[1].tried
    ]
    first = tune[0]
    assert (first.tuned_on, first.n_queries) == ("dev and train", 30)
    assert first.tried[0].pipeline == start_of(indexes)
    assert first.best.value == max(one.value for one in first.tried) > first.tried[0].value
    assert [result.queries for result in first.held_out] == [12, 12]
    assert {one.measure for one in first.against.comparisons} == set(first.held_out[0].measures)
    used = {item.index for one in first.tried for item in one.pipeline.retrieve}
    assert used == {"bm25", "plain", "dense"}, "a list may come from any index of its kind"
    seeded = study._replace(trials=2, seed=4)
    other = tune_dataset(
        *datasets_of(trained), start_of(indexes), indexes, "nDCG@10", seeded, clock=ticking()
    )
    assert other.tried[1:] != first.tried[1:3]
    text = [cell.text for row in front_grid(first).rows for cell in row]
    assert "tuned" in " ".join(text)
    assert first.as_json()["front"][-1]["value"] == first.best.value


def test_training_judgements_are_found_as_eval_finds_them(trained):
    qrels = trained / "qrels"
    lines = (qrels / "train.tsv").read_text().splitlines()[1:]
    trec = [f"{query} 0 {document} {grade}" for query, document, grade in map(str.split, lines)]
    (qrels / "train.txt").write_text("\n".join(trec))
    (qrels / "train.tsv").unlink()
    (qrels / "dev.tsv").rename(trained / "qrels.dev.tsv")
    assert [(data.split, len(data.qrels)) for data in datasets_of(trained)[1]] == [
        ("dev", 10),
        ("train", 20),
    ]
    assert [data.split for data in datasets_of(trained, "dev")[1]] == ["train"]


def test_the_held_out_judgements_decide_nothing(indexes, trained):
    study = Study(trials=6)
    before = tune_dataset(
        *datasets_of(trained), start_of(indexes), indexes, "RR@10", study, clock=ticking()
    )
    judged = [f"test{number}\td{number}\t1\n" for number in range(12)]
    (trained / "qrels" / "test.tsv").write_text(HEADER + "".join(judged))
    after = tune_dataset(
        *datasets_of(trained), start_of(indexes), indexes, "RR@10", study, clock=ticking()
    )
    assert after.best == before.best
    assert after.held_out[0].measures != before.held_out[0].measures


def test_a_fold_is_answered_by_what_the_others_taught(indexes, untrained, tmp_path):
    found = tune_dataset(
        *datasets_of(untrained),
        start_of(indexes),
        indexes,
        "nDCG@10",
        Study(trials=6, seed=1),
        clock=ticking(),
    )
    assert len(found.folds) == FOLDS
    data = load_dataset(untrained)
    names = list(data.queries)
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        collection.add(data.documents())
        for part, pipeline in zip(split(15, FOLDS, 1), found.folds, strict=True):
            for number in part.tolist():
                query = names[number]
                expected = collection.search(data.queries[query], 100, pipeline=pipeline).ids
                assert [document for document, _ in found.held_out[1].run[query]] == expected
    shown = io.StringIO()
    print_tuning(found, Console(file=shown))
    assert "all 15 queries, which chose the pipeline that is written" in shown.getvalue()
    assert "tuned: every query answered by the best pipeline on the other 4" in shown.getvalue()


def test_the_limit_is_kept_and_said_when_nothing_keeps_it(indexes, untrained):
    lists = {"bm25": 1.0, "dense": 5.0}

    class Space:
        start = Pipeline(BOTH, cm.RRF())

        def suggest(self, trial):
            name = trial.suggest_categorical("list", list(lists))
            return Pipeline([Retrieve(name, trial.suggest_int("depth", 1, 50))])

    def worth(pipeline):
        return sum(item.depth or 60 for item in pipeline.retrieve) / 100 + 0.1 * (
            pipeline.retrieve[-1].index == "dense"
        )

    def latency(pipeline):
        return sum(lists[item.index] for item in pipeline.retrieve)

    study = Study(trials=60, seed=1, max_latency_ms=2.0)
    tried = study.search(Space(), worth, latency, "toy")
    best = study.best(tried)
    assert best.latency_ms == 1.0
    assert best.pipeline.retrieve[0].depth > 40, "the search goes on among the fast ones"
    assert study._replace(max_latency_ms=None).best(tried).pipeline == Space.start
    with pytest.raises(InputError, match=r"within 0.5 ms; the fastest takes 1.00 ms"):
        study._replace(max_latency_ms=0.5).best(tried)


def test_the_front_holds_what_nothing_beats():
    pipeline = Pipeline("bm25")
    points = [(0.5, 3.0), (0.6, 3.0), (0.4, 1.0), (0.6, 5.0), (0.3, 2.0), (0.7, 9.0)]
    found = front([Tried(pipeline, value, latency) for value, latency in points])
    assert [(one.value, one.latency_ms) for one in found] == [(0.4, 1.0), (0.6, 3.0), (0.7, 9.0)]


def test_every_trial_is_a_pipeline_that_travels_as_json(indexes):
    from cormorant.eval.tune_space import Space
    from cormorant.retrieval.pipeline import pipeline_from_json

    start = Pipeline(BOTH, cm.RRF(), rerank=[cm.Stage(cm.CrossEncoder("m"), on_error="keep")])
    space = Space(start, indexes, at_least=100)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    made = [space.suggest(study.ask()) for _ in range(200)]
    for pipeline in made:
        assert pipeline_from_json(json.loads(json.dumps(pipeline.as_json()))) == pipeline
        assert pipeline.depth >= 100
        assert pipeline.rerank[0].on_error == "keep"
    fusions = {None if made.fuse is None else made.fuse.kind for made in made}
    assert fusions == {None, "convex", "rrf"}
    assert {len(pipeline.feedback) for pipeline in made} == {0, 1, 2}
    assert len({pipeline.rerank[0].depth for pipeline in made}) > 2


def test_search_eval_and_serve_take_the_file(run, trained, tmp_path):
    words = ("--with", "bm25", "--with", "plain:bm25")
    file = tmp_path / "tuned.json"
    start = tmp_path / "start.json"
    start.write_text('{"retrieve": ["bm25", "plain"], "fuse": {"kind": "rrf"}}')
    code, out, err = run(
        "tune", trained, "--pipeline", start, *words, "--trials", 8, "--max-latency-ms", 60000,
        "--out", file, "--json", "tune.json",
    )  # fmt: skip
    assert code == 0, err
    assert "tuned" in out
    value = json.loads((tmp_path / "tune.json").read_text())
    assert value["best"]["pipeline"] == json.loads(file.read_text())
    assert value["held_out"]["tuned"]["against"]["measures"]["nDCG@10"]["p"] <= 1
    assert value["environment"]["data"]
    assert read_pipeline(file).retrieve
    code, out, err = run("eval", trained, "--pipeline", file, *words, "--json", "-")
    assert code == 0, err
    measured = json.loads(out)["results"][0]["measures"]
    assert measured == value["held_out"]["tuned"]["measures"]
    assert run("index", trained, "--into", "papers.cm", *words)[0] == 0
    code, out, err = run("search", "papers.cm", "heron gull", "--pipeline", file, "--json", "-")
    assert code == 0, err
    ids = [hit["id"] for hit in json.loads(out)["hits"]]
    assert ids
    with in_process(collections=(tmp_path / "papers.cm",)) as client:
        body = {"query": "heron gull", "pipeline": json.loads(file.read_text())}
        reply = client.post("/v1/collections/papers/search", json=body)
        assert [hit["id"] for hit in reply.json()["hits"]] == ids, reply.text


@pytest.mark.parametrize("objective", ["AP", "nDCG@10"])
def test_a_measure_is_as_deep_as_in_the_check(indexes, untrained, objective):
    """Tuning looked at ten hits of lists of 30, the check at a hundred hits of lists of 100."""
    start = Pipeline(BOTH, cm.Convex((0.3, 0.7), missing="zero"), depth=30)
    found = tune_dataset(
        *datasets_of(untrained), start, indexes, objective, Study(trials=1), clock=ticking()
    )
    assert found.tried[0].value == pytest.approx(found.held_out[0].measures[objective], abs=1e-12)
    assert all(one.pipeline.depth >= found.depth == 100 for one in found.tried[1:])
    assert "of 100 hits a query, here and in the check" in front_grid(found).notes


def test_hits_with_the_querys_own_id_are_left_out_of_tuning_and_check(run, trained):
    """ArguAna and Quora: the query is a document, and stands first."""
    corpus = trained / "corpus.jsonl"
    queries = (trained / "queries.jsonl").read_text()
    corpus.write_text(corpus.read_text() + queries)
    words = ("--pipeline", "bm25", "--trials", 2, "--objective", "RR@10", "--out", "tuned.json")
    found = {}
    for extra in ((), ("--exclude-self",)):
        code, out, err = run("tune", trained, *words, *extra, "--json", "-")
        assert code == 0, err
        found[extra] = json.loads(out)
        code, out, err = run("eval", trained, "--pipeline", "tuned.json", *extra, "--json", "-")
        assert code == 0, err
        tuned = found[extra]["held_out"]["tuned"]["measures"]
        assert json.loads(out)["results"][0]["measures"] == tuned
        assert found[extra]["exclude_self"] == bool(extra)
    kept, left = found.values()
    assert left["start"]["value"] > kept["start"]["value"], "in tuning"
    before, after = (one["held_out"]["start"]["measures"] for one in (kept, left))
    assert after["RR@10"] > before["RR@10"], "and in the check"


def test_held_out_words_are_not_tuned_on(indexes, trained):
    """Five of NFCorpus' test queries are training queries, too, under another id."""
    queries = [json.loads(line) for line in (trained / "queries.jsonl").read_text().splitlines()]
    texts = {query["_id"]: query["text"] for query in queries}
    texts["train3"], texts["dev1"] = texts["test0"], f"  {texts['test2'].upper()}\n"
    lines = [json.dumps({"_id": name, "text": text}) for name, text in texts.items()]
    (trained / "queries.jsonl").write_text("\n".join(lines))
    study = Study(trials=1)
    found = tune_dataset(
        *datasets_of(trained), start_of(indexes), indexes, "RR", study, clock=ticking()
    )
    assert (found.n_queries, found.dropped, found.as_json()["dropped_queries"]) == (28, 2, 2)
    note = "2 more queries not tuned on: held-out queries have their words"
    assert note in front_grid(found).notes
    # As if they had not been there.
    for name in ("train", "dev"):
        file = trained / "qrels" / f"{name}.tsv"
        kept = [
            line
            for line in file.read_text().splitlines(keepends=True)
            if line.partition("\t")[0] not in ("train3", "dev1")
        ]
        file.write_text("".join(kept))
    again = tune_dataset(
        *datasets_of(trained), start_of(indexes), indexes, "RR", study, clock=ticking()
    )
    assert again.dropped == 0
    assert [one.value for one in again.tried] == [one.value for one in found.tried]


def test_a_fold_is_not_tuned_on_its_own_words(indexes, untrained):
    study = Study(trials=1, seed=1)
    queries = [json.loads(line) for line in (untrained / "queries.jsonl").read_text().splitlines()]
    parts = split(15, FOLDS, 1)
    queries[parts[0][0]]["text"] = queries[parts[1][0]]["text"]
    (untrained / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    found = tune_dataset(
        *datasets_of(untrained), start_of(indexes), indexes, "RR", study, clock=ticking()
    )
    assert found.dropped == 2, "each of the two once"
    for query in queries:
        query["text"] = "heron"
    (untrained / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    with pytest.raises(InputError, match="has the words of a held-out one: none is left"):
        tune_dataset(*datasets_of(untrained), start_of(indexes), indexes, "RR", study)


def test_what_cannot_be_tuned_or_written_is_said_first(run, untrained, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("cormorant.eval.tune.tune_dataset", None)
    for option in ("--out", "--json", "--resume"):
        code, _, err = run("tune", untrained, "--pipeline", "bm25", option, "file/x.json")
        assert code == 6
        assert "file: cannot be written" in err
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    few = written(tmp_path / "few", {"test": FOLDS - 1})
    code, _, err = run("tune", few, "--pipeline", "bm25", "--out", "new/folder/tuned.json")
    assert code == 2
    assert "fewer than 5 queries with a relevant judgement" in err
    assert (tmp_path / "new" / "folder").is_dir()


def test_without_optuna_it_says_what_to_install(indexes, untrained, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'cormorant\[tune\]'"):
        tune_dataset(
            *datasets_of(untrained), start_of(indexes), indexes, "nDCG@10", Study(trials=1)
        )
