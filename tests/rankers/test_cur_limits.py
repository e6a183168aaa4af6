"""What CUR keeps to: the end of the rows, the time, the memory, the calls that a query may make."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from pair_scorers import WordScorer, use_word_scorer

import cormorant as cm
from cormorant.errors import DeadlineError, ModelNotFoundError
from cormorant.eval.spending import Spent, counted
from cormorant.rankers.cur import searching
from cormorant.rankers.cur.anchors import Anchors
from cormorant.rankers.cur.features import Features, Line, estimates
from cormorant.rankers.cur.rounds import Plan, Pool, search
from cormorant.stages import Completion

WORDS = ["reed", "tide", "eel", "gull", "kelp", "mist"]


@pytest.fixture(autouse=True)
def _scorer(monkeypatch: pytest.MonkeyPatch) -> None:
    use_word_scorer(monkeypatch)


def documents(n: int, words: int = 6) -> list[cm.Document]:
    random = np.random.default_rng(0)
    return [
        cm.Document(f"d{number}", " ".join(random.choice(WORDS, words)), metadata={"low": number})
        for number in range(n)
    ]


def plain(path: Path, n: int = 200) -> cm.Collection:
    """A collection of texts that are all different."""
    made = cm.Collection.create(path, {"bm25": cm.BM25()})
    made.add(
        cm.Document(item.id, f"{item.text} number{place}")
        for place, item in enumerate(documents(n))
    )
    return made


# -- rows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fused", [False, True])
def test_split_documents_fewer_than_asked_for_are_all_found_and_the_search_ends(
    tmp_path: Path, fused: bool
) -> None:
    cur = cm.CUR(WordScorer(), budget=20, side=None)
    pipeline = cm.Pipeline([cur, "bm25"], cm.RRF()) if fused else cm.Pipeline([cur])
    with cm.Collection.create(
        tmp_path / "c.cm", {"bm25": cm.BM25()}, chunk=cm.Chunking(16, 2)
    ) as made:
        made.add(documents(12, words=100))
        found = made.search(
            "eel", k=10, pipeline=pipeline, filter={"low": {"lt": 3}}, timeout_ms=60_000
        )
        assert sorted(found.ids) == ["d0", "d1", "d2"]
        small = cm.Pipeline([cm.CUR(WordScorer(), budget=5, side=None, pool=10)])
        assert 0 < len(made.search("eel", k=10, pipeline=small, timeout_ms=60_000)) <= 10


# -- time --------------------------------------------------------------------------------------


def pools_of(scores: np.ndarray) -> list[Pool]:
    vectors = np.random.default_rng(1).normal(size=(scores.shape[1], 6))
    return [Pool(scores.shape[1], own + 0.1, None, vectors, 0.1) for own in scores]


@pytest.mark.parametrize("at_once", [1, 7, 64])
def test_in_how_many_calls_a_round_is_scored_changes_nothing(at_once: int) -> None:
    scores = np.random.default_rng(2).normal(size=(5, 80))
    plans = [Plan("axn", 30, 4, 0.3, 0)] * 5
    sizes: list[int] = []

    def score(numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
        sizes.append(len(places))
        return scores[numbers, places]

    whole, _ = search(pools_of(scores), plans, score)
    sizes.clear()
    parts, _ = search(pools_of(scores), plans, score, at_once=at_once)
    assert max(sizes) <= at_once
    for one, other in zip(whole, parts, strict=True):
        for field in ("items", "scores", "others", "estimates"):
            assert getattr(one, field).tobytes() == getattr(other, field).tobytes()


def test_time_that_runs_out_within_a_round_leaves_every_query_its_best() -> None:
    scores = np.random.default_rng(3).normal(size=(4, 80))
    looks = iter([False, False, False, True])
    found, failure = search(
        pools_of(scores),
        [Plan("axn", 40, 1, 0.3, 0)] * 4,
        lambda numbers, places: scores[numbers, places],
        lambda: next(looks),
        at_once=6,
    )
    assert failure is None
    assert [answer.calls for answer in found] == [5, 5, 4, 4]
    for row, answer in zip(scores, found, strict=True):
        assert answer.items.tolist() == np.argsort(-row)[: answer.calls].tolist()


@pytest.mark.parametrize("on_error", ["raise", "keep"])
@pytest.mark.parametrize("rounds", [1, 8])
def test_a_round_of_many_pairs_ends_with_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rounds: int, on_error: str
) -> None:
    scored, scorer = WordScorer.score_pairs, WordScorer("slow")

    def slowly(self: WordScorer, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        time.sleep(0.01 * len(pairs))
        return scored(self, pairs)

    cur = cm.CUR(scorer, budget=150, side=None, rounds=rounds, on_error=on_error)
    asked = ["eel", "tide mist", "gull", "kelp reed"]
    with plain(tmp_path / "c.cm") as made:
        made.search("warm", pipeline=cm.Pipeline([cm.CUR(WordScorer(), budget=5, side=None)]))
        monkeypatch.setattr(WordScorer, "score_pairs", slowly)
        with pytest.raises(DeadlineError):
            made.search_batch(asked, k=5, pipeline=cm.Pipeline([cur]), timeout_ms=1000)
        assert 0 < len(scorer.calls) <= 128
        scorer.calls.clear()
        for result in made.search_batch(
            asked, k=5, pipeline=cm.Pipeline([cur]), timeout_ms=1000, partial=True
        ):
            assert any("cur: the time ran out after" in flag for flag in result.flags)
        assert {query for query, _ in scorer.calls} == set(asked)


def test_time_that_is_over_with_the_last_call_is_no_whole_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = WordScorer.score_pairs

    def slowly(self: WordScorer, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        time.sleep(0.6)
        return scored(self, pairs)

    pipeline = cm.Pipeline([cm.CUR(WordScorer(), budget=10, side=None, rounds=1)])
    with plain(tmp_path / "c.cm") as made:
        made.search("warm", pipeline=pipeline)
        monkeypatch.setattr(WordScorer, "score_pairs", slowly)
        with pytest.raises(DeadlineError):
            made.search_batch(["eel"], pipeline=pipeline, timeout_ms=500)


def test_a_cancelled_search_begins_no_further_call() -> None:
    scores = np.random.default_rng(4).normal(size=(3, 2000))
    cancelled, sizes = Event(), []

    def score(numbers: np.ndarray, places: np.ndarray) -> np.ndarray:
        sizes.append(len(places))
        cancelled.set()
        return scores[numbers, places]

    def look() -> bool:
        if cancelled.is_set():
            raise DeadlineError("cancelled")
        return False

    with pytest.raises(DeadlineError):
        search(pools_of(scores), [Plan("axn", 900, 1, 0.3, 0)] * 3, score, look)
    assert sizes == [1024]


# -- memory ------------------------------------------------------------------------------------


def test_queries_share_what_is_known_of_the_rows_however_small_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Pool] = []

    def noted(pools: Sequence[Pool], *others: object) -> object:
        seen.extend(pools)
        return search(pools, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(searching, "search", noted)
    scorer = WordScorer()
    indexes = {"bm25": cm.BM25(), "anchors": Anchors(scorer, tuple(WORDS))}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as made:
        made.add(documents(90))
        for method, field in (("axn", "vectors"), ("adacur", "anchors")):
            seen.clear()
            cur = cm.CUR(scorer, method=method, budget=8, pool=20)
            made.search_batch(["eel", "gull mist", "reed"], k=5, pipeline=cm.Pipeline([cur]))
            assert len({id(getattr(pool, field)) for pool in seen}) == 1
            assert [pool.size for pool in seen] == [20] * 3


def test_estimates_of_few_rows_are_those_of_a_copy_of_them() -> None:
    random = np.random.default_rng(5)
    shared, own = random.normal(size=(4000, 31)), random.normal(size=(1100, 2))
    features = [Features(shared, np.sort(random.permutation(4000)[:1100]), own) for _ in range(3)]
    lines = [Line(random.normal(size=33), 0.5) for _ in features]
    copies = [Features(shared[one.places], None, own) for one in features]
    for one, other in zip(estimates(features, lines), estimates(copies, lines), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-8)


# -- calls -------------------------------------------------------------------------------------


class Keywords:
    """A language model whose every instruction brings another word."""

    kind = "keywords"

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        return Completion(f"{WORDS[len(prompt) % 6]}, more{len(prompt) % 97}", 1, 1)


@pytest.mark.parametrize(
    "more",
    [
        {"reformulate": cm.GenQRFusion(Keywords())},
        {"reformulate": cm.GenQREnsemble(Keywords())},
        {"feedback": cm.GenQRFeedback(Keywords())},
        {"feedback": cm.GenQRFeedback(Keywords(), fuse=cm.RRF())},
    ],
)
@pytest.mark.parametrize("budget", [5, 60])
def test_the_budget_is_a_query_s_however_many_texts_are_searched_for_it(
    tmp_path: Path, more: dict[str, object], budget: int
) -> None:
    scorer = WordScorer("budgeted")
    pipeline = cm.Pipeline([cm.CUR(scorer, budget=budget, side=None)], **more)  # type: ignore[arg-type]
    asked = ["eel", "tide mist"]
    with plain(tmp_path / "c.cm") as made:
        together = made.search_batch(asked, k=10, pipeline=pipeline)
        assert len(scorer.calls) == 2 * budget
        for query, result in zip(asked, together, strict=True):
            scorer.calls.clear()
            alone = made.search(query, k=10, pipeline=pipeline)
            assert len(scorer.calls) == budget
            assert alone.ids == result.ids


def test_calls_that_the_first_pass_did_not_need_are_left_to_the_second(tmp_path: Path) -> None:
    scorer = WordScorer("second")
    pipeline = cm.Pipeline(
        [cm.CUR(scorer, budget=100, side=None)],
        feedback=cm.GenQRFeedback(Keywords(), fuse=cm.RRF()),
    )
    with plain(tmp_path / "c.cm", n=20) as made:
        made.search("eel", pipeline=pipeline)
    assert len(scorer.calls) == 100
    assert sum(query == "eel" for query, _ in scorer.calls) == 20


# -- the scorer --------------------------------------------------------------------------------


class Backwards(WordScorer):
    """Another scorer, of which anchors say something else."""

    @property
    def identity(self) -> str:
        return "backwards"

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        return -super().score_pairs(pairs)


def test_anchor_scores_of_another_scorer_are_flagged(tmp_path: Path) -> None:
    indexes = {"bm25": cm.BM25(), "anchors": Anchors(WordScorer(), tuple(WORDS))}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as made:
        made.add(documents(30))
        for scorer, flagged in ((WordScorer("same"), False), (Backwards("other"), True)):
            pipeline = cm.Pipeline([cm.CUR(scorer, budget=10)])
            for one in (pipeline, counted(pipeline, Spent())):
                flags = made.search("eel", pipeline=one).flags
                told = "cur: 'anchors' holds scores of another scorer (words, not backwards)"
                assert (told in flags) == flagged


def test_a_scorer_that_is_not_there_fails_as_a_scorer_does(tmp_path: Path) -> None:
    """Comparing it with the anchors' raised where failures are kept."""
    missing = cm.CrossEncoder(str(tmp_path / "nowhere"))
    with plain(tmp_path / "c.cm") as made:
        made.add_index("anchors", Anchors(WordScorer(), ("eel tide", "gull", "reed kelp", "mist")))
        made.wait_indexed()
        kept = cm.CUR(missing, budget=20, side=None, on_error="keep")
        result = made.search("eel", pipeline=cm.Pipeline([kept]))
        assert any("the scorer failed half-way: ModelNotFoundError" in one for one in result.flags)
        raising = cm.CUR(missing, budget=20, side=None)
        with pytest.raises(ModelNotFoundError):
            made.search("eel", pipeline=cm.Pipeline([raising]))


def test_texts_without_a_call_are_flagged(tmp_path: Path) -> None:
    cur = cm.CUR(WordScorer(), budget=4, side=None)
    pipeline = cm.Pipeline([cur], reformulate=cm.GenQRFusion(Keywords(), instructions=6))
    with plain(tmp_path / "c.cm") as made:
        flags = made.search("eel", pipeline=pipeline).flags
    assert any("texts had no call: budget is too small" in flag for flag in flags)


def test_the_last_call_is_the_second_retrieval_s(tmp_path: Path) -> None:
    cur = cm.CUR(scorer := WordScorer("one call"), budget=1, side=None)
    pipeline = cm.Pipeline([cur], feedback=cm.GenQRFeedback(Keywords(), instructions=1))
    with plain(tmp_path / "c.cm") as made:
        assert made.search("eel", pipeline=pipeline).ids
    assert len(scorer.calls) == 1
