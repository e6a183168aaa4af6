"""What the multi-vector benchmark counts, on data small enough to count by hand."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from cormorant.contracts import EncodedTokens
from cormorant.errors import InputError
from cormorant.eval.bench import (
    muvera,
    muvera_data,
    muvera_plaid,
    muvera_processes,
    muvera_quality,
    muvera_recall,
)
from cormorant.eval.bench.muvera_candidates import (
    DEPTHS,
    SHARES,
    Shape,
    needed,
    of_fde,
    of_lemur,
    rows_of,
)
from cormorant.eval.bench.muvera_data import Prepared, TokenSet, asked_of, build, mark
from cormorant.eval.bench.muvera_eight import spread, taken
from cormorant.eval.bench.muvera_fixed import Fixed, K, mark_best, recall
from cormorant.eval.bench.muvera_tables import Tables
from cormorant.indexers.muvera import lemur
from cormorant.indexers.muvera.choosing import Learning
from cormorant.indexers.muvera.snippets import EVERY, snippet
from cormorant.kernels.maxsim import search, tokens_of
from cormorant.vectors import TokenVectors

QUIET = Console(quiet=True)


def _texts(n: int, least: int, most: int, seed: int) -> TokenVectors:
    """Unit vectors of 32 numbers around 200 centres."""
    random = np.random.default_rng(seed)
    starts = np.concatenate([[0], np.cumsum(random.integers(least, most + 1, n))])
    centres = np.random.default_rng(0).standard_normal((200, 32))
    drawn = centres[random.integers(0, 200, starts[-1])]
    drawn = drawn + 0.3 * random.standard_normal(drawn.shape)
    drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
    return TokenVectors(starts.astype(np.int64), drawn.astype(np.float32))


def _prepared(folder: Path, n: int) -> Prepared:
    made = _texts(n, 1, 4, 1)
    return Prepared(folder, made.vectors.astype(np.float16), made.starts, _texts(64, 2, 12, 2))


def test_candidates_needed() -> None:
    """The true best at ranks 1 to 10 of one query, at 10, 20, ... 100 of another."""
    scores = np.zeros((2, 200), np.float32)
    scores[0] = -np.arange(200)
    scores[1] = -np.arange(200)
    truth = np.stack([np.arange(10), 10 * np.arange(1, 11) - 1])
    counts = needed(scores, truth)
    assert list(counts) == [f"candidates@{d}:{s:.0%}" for d in DEPTHS for s in SHARES]
    # 80% of 20 are 16: the ten of the first, and six of the second, the last of them at rank 60 or
    # below; but ranks are sorted together: 1..10, 10, 20, 30, ...
    assert counts["candidates@10:80%"] == 60
    assert counts["candidates@10:95%"] == 90


def test_all_candidates_find_all() -> None:
    random = np.random.default_rng(0)
    starts = np.arange(0, 604, 3)
    tokens = tokens_of(random.standard_normal((603, 32)).astype(np.float32), starts)
    queries = TokenVectors(np.array([0, 4, 9]), random.standard_normal((9, 32)).astype(np.float32))
    truth = search(queries, tokens, K).places
    rows = Fixed(tokens, 1).rows(queries, truth, (10, 201), "")
    assert [row["setting"] for row in rows] == ["candidates=10", "candidates=201"]
    assert rows[0]["recall@10"] < rows[1]["recall@10"] == 1.0
    assert all(row["qps"] > 0 for row in rows)
    assert recall([[1, 2], [3, 4]], np.array([[1, 5], [3, 4]])) == 0.75


def test_the_few_are_as_long_as_all() -> None:
    random = np.random.default_rng(5)
    for _ in range(50):
        lengths = np.ceil(random.lognormal(2.6, 0.5, 64)).astype(np.int64)
        places = spread(lengths, 8)
        assert len(set(places.tolist())) == 8 and places.tolist() == sorted(places.tolist())
        assert abs(lengths[places].mean() - lengths.mean()) < 0.5
        np.testing.assert_array_equal(places, spread(lengths, 8))
    queries = _texts(64, 2, 12, 2)
    few = taken(queries, np.array([3, 40]))
    assert len(few) == 2
    np.testing.assert_array_equal(few[1:2].vectors, queries[40:41].vectors)


def test_rates_are_compared_over_the_same_queries() -> None:
    qps = {
        ("default", 64): 100.0,
        ("exhaustive", 64): 10.0,
        ("default", 8): 60.0,
        ("exhaustive", 8): 6.0,
    }
    best = {"setting": "candidates=512", "recall@10": 0.96, "qps": 200.0}
    ratios = muvera.ratios_of(0.95, qps, best, 0.5)
    assert ratios == {
        "qps_vs_exhaustive@0.95": 10.0,
        "qps_vs_sentence_transformers@0.95": 120.0,
        "qps_exhaustive_vs_sentence_transformers": 12.0,
        "qps_vs_exhaustive_fixed@0.95": 20.0,
    }
    missed = muvera.ratios_of(0.949, qps, None, 0.5)
    assert missed["qps_vs_exhaustive@0.95"] == missed["qps_vs_sentence_transformers@0.95"] == 0
    assert "qps_vs_exhaustive_fixed@0.95" not in missed


def test_the_best_fixed_number_says_how_it_was_chosen() -> None:
    rows = [
        {"setting": f"candidates={n}", "recall@10": found, "qps": qps}
        for n, found, qps in ((64, 0.9, 90.0), (128, 0.95, 50.0), (256, 0.99, 20.0))
    ]
    assert mark_best(rows, 0.95) is rows[1]
    assert rows[1]["setting"] == "candidates=128, chosen on these queries"
    assert mark_best(rows[:1], 0.95) is None
    assert rows[0]["setting"] == "candidates=64"


def test_fast_plaid_is_compared_at_the_target_and_at_our_recall() -> None:
    ours = {"recall@10": 0.97, "qps": 100.0}
    fixed = [{"recall@10": 0.96, "qps": 150.0}, {"recall@10": 0.9, "qps": 900.0}]
    theirs = [{"recall@10": found, "qps": qps} for found, qps in ((0.9, 80.0), (0.95, 50.0))]
    ratios = muvera_plaid.ratios_of(ours, fixed, theirs, 0.95)
    best = "qps_vs_fastplaid@their_best"
    assert ratios == {best: 2.0, "qps_vs_fastplaid@0.95": 2.0, "qps_vs_fastplaid_fixed@0.95": 3.0}
    theirs.append({"recall@10": 0.98, "qps": 10.0})
    assert muvera_plaid.ratios_of(ours, fixed, theirs, 0.95)["qps_vs_fastplaid@equal"] == 10.0
    short = {"recall@10": 0.94, "qps": 100.0}
    ratios = muvera_plaid.ratios_of(short, [], theirs, 0.95)
    assert ratios == {best: 0.0, "qps_vs_fastplaid@0.95": 0.0, "qps_vs_fastplaid@equal": 2.0}
    assert muvera_plaid.ratios_of(ours, fixed, theirs[:1], 0.95) == {best: 1.25}


def test_peers_have_our_threads_and_say_how_they_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = muvera_processes.environment()
    assert {given[name] for name in muvera_processes.THREADS} == {str(muvera_processes.threads())}
    assert given["PATH"] == os.environ["PATH"]
    assert muvera_processes.failure(-signal.SIGKILL, "") == "ended by SIGKILL"
    assert muvera_processes.failure(3, " lost \n") == "exit status 3 lost"

    interpreter = tmp_path / "python"
    interpreter.write_text("#!/bin/sh\nkill -SEGV $$\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("CORMORANT_BENCH_FASTEMBED", str(interpreter))
    with pytest.raises(InputError, match="fastembed failed: ended by SIGSEGV"):
        muvera_processes.peer("FASTEMBED", "fastembed", ["fastembed"])
    interpreter.write_text('#!/bin/sh\necho; echo "{\\"threads\\": $RAYON_NUM_THREADS}"\n')
    found = muvera_processes.peer("FASTEMBED", "fastembed", ["fastembed"])
    assert found == {"threads": muvera_processes.threads()}


def test_a_collection_from_before_is_built_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = _prepared(tmp_path, 40)
    folder = build(data, 30, QUIET)
    assert json.loads((folder / "done").read_text()) == mark(30)
    witness = folder / "witness"
    witness.touch()
    assert build(data, 30, QUIET) == folder and witness.exists()
    monkeypatch.setattr(muvera_data, "FORMAT", muvera_data.FORMAT + 1)
    build(data, 30, QUIET)
    assert not witness.exists()
    witness.touch()
    (folder / "done").write_text("")  # as it was written before there were marks
    build(data, 30, QUIET)
    assert not witness.exists()


def test_a_small_search_is_measured(tmp_path: Path) -> None:
    """All of the timed part on 2,600 passages, sentence-transformers' included."""
    pytest.importorskip("sentence_transformers")
    data = _prepared(tmp_path, 2600)
    rows, ratios = muvera._searching(data, tokens_of(data.vectors, data.starts), QUIET)
    systems = [(row["system"], row["setting"], row.get("queries")) for row in rows]
    assert systems[:6] == [
        ("cormorant", "target_recall=0.95", 64),
        ("cormorant", "exhaustive", 64),
        ("cormorant", "target_recall=0.95", 8),
        ("cormorant", "exhaustive", 8),
        ("sentence-transformers", "maxsim, one query a call", 8),
        ("sentence-transformers", "maxsim, all in one call", 8),
    ]
    means = [row["tokens_per_query"] for row in rows[:6]]
    assert means[0] == means[1] and means[2:] == [means[2]] * 4
    assert abs(means[0] - means[2]) < 0.5
    theirs = max(row["qps"] for row in rows[4:6])
    assert rows[0]["recall@10"] >= 0.95
    assert ratios["qps_vs_exhaustive@0.95"] == pytest.approx(rows[0]["qps"] / rows[1]["qps"])
    ratio = ratios["qps_vs_sentence_transformers@0.95"]
    assert ratio == pytest.approx(rows[2]["qps"] / theirs)


