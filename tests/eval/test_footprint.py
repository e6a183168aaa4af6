"""The memory of one pipeline, by itself."""

import json

import numpy as np
import pytest

import cormorant as cm
from cormorant.errors import CormorantError
from cormorant.eval.footprint import memory_of

DIM = 2048
N = 4000


@pytest.fixture
def collection(tmp_path):
    """An index of words, and one of 33 MB of vectors."""
    random = np.random.default_rng(1)
    words = [f"word{n}" for n in range(50_000)]
    texts = [" ".join(words[n] for n in random.integers(0, 50_000, 300)) for _ in range(N)]
    indexes = {"bm25": cm.BM25(), "vectors": cm.Dense(model=None)}
    with cm.Collection.create(tmp_path / "c.cm", indexes) as collection:
        documents = [cm.Document(f"d{n}", text) for n, text in enumerate(texts)]
        vectors = random.standard_normal((N, DIM), np.float32)
        collection.add(documents, vectors={"vectors": vectors})
        collection.flush()
        yield collection


def test_a_pipeline_is_charged_for_its_own_indexes(collection):
    """It was charged for whatever this process had loaded before."""
    ballast = np.ones(50_000_000)
    words = cm.Pipeline("bm25")
    memory_of(collection.path, words, ["word1 word2"])  # compiles, where nothing is compiled yet
    alone = memory_of(collection.path, words, ["word1 word2"])
    assert 2e7 < alone < ballast.nbytes
    collection.drop_index("vectors")
    assert memory_of(collection.path, words, ["word1 word2"]) == pytest.approx(alone, abs=1e7)


def test_a_process_that_fails_says_why(collection):
    with pytest.raises(CormorantError, match="measures memory failed: .*there is no index 'other'"):
        memory_of(collection.path, cm.Pipeline("other"), ["word1"])


def test_the_command(run, dataset):
    code, out, err = run("eval", dataset, "--memory", "--json", "out.json")
    assert code == 0, err
    assert "process MB" in out
    assert "process MB: resident in one that answers with this pipeline and nothing else" in out
    with open("out.json") as file:
        assert json.load(file)["results"][0]["cost"]["memory_bytes"] > 2e7
    assert "process MB" not in run("eval", dataset)[1]
