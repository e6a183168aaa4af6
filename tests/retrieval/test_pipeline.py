"""Pipelines as values, and every stage run with toys registered by one line in a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toys import Toy, ToyFirstText, ToyLower, ToyShortest, ToySum, use

import cormorant as cm
from cormorant.errors import UnknownNameError
from cormorant.ranking import Ranking
from cormorant.retrieval.pipeline import pipeline_from_json, read_pipeline, resolve
from cormorant.stages import Budget, Candidates


@pytest.fixture
def letters(home: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> cm.Collection:
    use(monkeypatch)
    indexes = {"one": Toy(), "two": Toy(weight=2.0)}
    with home.create(tmp_path / "letters.cm", indexes) as collection:
        collection.add(
            [cm.Document(id=text, text=text) for text in ("a", "aab", "bbbb", "aaaaccc", "zz")]
        )
        yield collection


def test_a_pipeline_travels_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch)
    pipeline = cm.Pipeline(
        retrieve=["one", cm.Retrieve("two", depth=7)],
        fuse=ToySum(),
        feedback=ToyFirstText(),
        rerank=[ToyShortest(depth=3)],
        reformulate=ToyLower(),
        depth=50,
    )
    value = json.loads(json.dumps(pipeline.as_json()))
    assert pipeline_from_json(value) == pipeline
    assert eval(repr(pipeline), vars(cm) | globals()) == pipeline  # repr is the value
    assert pipeline_from_json("bm25") == cm.Pipeline(["bm25"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "JSON object"),
        ({"retrieve": []}, "names no index"),
        ({"retrieve": ["a", "b"]}, 'need a fusion, such as .*"fuse": {"kind": "rrf"}'),
        ({"retreive": ["a"]}, "field 'retreive': a pipeline takes"),
        ({"retrieve": ["a", "a"], "fuse": "toy-sum"}, "twice"),
        ({"retrieve": ["a"], "rerank": [{"kind": "nothing"}]}, "there is no rerank stage"),
        ({"retrieve": ["a"], "rerank": [{"kind": "toy-shortest", "dpth": 3}]}, "dpth"),
        ({"retrieve": ["a"], "rerank": [{"kind": "toy-shortest", "depth": "3"}]}, "expected int"),
        ({"retrieve": ["a"], "sort": 1}, "a pipeline takes"),
        ({"retrieve": [{"index": "a", "depth": 0}]}, "from 1 to"),
        ({"retrieve": [{"depth": 3}]}, "takes index names"),
        ({"retrieve": "a"}, "takes a list"),
        (7, "JSON object"),
    ],
)
def test_a_wrong_pipeline_says_why(
    monkeypatch: pytest.MonkeyPatch, value: object, message: str
) -> None:
    use(monkeypatch)
    with pytest.raises(cm.InputError, match=message):
        pipeline_from_json(value)


def test_a_fusion_goes_by_its_kind_in_python_as_in_json() -> None:
    assert cm.Pipeline(["a", "b"], fuse="rrf") == cm.Pipeline(["a", "b"], fuse=cm.RRF())
    with pytest.raises(UnknownNameError, match="there is no fuse stage 'rff'; there are: adaptive"):
        cm.Pipeline(["a", "b"], fuse="rff")


def test_errors_of_a_pipeline_file_name_it(tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    path.write_text('{"retrieve": []}')
    with pytest.raises(cm.InputError, match=r"p\.json.*names no index"):
        read_pipeline(path)
    path.write_text("{")
    with pytest.raises(cm.InputError, match=r"p\.json"):
        read_pipeline(path)
    with pytest.raises(cm.InputError) as absent:
        read_pipeline(tmp_path / "q.json")
    assert str(absent.value) == f"{tmp_path / 'q.json'}: cannot be read: No such file or directory"


def test_names_resolve_to_an_index_or_the_oldest_of_a_kind() -> None:
    assert resolve("x", {"x": "bm25", "y": "bm25"}) == "x"
    assert resolve("bm25", {"x": "bm25"}) == "x"
    assert resolve("bm25", {"z": "dense", "y": "bm25", "x": "bm25"}) == "y"
    with pytest.raises(UnknownNameError, match=r"there are: x \(bm25\)"):
        resolve("dense", {"x": "bm25"})


def test_every_stage_runs(letters: cm.Collection) -> None:
    assert letters.search("a", pipeline="one").ids == ["aaaaccc", "aab", "a"]
    fused = cm.Pipeline(["one", "two"], fuse=ToySum())
    result = letters.search("a", pipeline=fused)
    assert dict(zip(result.ids, result.scores, strict=True)) == {"aaaaccc": 12, "aab": 6, "a": 3}
    reranked = cm.Pipeline(["one"], rerank=[ToyShortest(depth=2)])
    assert letters.search("a", pipeline=reranked).ids == ["aab", "aaaaccc", "a"]
    scores = letters.search("a", pipeline=reranked).scores
    assert scores == sorted(scores, reverse=True)
    # The best hit for "b" is "bbbb"; fed back it finds what holds a "b".
    fed_back = cm.Pipeline(["one"], feedback=ToyFirstText())
    assert letters.search("b", pipeline=fed_back).ids == ["bbbb", "aab"]
    assert letters.search("A", pipeline=cm.Pipeline(["one"], reformulate=ToyLower())).ids


def test_a_longer_page_does_not_change_the_order_of_a_shorter_one(letters: cm.Collection) -> None:
    pipeline = cm.Pipeline(["one", "two"], fuse=ToySum(), rerank=[ToyShortest(depth=3)])
    full = letters.search("abcz", 5, pipeline=pipeline).ids
    for k in range(1, 5):
        assert letters.search("abcz", k, pipeline=pipeline).ids == full[:k]


def test_an_explanation_says_what_each_list_gave(letters: cm.Collection) -> None:
    pipeline = cm.Pipeline(["one", "two"], fuse=ToySum())
    hit = letters.search("a", pipeline=pipeline, explain=True)[0]
    assert hit.explanation == {"one": {"rank": 1, "score": 4.0}, "two": {"rank": 1, "score": 8.0}}


def test_of_two_indexes_of_a_kind_the_older_is_meant(letters: cm.Collection) -> None:
    """A search by kind goes on as it was while another index of the kind is built beside it."""
    before = letters.search("a", pipeline="toy").scores
    letters.add_index("a-newer-one", Toy(weight=5.0))
    assert letters.search("a", pipeline="toy").scores == before
    letters.drop_index("one")
    letters.drop_index("two")
    assert letters.search("a", pipeline="toy").scores == [5 * score for score in before]


@dataclass(frozen=True, slots=True)
class ByIndex:
    """Reranks by the true scores of an index; reads no text."""

    kind: ClassVar[str] = "by-index"
    index: str
    depth: int = 10

    def rank(self, candidates: Sequence[Candidates], budget: Budget) -> Ranking:
        rankings = []
        for item in candidates:
            scores = item.true_scores(self.index)
            order = np.lexsort((item.rows, -scores))
            rankings.append(Ranking(item.rows[None, order], scores[None, order]))
        return rankings[0]


def test_a_ranker_may_ask_an_index_that_was_not_searched(
    letters: cm.Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("no text was needed")

    expected = letters.search("a", pipeline="two")
    monkeypatch.setattr("cormorant.retrieval.search.Search.chunks", read)
    reranked = letters.search("a", pipeline=cm.Pipeline(["one"], rerank=[ByIndex("two")]))
    assert (reranked.ids, reranked.scores) == (expected.ids, expected.scores)
    by_kind = letters.search("a", pipeline=cm.Pipeline(["one"], rerank=[ByIndex("toy")]))
    assert by_kind.scores == letters.search("a", pipeline="one").scores
    with pytest.raises(UnknownNameError, match="no index 'three'"):
        letters.search("a", pipeline=cm.Pipeline(["one"], rerank=[ByIndex("three")]))