class _Hashed:
    """An encoder: a token for each word."""

    dim = 32

    def encode_query(self, texts: list[str]) -> EncodedTokens:
        words = [text.split() for text in texts]
        starts = np.cumsum([0, *map(len, words)]).astype(np.int64)
        vectors = np.array([[float(word)] * self.dim for own in words for word in own], np.float32)
        return EncodedTokens(TokenVectors(starts, vectors), np.zeros(len(texts), np.bool_))


def test_snippets_are_encoded_as_an_index_takes_them() -> None:
    random = np.random.default_rng(0)
    texts = [" ".join(map(str, random.integers(0, 1000, 30))) for _ in range(1500)]
    made = asked_of(_Hashed(), texts)  # type: ignore[arg-type]
    assert len(made) == len(texts)
    assert 0.5 / EVERY < np.mean(np.diff(made.starts) > 0) < 2 / EVERY
    for number, text in enumerate(texts):
        words = [float(word) for word in snippet(text).split()]
        assert made[number : number + 1].vectors[:, 0].tolist() == words


def _token_set(n: int) -> TokenSet:
    made, asked = _texts(n, 2, 5, 3), _texts(n, 1, 2, 4)
    tokens = tokens_of(made.vectors, made.starts)
    return TokenSet(tokens, _texts(6, 2, 6, 5), Learning(tokens, asked.vectors, asked.starts))


