"""``bench cur``: its score matrix (resumed, refused, counted, timed), plans, and what it says."""

from __future__ import annotations

import io
import json
import time
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from toys import ToyDense

import cormorant as cm
from cormorant.eval.bench import cur
from cormorant.eval.bench.cur_matrix import MatrixScorer, is_whole, matrix, use
from cormorant.eval.bench.cur_recall import DEPTHS, ahead, exact_order, means, shares, verdicts
from cormorant.eval.bench.sentences import shared_data
from cormorant.indexers.table import INDEXES
from cormorant.rankers.table import PAIR_SCORERS

QUERIES, TEXTS = ["a", "b", "a", "c"], ["x", "y", "x"]


def test_rows_are_kept_over_a_kill(tmp_path: Path) -> None:
    asked: list[str] = []

    def row(query: str) -> np.ndarray:
        if query == "b" and asked == ["a"]:
            asked.append("killed")
            raise KeyboardInterrupt
        asked.append(query)
        return np.array([ord(query), -ord(query)], np.float32)

    with pytest.raises(KeyboardInterrupt):
        matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    made = matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    assert asked == ["a", "killed", "b", "c"]
    assert made.queries == ("a", "b", "c")
    assert made.texts == ("x", "y")
    np.testing.assert_array_equal(made.scores, [[97, -97], [98, -98], [99, -99]])
    with pytest.raises(cm.InputError, match="other queries"):
        matrix(tmp_path, ["z"], TEXTS, row, lambda done, of: None)


def test_the_scorer_looks_up_and_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        PAIR_SCORERS, "score_matrix", "cormorant.eval.bench.cur_matrix:MatrixScorer"
    )
    made = matrix(
        tmp_path, ["a", "b"], ["x", "y"], lambda query: np.array([ord(query), 1], np.float32),
        lambda done, of: None,
    )  # fmt: skip
    scorer = use("here", made)
    before = scorer.calls
    assert scorer.score_pairs([("b", "x"), ("a", "y")]).tolist() == [98.0, 1.0]
    assert scorer.calls - before == 2


def test_ties_at_the_last_place_count_as_found() -> None:
    row = np.array([3.0, 2.0, 2.0, 1.0], np.float32)
    place_of = {"p": 0, "q": 1, "r": 2, "s": 3}
    with_tie = means(shares([["p", "r", "q", "s"]], [row], place_of))
    assert with_tie["recall@1"] == 1.0
    assert means(shares([["s", "p", "q", "r"]], [row], place_of))["recall@1"] == 0.0
    assert exact_order(["s", "q", "p"], row, place_of) == ["p", "q", "s"]


# -- what the rows took, and which way is ahead -----------------------------------------------


def test_what_a_pair_took_is_kept_beside_the_matrix(tmp_path: Path) -> None:
    def row(query: str) -> np.ndarray:
        if query == "c" and not (tmp_path / "again").exists():
            raise KeyboardInterrupt
        time.sleep(0.02)
        return np.ones(2, np.float32)

    with pytest.raises(KeyboardInterrupt):
        matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    assert not is_whole(tmp_path)
    (tmp_path / "again").touch()
    made = matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    noted = json.loads((tmp_path / "seconds.json").read_text())
    assert noted["pairs"] == 6
    assert made.ms_per_pair == pytest.approx(1000 * noted["seconds"] / 6)
    assert made.ms_per_pair >= 10
    assert is_whole(tmp_path)
    again = matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None)
    assert again.ms_per_pair == made.ms_per_pair
    (tmp_path / "seconds.json").unlink()
    assert matrix(tmp_path, QUERIES, TEXTS, row, lambda done, of: None).ms_per_pair is None


def test_a_row_with_a_hole_is_refused(tmp_path: Path) -> None:
    with pytest.raises(cm.InputError, match="without a score"):
        matrix(
            tmp_path, ["a"], ["x", "y"], lambda query: np.array([1, np.nan], np.float32),
            lambda done, of: None,
        )  # fmt: skip


def test_zeros_that_nobody_computed_are_not_whole(tmp_path: Path) -> None:
    """A kill between the making of the file and its first NaN."""
    scores = np.lib.format.open_memmap(
        tmp_path / "scores.npy", mode="w+", dtype=np.float32, shape=(3, 2)
    )
    scores.flush()
    assert not is_whole(tmp_path)
    row = np.array([1.0, 2.0], np.float32)
    made = matrix(tmp_path, QUERIES, TEXTS, lambda query: row, lambda done, of: None)
    np.testing.assert_array_equal(made.scores, [row] * 3)
    assert is_whole(tmp_path)


def recalls(*values: float) -> dict[int, np.ndarray]:
    return {depth: np.array(values) for depth in DEPTHS}


def test_a_method_is_compared_with_the_best_of_the_others() -> None:
    others = {"bm25": recalls(*[0.2] * 8), "hybrid": recalls(*[0.5] * 8)}
    better, same = recalls(*[0.75] * 8), recalls(*[0.5] * 7, 0.4)
    for one in ahead(better, others):
        assert (one.other, one.difference) == ("hybrid", 0.25)
        assert one.p == 2 / 2**8  # exact, two sides
    for one in ahead(same, others):
        assert one.difference == pytest.approx(-0.0125)
        assert one.p == 1.0
    assert [one.depth for one in ahead(better, others)] == list(DEPTHS)
    lines = verdicts({"axn": {50: ahead(better, others), 100: ahead(same, others)}})
    assert lines[0] == (
        "axn, recall@1 against the best rerank at 2 budgets: "
        "ahead at 1 (1 with p < 0.05), behind at 1 (0 with p < 0.05)"
    )
    assert len(lines) == len(DEPTHS)


