"""Encoding with Ray Data while a collection in shards is built."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ray_nodes import QUIET, on_ray, ray_folder, ray_nodes
from tiny_models import make_model

import cormorant as cm
from cormorant.errors import InputError
from cormorant.retrieval.cluster.bulk import _held, _sorted, add_encoded
from cormorant.retrieval.cluster.executor import Executor

__all__ = ["on_ray", "ray_folder", "ray_nodes"]
pytestmark = QUIET
WORDS = ["cormorant", "dives", "deep", "fish"]


@pytest.mark.soak
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")  # of Ray Data
@pytest.mark.parametrize("chunk", [None, cm.Chunking(tokens=8, overlap=2)])
def test_files_are_encoded_once_and_again_from_where_they_stood(
    chunk: cm.Chunking | None,
    tmp_path: Path,
    on_ray: Callable[[], Executor],  # noqa: F811
) -> None:
    indexes = {"bm25": cm.BM25(), "dense": cm.Dense(str(make_model(tmp_path / "model")))}
    documents = [
        cm.Document(
            id=f"d{number}",
            text=" ".join(WORDS[number * step % 4] for step in range(1, 5 + number % 9)),
            metadata={"n": number},
        )
        for number in range(60)
    ]
    file = tmp_path / "corpus.jsonl"

    def write(items: list[cm.Document]) -> None:
        file.write_text("".join(json.dumps(item.as_json()) + "\n" for item in items))

    with cm.Collection.create(tmp_path / "one.cm", indexes, chunk=chunk) as one:
        one.add(documents)
        known = [
            [(hit.id, np.float32(hit.score)) for hit in one.search(query, 60, pipeline=name)]
            for query in ("cormorant fish", "deep")
            for name in indexes
        ]
    with cm.Cluster.create(tmp_path / "c", shards=2, replicas=2, executor=on_ray()) as cluster:
        papers = cluster.create_collection("papers", indexes, chunk=chunk)
        write(documents[:40])
        assert add_encoded(papers, [file], actors=1) == 40
        write(documents)
        assert add_encoded(papers, [file], actors=1) == 20
        assert add_encoded(papers, [file], actors=1) == 0
        assert len(papers) == 60
        found = [
            [(hit.id, np.float32(hit.score)) for hit in papers.search(query, 60, pipeline=name)]
            for query in ("cormorant fish", "deep")
            for name in indexes
        ]
        assert [dict(own) for own in found] == [dict(own) for own in known]
        assert papers.describe()["indexes"]["dense"]["rows_behind"] == 0
        # A document that changed is added again.
        write([cm.Document(id="d1", text="search the fish")])
        assert add_encoded(papers, [file], actors=1) == 1
        assert papers.get("d1").text == "search the fish"
        assert papers.check().ok


def test_an_index_that_takes_ready_vectors_only_is_refused(tmp_path: Path) -> None:
    with cm.Cluster.create(tmp_path / "c", shards=1) as cluster:
        papers = cluster.create_collection("papers", {"dense": cm.Dense(model=None)})
        with pytest.raises(InputError, match="'dense' has no model"):
            add_encoded(papers, [], actors=1)


def test_what_is_held_is_known_by_all_of_its_checksum() -> None:
    known = _sorted(np.array([[5, 1], [3, 2], [9, 9]], np.uint64))
    asked = np.array([[3, 2], [3, 1], [9, 9], [10, 9], [0, 0]], np.uint64)
    assert _held(asked, known).tolist() == [True, False, True, False, False]
    assert _held(asked, known[:0]).tolist() == [False] * 5