def test_tables_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shapes = (Shape(2, 4, 8, None), Shape(2, 4, 8, 64))
    monkeypatch.setattr("cormorant.eval.bench.muvera_candidates.SHAPES", shapes)
    monkeypatch.setattr("cormorant.eval.bench.muvera_candidates.LEMUR_SIZE", 64)
    data, tables = _token_set(1500), Tables(tmp_path / "bench" / "tables.json")
    stopped = rows_of("small", data, tables, 1)
    first = [next(stopped) for _ in range(3)]
    assert [row["setting"].split()[-1] for row in first] == ["float32", "int8", "codes"]
    again = list(rows_of("small", data, tables, 1))
    assert again[:3] == [row | {"cached": True} for row in first]
    assert len(again) == 13 and not any("cached" in row for row in again[3:])
    learned = again[-1]
    assert learned["setting"] == "small: lemur 64 int8"
    assert 0 < learned["learned_tokens"] <= lemur.LEARNED
    assert learned["snippet_tokens"] == len(_texts(1500, 1, 2, 4).vectors)
    assert all("cached" in row for row in rows_of("small", data, tables, 1))


def test_recall_is_of_the_exhaustive_best() -> None:
    """A higher target finds no less; candidates are fewer than all."""
    data = _token_set(4000)._replace(queries=_texts(30, 2, 6, 5))
    rows = muvera_recall.of_set("small", data, 1, QUIET)
    targets = muvera_recall.TARGETS
    assert [row["setting"] for row in rows] == [f"small: target_recall={one}" for one in targets]
    for depth in muvera_recall.DEPTHS:
        found = [row[f"recall@{depth}"] for row in rows]
        assert found == sorted(found) and 0.7 < found[0] < 1 and found[-1] >= 0.9
    stated = [row["candidates@10"] for row in rows]
    assert stated == sorted(stated) and stated[-1] < 2000
    assert all(row["on samples"] >= one for row, one in zip(rows, targets, strict=True))


def test_product_codes_stand_for_the_encodings() -> None:
    data = _token_set(600)
    made = {one.setting.split(" filled ")[1]: one.scores for one in of_fde(
        Shape(2, 4, 8, None), True, data, 1
    )}  # fmt: skip
    for name, least in (("int8", 0.999), ("product codes", 0.8)):
        for exact, rounded in zip(made["float32"], made[name], strict=True):
            assert np.corrcoef(exact, rounded)[0, 1] > least


def test_lemur_learns_from_snippets() -> None:
    """Other snippets make another network; what it learned from is said."""
    data = _token_set(600)
    (one,) = of_lemur(data, 64, 1)
    assert one.facts["snippet_tokens"] == len(_texts(600, 1, 2, 4).vectors)
    other = data._replace(learning=Learning(data.tokens, _texts(600, 1, 2, 9).vectors))
    (two,) = of_lemur(other, 64, 1)
    assert one.scores.shape == two.scores.shape == (6, 600)
    assert not np.array_equal(one.scores, two.scores)


def test_what_learns_sees_the_texts() -> None:
    ready = set(muvera_quality.READY)
    assert set(muvera_quality.VARIANTS) - ready == {"lemur", "auto"}
    assert {"pq", "centred", "centre_tried"} <= ready
