"""The same inputs and seed give the same run file, in another process and on other threads."""

import gzip
import json
import os
import random
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import WORDS, make_model

from cormorant.eval.trec import read_run

PIPELINES = {
    "expanded": {"retrieve": ["bm25"], "feedback": {"kind": "rm3"}},
    "fused": {"retrieve": ["bm25", "plain"], "fuse": {"kind": "convex", "weights": [0.4, 0.6]}},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """600 documents of few words, so that many score the same."""
    home = tmp_path_factory.mktemp("determinism")
    folder = home / "words"
    (folder / "qrels").mkdir(parents=True)
    dice = random.Random(11)
    lines = [{"_id": f"d{n}", "text": " ".join(dice.choices(WORDS, k=6))} for n in range(600)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    lines = [{"_id": f"q{n}", "text": " ".join(dice.sample(WORDS, 3))} for n in range(40)]
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = "".join(f"q{n}\td{dice.randrange(600)}\t1\n" for n in range(40))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    for name, value in PIPELINES.items():
        (home / f"{name}.json").write_text(json.dumps(value))
    return folder


def cormorant(name, threads, *words):
    """Run a command in a process of its own, with another hash seed for each name."""
    number = str(threads)
    environment = {
        **os.environ,
        "PYTHONHASHSEED": str(len(name)),
        "PYTHONSAFEPATH": "1",
        **dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), number),
    }
    done = subprocess.run(
        [sys.executable, "-m", "cormorant", *map(str, words)],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def runs(folder, name, threads, *words):
    """Evaluate; the bytes of each run file by pipeline."""
    into = folder.parent / name
    cormorant(name, threads, "eval", folder, "--runs", into, *words)
    files = {file.name.split(".")[1]: file.read_bytes() for file in into.glob("*.run.gz")}
    assert all(gzip.decompress(content).count(b"\n") > 1000 for content in files.values())
    return files


def test_bm25_on_any_number_of_threads(folder):
    words = ["--with", "bm25", "--with", "plain:bm25", "--pipeline", "bm25"]
    for name in PIPELINES:
        words += ["--pipeline", folder.parent / f"{name}.json"]
    first = runs(folder, "one", 1, *words)
    assert first.keys() == {"bm25", *PIPELINES}
    assert runs(folder, "three", 3, *words) == first


def test_a_tuning_by_its_seed(folder):
    pytest.importorskip("optuna", reason="optuna is not installed")
    start = folder.parent / "fused.json"
    found = []
    for name in ("first", "second"):
        out = folder.parent / f"{name}.json"
        words = ["--pipeline", start, "--with", "bm25", "--with", "plain:bm25", "--trials", 4]
        cormorant(name, 1, "tune", folder, *words, "--json", out)
        value = json.loads(out.read_text())
        tuned = value["held_out"]["tuned"]["measures"]
        found.append((value["best"]["pipeline"], value["best"]["value"], value["folds"], tuned))
    assert found[0] == found[1]


@pytest.mark.soak
def test_sparse_on_any_number_of_threads_and_dense_on_the_same(folder, tmp_path):
    pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    from tiny_sparse import make_sparse_model

    sparse = make_sparse_model(tmp_path / "sparse", inference_free=True)
    dense = make_model(tmp_path / "dense")
    words = [word for kind in ("sparse", "dense", "hybrid") for word in ("--pipeline", kind)]
    words += ["--with", f"sparse={sparse}", "--with", f"dense={dense}", "--with", "bm25"]
    first = runs(folder, "two", 2, *words)
    assert runs(folder, "again", 2, *words) == first
    other = runs(folder, "alone", 1, *words)
    assert other["sparse"] == first["sparse"]
    for name in ("dense", "hybrid"):
        scores = [
            {
                (query, document): score
                for query, hits in read_run(folder.parent / into / f"words.{name}.run.gz").items()
                for document, score in hits
            }
            for into in ("two", "alone")
        ]
        shared = scores[0].keys() & scores[1].keys()
        assert len(shared) > 0.99 * len(scores[0])
        np.testing.assert_allclose(
            [scores[0][hit] for hit in shared], [scores[1][hit] for hit in shared], atol=1e-5
        )