# -- the whole of it, over a small collection ---------------------------------------------------

WORDS = ["reed", "tide", "eel", "gull", "kelp", "mist", "dune", "salt"]


def small(folder: Path, n: int = 60) -> Path:
    """A data set in BEIR's layout: three training queries, four to be tested, and copies of one."""
    random = np.random.default_rng(3)
    texts = [" ".join(random.choice(WORDS, size=6)) for _ in range(n - 1)]
    texts.append(texts[0])
    queries = {f"q{place}": f"{WORDS[place]} {WORDS[place - 1]}" for place in range(7)}
    (folder / "qrels").mkdir(parents=True)
    lines = [json.dumps({"_id": f"d{place}", "text": text}) for place, text in enumerate(texts)]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    lines = [json.dumps({"_id": name, "text": text}) for name, text in queries.items()]
    (folder / "queries.jsonl").write_text("\n".join(lines))
    for split, names in (("train", ["q0", "q1", "q2"]), ("test", ["q3", "q4", "q5", "q6"])):
        judged = [f"{name}\td{place}\t1" for place, name in enumerate(names)]
        text = "\n".join(["query-id\tcorpus-id\tscore", *judged])
        (folder / "qrels" / f"{split}.tsv").write_text(text + "\n")
    return folder


def test_a_small_collection_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("transformers")
    from tiny_cross_encoder import make_cross_encoder

    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(PAIR_SCORERS, MatrixScorer.kind, f"{MatrixScorer.__module__}:MatrixScorer")
    monkeypatch.setitem(INDEXES, "toy-dense", "toys:ToyDense")
    monkeypatch.setattr(cur, "Dense", ToyDense)
    monkeypatch.setattr(cur, "BUDGETS", (10, 200))
    monkeypatch.setattr(cur, "WINDOW", 64)
    model, corpus = str(make_cross_encoder(tmp_path / "model")), small(tmp_path / "small")
    console = Console(file=io.StringIO(), width=200)
    cur.prepare(full=False, corpus=corpus, console=console, model=model)
    (folder,) = (tmp_path / "cache" / "bench").iterdir()
    assert folder.name.startswith("cur-small-3x4-")  # anchors by test queries, then the model
    assert np.load(folder / "scores.npy").shape == (7, 59)

    def no_pair(*_: object) -> None:
        raise AssertionError("a pair was scored again")

    monkeypatch.setattr(cur.CrossEncoder, "score_pairs", no_pair)
    rows, ratios, _ = cur.bench(full=False, corpus=corpus, model=model, console=console)
    by_system = {(row["system"], row["calls"]): row for row in rows}
    assert len(by_system) == len(rows) == 3 + 1 + 2 * (3 + 3)
    for row in rows:
        assert row["overhead_ms"] >= 0
        taken = json.loads((folder / "seconds.json").read_text())
        assert row["estimated_ms"] == pytest.approx(
            row["calls"] * 1000 * taken["seconds"] / taken["pairs"] + row["overhead_ms"]
        )
        assert ("p@10" in row) == (row["system"] in cur.METHODS)
    # Enough calls for the whole collection: everything is exact, and nobody is ahead.
    for system in (*cur.METHODS, *(f"{stage}+rerank" for stage in cur.FIRST_STAGES)):
        assert [by_system[system, 200][f"recall@{depth}"] for depth in DEPTHS] == [1.0] * 3
    assert by_system["axn", 200]["vs_rerank@10"] == 0.0
    assert by_system["axn", 200]["p@10"] == 1.0
    assert ratios["small:recall10_vs_rerank@200"] == 1.0
    assert "small: axn, recall@10 against the best rerank" in console.file.getvalue()


def test_token_vectors_that_a_kill_left_behind_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path / "cache"))
    material = cur._material(small(tmp_path / "small"))
    folder = tmp_path / "cache" / "bench" / "cur-small-3x4-maxsim"
    texts = list(dict.fromkeys(document.text for document in material.documents))
    queries = [*material.anchors.values(), *material.test.values()]
    matrix(
        folder, queries, texts, lambda query: np.zeros(len(texts), np.float32),
        lambda done, of: None,
    )  # fmt: skip
    (folder / "tokens.cm" / "part").mkdir(parents=True)
    exact = cur._exact(material, None, Console(file=io.StringIO()))
    assert exact.scores.shape == (7, 59)
    assert not (folder / "tokens.cm").exists()


def test_vaswani_has_its_anchors_among_its_own_other_queries() -> None:
    shared = shared_data()
    if shared is None or not (shared / "vaswani").is_dir():
        pytest.skip("needs the shared data sets")
    material = cur._material(shared / "vaswani")
    assert (len(material.test), len(material.anchors)) == (43, 50)
    assert not set(material.test) & set(material.anchors)
    assert not set(material.test.values()) & set(material.anchors.values())
    assert {name for name in material.anchors} < set(material.data.queries)
    again = cur._material(shared / "vaswani")
    assert (again.test, again.anchors) == (material.test, material.anchors)
