"""What pipelines cost, counted while they run."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import toys
from pair_scorers import WordScorer

import cormorant as cm
from cormorant.errors import InputError
from cormorant.eval.asking import ask_all
from cormorant.eval.cost import FREE, Prices, cost_columns, cost_of, prices_of
from cormorant.eval.progress import silent
from cormorant.eval.result import EvalResult
from cormorant.eval.spending import Spent, counted
from cormorant.stages import Completion

QUERIES = {"q1": "fish", "q2": "bird", "q3": "boat"}


@dataclass(frozen=True)
class Echo:
    """A language model that answers with a keyword and says what it took."""

    kind: ClassVar[str] = "echo"

    def complete(self, prompt, max_tokens):
        return Completion("heron", 40, 2)

    def count_tokens(self, text):
        return len(text.split())

    def next_token_scores(self, prompt, options):
        return np.arange(len(options), dtype=np.float32)


@pytest.fixture
def collection(monkeypatch, tmp_path):
    toys.use(monkeypatch)
    with cm.Collection.create(
        tmp_path / "c.cm", {"bm25": cm.BM25(), "dense": toys.ToyDense()}
    ) as collection:
        texts = ["a fish and a boat", "a bird and a fish", "a boat of the heron", "a heron"]
        collection.add([cm.Document(f"d{n}", text) for n, text in enumerate(texts)])
        yield collection


def asked(collection, pipeline):
    return ask_all(
        collection,
        QUERIES,
        pipeline,
        k=10,
        exclude_self=False,
        what="",
        progress=silent,
        clock=iter([0.0, 1.5]).__next__,
    )


def test_a_counted_model_is_told_what_it_takes(collection):
    """Time, what breaks a wait off, and prompts in their template: as where nothing is counted."""
    told: list[tuple[float | None, bool]] = []

    class Told(Echo):
        def complete(self, prompt, max_tokens, *, seconds=None, sleep=None):
            told.append((seconds, callable(sleep)))
            return Completion("heron", 40, 2)

        def count_prompt(self, prompt):
            told.append((None, False))
            return 40

    pipeline = cm.Pipeline("bm25", rerank=[cm.Listwise(Told(), depth=3)])
    spent = Spent()
    for own in (pipeline, counted(pipeline, spent)):
        told.clear()
        collection.search("heron", pipeline=own, timeout_ms=60_000)
        assert (None, False) in told
        assert any(seconds is not None and waits for seconds, waits in told)
    assert spent.model_calls == sum(waits for _, waits in told)


@pytest.mark.parametrize("stages", ["expanded", "fed back", "reranked"])
def test_models_are_counted_and_answers_are_the_same(collection, stages):
    pipeline = {
        "expanded": cm.Pipeline("bm25", reformulate=cm.GenQREnsemble(Echo(), 2)),
        "fed back": cm.Pipeline(
            ["bm25", "dense"], cm.RRF(), cm.GenQRFeedback(Echo(), instructions=2)
        ),
        "reranked": cm.Pipeline(
            "dense",
            rerank=[cm.Stage(cm.Listwise(Echo(), depth=3, method="first")), toys.ToyShortest()],
        ),
    }[stages]
    found = asked(collection, pipeline)
    plain = collection.search_batch(list(QUERIES.values()), 10, pipeline=pipeline)
    assert [[d for d, _ in hits] for hits in found.run.values()] == [result.ids for result in plain]
    spent = found.spent
    assert spent.search_seconds == 1.5
    if stages == "reranked":
        assert spent.model_calls >= 3
        assert spent.passages == 3 * 3 + 3 * 4
        assert spent.completion_tokens == spent.model_calls
        assert spent.encode_seconds > 0
    else:
        assert (spent.model_calls, spent.prompt_tokens, spent.completion_tokens) == (6, 240, 12)
        assert spent.passages == 0


def test_what_stands_inside_a_ranker_is_counted(collection):
    listwise = cm.Listwise(Echo(), depth=3, method="first")
    cascade = cm.Cascade(listwise, toys.ToyShortest(), margin=1.0)
    spent = asked(collection, cm.Pipeline("dense", rerank=[cm.Stage(cascade)])).spent
    deferred = spent.passages / 3 - len(QUERIES)
    assert 1 <= deferred <= len(QUERIES)
    assert spent.model_calls >= deferred
    asked_always = asked(collection, cm.Pipeline("dense", rerank=[cm.Cascade(listwise, margin=1)]))
    assert asked_always.spent.model_calls > 0


def test_what_a_retriever_scores_and_reads_is_counted(collection):
    scorer = WordScorer("costs")
    cur = cm.CUR(scorer, budget=2, anchors=None, side=None)
    spent = asked(collection, cm.Pipeline([cur])).spent
    assert spent.passages == len(scorer.calls) > 0
    sizes = {"bm25": 10, "dense": 20, "other": 40}
    for first, size in ((None, 70), (("bm25",), 10), (("a kind",), 70)):
        pipeline = cm.Pipeline([dataclasses.replace(cur, first=first)])
        assert cost_of(spent, 1, pipeline, sizes, FREE).index_bytes == size
    pipeline = cm.Pipeline([dataclasses.replace(cur, first=("bm25",), side="dense")])
    assert cost_of(spent, 1, pipeline, sizes, FREE).index_bytes == 30


def test_a_name_is_left_alone():
    assert counted("bm25", Spent()) == "bm25"


def test_money_is_tokens_and_time():
    spent = Spent(search_seconds=36.0, model_calls=8, prompt_tokens=2_000, completion_tokens=500)
    pipeline = cm.Pipeline(["bm25", "dense"], cm.RRF())
    sizes = {"bm25": 10, "dense": 20, "other": 40}
    cost = cost_of(spent, 4, pipeline, sizes, Prices(prompt=0.5, completion=2.0, hour=3.0))
    # A thousand queries: 500,000 and 125,000 tokens, 9,000 seconds.
    assert cost.money == pytest.approx(0.25 + 0.25 + 7.5)
    assert (cost.model_calls, cost.prompt_tokens, cost.search_seconds) == (2000, 500_000, 9000)
    assert cost.index_bytes == 30
    assert cost_of(spent, 4, "hybrid", sizes, FREE).index_bytes == 70
    assert cost.memory_bytes is None
    assert cost.as_json()["per_1000_queries"]["money"] == cost.money


def test_columns_are_those_with_something_in_them():
    def result(cost):
        return EvalResult("d", "p", {}, {}, {}, 1, cost=cost)

    spent = Spent(search_seconds=1.0, model_calls=3)
    paid = cost_of(spent, 1, "p", {"bm25": 5_000_000}, Prices(hour=3.6))
    free = cost_of(Spent(search_seconds=0.001), 1, "p", {}, FREE)
    columns = cost_columns([result(paid), result(free), result(None)])
    assert columns["calls/1k"] == ["3,000", "0", "-"]
    assert columns["used MB"] == ["5.00", "0", "-"]
    assert columns["money/1k"] == ["1.00", "0", "-"]
    assert "passages/1k" not in columns
    assert "encode s/1k" not in columns


def test_prices_are_read_and_refused():
    assert prices_of(["prompt=0.15", "hour=2"]) == Prices(prompt=0.15, hour=2.0)
    for word in ("prompt", "promt=1", "hour=-1", "hour=inf", "hour=x", "_lock=1"):
        with pytest.raises(InputError, match=r"--price.*is one of prompt=AMOUNT, .*hour=AMOUNT"):
            prices_of([word])
