"""``cormorant train sparse`` and what it reads."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pytest
from tiny_models import make_model
from tiny_sparse import make_masked_model
from typer.testing import CliRunner

from cormorant.commands.training import app
from cormorant.errors import InputError
from cormorant.eval.training.reading import (
    collection_source,
    corpus_source,
    development_set,
    pairs_file,
)
from cormorant.indexers.encoders.sparse import load_sparse_encoder

pytest.importorskip("datasets", reason="training needs the extra 'train'")
pytest.importorskip("accelerate", reason="training needs the extra 'train'")

WORDS = ("cormorant", "dives", "deep", "fish", "search", "query", "passage")


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """A tiny collection in BEIR layout with a train and a dev split."""
    folder, chosen = tmp_path / "birds", random.Random(5)
    (folder / "qrels").mkdir(parents=True)
    lines = [
        json.dumps({"_id": f"d{i}", "title": "", "text": " ".join(chosen.sample(WORDS, 3))})
        for i in range(30)
    ]
    (folder / "corpus.jsonl").write_text("\n".join(lines) + "\n")
    queries = [json.dumps({"_id": f"q{i}", "text": word}) for i, word in enumerate(WORDS)]
    (folder / "queries.jsonl").write_text("\n".join(queries) + "\n")
    texts = [json.loads(line)["text"] for line in lines]
    for split, numbers in (("train", range(5)), ("dev", range(5, 7))):
        rows = ["query-id\tcorpus-id\tscore"]
        for number in numbers:
            rows += [f"q{number}\td{i}\t2" for i, text in enumerate(texts) if WORDS[number] in text]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_collection_is_a_source_with_its_own_queries_too(collection):
    source = collection_source(collection)
    assert source.name == "birds"
    assert len(source.documents) == 30
    assert source.queries[:5] == list(WORDS[:5])
    assert len(source.queries) == 35
    assert set(source.gains[0].values()) == {2.0}
    assert source.gains[5] == {0: 1.0}


def test_a_development_set_is_small_and_repeats(collection):
    texts, queries, gains = development_set(collection, documents=12)
    assert queries == ["query", "passage"]
    assert len(texts) == 12
    for query, row in zip(queries, gains, strict=True):
        assert row
        assert all(query in texts[number] for number in row)
        assert all(number in row for number, text in enumerate(texts) if query in text)
    assert development_set(collection, documents=12)[0] == texts


def test_pairs_are_sampled_and_titles_that_are_the_query_left_out(tmp_path):
    file = tmp_path / "pairs.jsonl.gz"
    rows = [
        {"query": f"q{i}", "title": f"q{i}" if i % 2 else "t", "text": f"text {i}"}
        for i in range(9)
    ]
    with gzip.open(file, "wt") as opened:
        opened.writelines(json.dumps(row) + "\n" for row in rows)
    whole, some = pairs_file(file), pairs_file(file, 4)
    assert whole.name == "pairs"
    assert len(whole.queries) == 9
    assert some.queries == whole.queries[:4]
    assert dict(zip(whole.queries, whole.documents, strict=True))["q3"] == ("", "text 3")
    assert dict(zip(whole.queries, whole.documents, strict=True))["q2"] == ("t", "text 2")
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"query": "a", "text": "b"}\n{"query": 3, "text": "c"}\n')
    with pytest.raises(InputError, match="bad.jsonl:2"):
        pairs_file(bad)


def test_a_bare_corpus_asks_with_titles_and_first_sentences(collection):
    source = corpus_source(collection / "corpus.jsonl")
    assert len(source.queries) == 30
    assert source.queries[0] == source.documents[0][1]


def test_one_command_trains_and_reports(collection, tmp_path):
    masked = make_masked_model(tmp_path / "masked", spread=0.2)
    dense = make_model(tmp_path / "dense")
    asked = ["sparse", str(tmp_path / "run"), "--collection", str(collection)]
    asked += ["--corpus", str(collection / "corpus.jsonl"), "--share", "2", "--share", "1"]
    asked += ["--teacher", "bm25", "--teacher", f"dense={dense}", "--backbone", str(masked)]
    asked += ["--steps", "4", "--batch", "4", "--window", "16", "--final-window", "16"]
    asked += ["--evaluate-every", "2", "--l0-threshold", "3", "--json", "-"]
    # Beside the JSON, libraries draw progress bars on stderr.
    result = CliRunner().invoke(app, asked)
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["steps"] == 4
    assert [report["step"] for report in found["development"]] == [0, 2, 4]
    assert {"ndcg10", "flops", "nonzeros", "empty"} < set(found["development"][0])
    assert "nDCG@10" in result.stderr
    assert load_sparse_encoder(found["model"]).inference_free


def test_without_teachers_the_judgements_alone_count(collection, tmp_path):
    masked = make_masked_model(tmp_path / "masked", spread=0.2)
    asked = ["sparse", str(tmp_path / "run"), "--collection", str(collection), "--teacher", "none"]
    asked += ["--backbone", str(masked), "--steps", "1", "--batch", "4", "--window", "16"]
    result = CliRunner().invoke(app, [*asked, "--final-window", "16"])
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "run" / "run.json").read_text())["teachers"] == []


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ([], "nothing to learn from"),
        (["--corpus", "CORPUS", "--teacher", "wisdom"], "bm25, dense=MODEL"),
        (["--corpus", "CORPUS", "--teacher", "dense"], "bm25, dense=MODEL"),
        (["--corpus", "CORPUS", "--share", "1", "--share", "1"], "2 shares for 1 sources"),
    ],
)
def test_commands_that_make_no_sense(collection, tmp_path, asked, message):
    asked = [str(collection / "corpus.jsonl") if part == "CORPUS" else part for part in asked]
    result = CliRunner().invoke(app, ["sparse", str(tmp_path / "run"), *asked])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)
