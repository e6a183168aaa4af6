"""How the words of ``--with`` become indexes."""

from __future__ import annotations

import pytest

import cormorant as cm
from cormorant.commands.options import indexes_of


def test_kinds_models_json_and_names() -> None:
    words = [
        "bm25",
        "plain:bm25",
        "sparse=org/name",
        'own-1:{"kind": "sparse", "model": "a:b", "idf": "collection"}',
        "disk:dense=folder:with/colon",
    ]
    indexes = indexes_of(words, None)
    assert list(indexes) == ["bm25", "plain", "sparse", "own-1", "disk"]
    assert indexes["plain"] == cm.BM25()
    assert indexes["sparse"] == cm.Sparse("org/name")
    assert indexes["own-1"] == cm.Sparse("a:b", idf="collection")
    assert indexes["disk"] == cm.Dense("folder:with/colon")


def test_a_path_with_a_colon_is_no_name() -> None:
    assert indexes_of(["dense=c:bm25"], None) == {"dense": cm.Dense("c:bm25")}


def test_one_name_twice() -> None:
    with pytest.raises(cm.InputError, match="two indexes of the name 'bm25'.*NAME:INDEX"):
        indexes_of(["bm25", "bm25"], None)
