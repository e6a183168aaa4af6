"""Changed queries: by seed, and what is lost by them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cormorant.eval.datasets import load_dataset
from cormorant.eval.robustness import (
    losses,
    losses_grid,
    losses_json,
    variants_of,
)
from cormorant.eval.runner import run_dataset
from cormorant.indexers.bm25.settings import BM25
from cormorant.retrieval.collection import Collection

QUERIES = {
    "q1": "What are the effects of diet on cholesterol in children?",
    "q2": "statins",
    "q3": "the of and",
    "q4": "a b c",
}


def test_what_each_change_is():
    made = variants_of(QUERIES, seed=1)
    assert made["case"]["q1"] == "WHAT ARE THE EFFECTS OF DIET ON CHOLESTEROL IN CHILDREN?"
    assert made["keywords"]["q1"] == "effects diet cholesterol children"
    assert made["keywords"]["q3"] == "the of and", "never empty"
    assert made["typos"]["q4"] == "a b c", "no word is long enough to slip in"
    slipped = made["typos"]["q2"]
    assert slipped != "statins"
    assert slipped[0] == "s"
    assert abs(len(slipped) - len("statins")) <= 1
    other = made["paraphrase"]["q1"]
    assert "influences" in other
    assert "kids" in other
    assert "?" not in other
    assert variants_of({"q": "der Fisch im Meer"}, language="de")["keywords"] == {"q": "Fisch Meer"}


def test_a_query_changes_by_seed_and_text_and_by_no_other_query():
    first = variants_of(QUERIES, seed=1)
    alone = variants_of({"q1": QUERIES["q1"]}, seed=1)
    assert {name: own["q1"] for name, own in first.items()} == {
        name: own["q1"] for name, own in alone.items()
    }
    texts = {variants_of(QUERIES, seed=seed)["typos"]["q1"] for seed in range(20)}
    assert len(texts) > 15
    # The bytes themselves: a changed generator would change every saved figure.
    assert first["typos"]["q1"] == variants_of(QUERIES, seed=1)["typos"]["q1"]


@given(st.text(max_size=60), st.integers(0, 5))
def test_every_text_can_be_changed(text, seed):
    for name, own in variants_of({"q": text}, seed).items():
        assert isinstance(own["q"], str)
        assert bool(own["q"].strip()) >= bool(text.strip()), name


@pytest.fixture
def result(tmp_path):
    folder = tmp_path / "birds"
    (folder / "qrels").mkdir(parents=True)
    names = ["heron", "cormorant", "kittiwake", "guillemot", "fulmar", "gannet"]
    lines = [{"_id": f"d{n}", "text": f"{name} of the sea"} for n, name in enumerate(names)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [{"_id": f"q{n}", "text": f"the {name}"} for n, name in enumerate(names)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = "".join(f"q{n}\td{n}\t1\n" for n in range(len(names)))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    data = load_dataset(folder)
    (result,) = run_dataset(
        data,
        {"bm25": "bm25"},
        create=Collection.create,
        indexes={"bm25": BM25()},
        variants=variants_of(data.queries),
    )
    return result


def test_what_a_pipeline_loses(result):
    assert [one.pipeline for one in result.variants] == ["typos", "case", "keywords", "paraphrase"]
    found = losses([result])
    value = {row["queries"]: row for row in losses_json(found)}
    assert value["case"]["against"]["nDCG@10"]["difference"] == 0
    lost = value["typos"]["against"]["nDCG@10"]
    # A word misspelt is a word not found; the stemmer still finds one of the six.
    assert lost["difference"] == pytest.approx(-5 / 6)
    assert lost["losses"] == 5
    rows = [[cell.text for cell in row] for row in losses_grid(found).rows]
    assert rows[0] == ["birds", "bm25", "as they are", "1.0000", "-", "-", "-"]
    assert rows[1][2:6] == ["typos", "0.1667", "-0.8333", "-83.3%"]
