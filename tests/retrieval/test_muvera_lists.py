"""A multi-vector index with lists in a collection: changed, filtered, killed, damaged, and real."""

from __future__ import annotations

import os
import random
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damage import flip_a_bit

import cormorant as cm
from cormorant.errors import CorruptionError
from cormorant.indexers.muvera import lists, reaching
from cormorant.indexers.spann import maintaining, merging
from cormorant.indexers.spann import writing as spann_writing

from .test_muvera import Texts, documents, maxsim, queries_of, random_text, token_vectors

LISTED = cm.Muvera(model=None, proxy_rows=256, r_reps=12, ann=cm.Spann(posting=16, memory=0.5))
N, ALL = 500, 600
STEPS: dict[str, tuple[Any, str]] = {
    "merge begun": (merging, "begun"),
    "assigned": (maintaining, "assign"),
    "encoded": (spann_writing, "_radius"),
    "lists written": (lists, "write"),
    "measured": (reaching, "measure"),
}
"""What is under way when the child dies: the function that has just ended."""


def texts_of(first: int, last: int) -> Texts:
    return {f"d{n}": random_text(np.random.default_rng(n), 1) for n in range(first, last)}


def add(collection: cm.Collection, texts: Texts) -> None:
    vectors = token_vectors(list(texts.values()))
    collection.add(documents(list(texts)), vectors={"tokens": vectors})


def recall(collection: cm.Collection, texts: Texts, **options: Any) -> float:
    """Share of the ten best that are found; every score is checked, and that no row is gone."""
    queries = queries_of(25)
    results = collection.search_batch(
        vectors=token_vectors(queries), k=10, pipeline="tokens", **options
    )
    shares = []
    for query, result in zip(queries, results, strict=True):
        true = {name: maxsim(query, text) for name, text in texts.items()}
        assert len(result) == min(10, len(texts))
        assert result.scores == pytest.approx([true[name] for name in result.ids], abs=5e-3)
        best = sorted(true, key=true.__getitem__, reverse=True)[: len(result)]
        shares.append(len(set(result.ids) & set(best)) / len(best))
    return float(np.mean(shares))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection of one segment with lists."""
    path = tmp_path_factory.mktemp("base") / "c.cm"
    with cm.Collection.create(path, {"tokens": LISTED}) as collection:
        add(collection, texts_of(0, N))
        collection.merge()
        recall(collection, texts_of(0, N))  # compiles before the forks
    return path


def test_the_life_of_a_collection(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    texts = texts_of(0, N)
    with cm.Collection.open(path) as collection:
        facts = collection.describe()["indexes"]["tokens"]
        assert 0 < facts["lists@10"] <= facts["lists"]
        assert facts["candidates@10"] < N / 2, "or everything was scored anyhow"
        assert recall(collection, texts) >= 0.93
        add(collection, texts_of(N, ALL))
        texts |= texts_of(N, ALL)
        gone = [f"d{number}" for number in range(0, ALL, 9)]
        collection.delete(gone)
        for name in gone:
            del texts[name]
        assert recall(collection, texts) >= 0.93
        collection.merge()
        assert collection.check().problems == ()
    with cm.Collection.open(path, read_only=True) as collection:
        assert recall(collection, texts) >= 0.93
        for most in (5, 60, 400):
            through = {name: text for name, text in texts.items() if int(name[1:]) < most}
            assert recall(collection, through, filter={"number": {"lt": most}}) >= 0.93
        seven = {name: text for name, text in texts.items() if name.endswith("7")}
        assert recall(collection, seven, as_labels=["7"]) >= 0.93
        (told,) = collection.search_batch(
            vectors=token_vectors(queries_of(1)), k=3, pipeline="tokens", explain=True
        )
        assert told[0].explanation["tokens"]["spann"]["postings_read"] > 0


def test_damage_is_named_whatever_the_file(base: Path, tmp_path: Path) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    files = sorted((path / "segments" / "tokens").rglob("*.npy"))
    assert {"proxy_codes", "spann_centroids", "spann_postings"} <= {file.stem for file in files}
    for file in files:
        good = file.read_bytes()
        flip_a_bit(file, random.Random(file.stem))
        with pytest.raises(CorruptionError, match=rf"{file.stem}\.npy"):
            cm.Collection.open(path, read_only=True)
        file.write_bytes(good)
    with cm.Collection.open(path, read_only=True) as collection:
        assert recall(collection, texts_of(0, N)) >= 0.93


@pytest.mark.parametrize("step", list(STEPS))
def test_killed_while_lists_are_made(base: Path, tmp_path: Path, step: str) -> None:
    path = tmp_path / "c.cm"
    shutil.copytree(base, path)
    child = os.fork()
    if child == 0:
        try:
            home, name = STEPS[step]
            whole = getattr(home, name)

            def dying(*arguments: Any, **named: Any) -> None:
                whole(*arguments, **named)
                os.kill(os.getpid(), signal.SIGKILL)

            setattr(home, name, dying)
            collection = cm.Collection.open(path)
            collection._writer.stop_background()
            add(collection, texts_of(N, ALL))
            collection.merge()
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"{step} was never reached"
    texts = texts_of(0, ALL)
    with cm.Collection.open(path, read_only=True) as collection:
        assert recall(collection, texts) >= 0.93
    with cm.Collection.open(path) as collection:
        collection.merge()
        assert collection.check().problems == ()
        assert recall(collection, texts) >= 0.93
