"""Feedback: what the second queries are, what they find, and that nothing hidden feeds back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.retrieval.pipeline import pipeline_from_json

TEXTS = {
    "kestrel": "kestrel falcon hover field vole",
    "falcon": "falcon peregrine cliff dive kestrel",
    "peregrine": "peregrine cliff dive speed",
    "vole": "vole field grass burrow",
    "speed": "speed train rail station",
    "rail": "rail marsh reed bird",
}
LABELS = {"kestrel": ["a"], "falcon": ["a", "b"], "peregrine": ["a", "b"], "vole": ["a"]}


def vector(name: str) -> np.ndarray:
    return np.random.default_rng(list(name.encode())).normal(size=6).astype(np.float32)


@pytest.fixture
def birds(home: Any, tmp_path: Path) -> cm.Collection:
    indexes = {
        "bm25": cm.BM25(language="none"),
        "dense": cm.Dense(None, dim=6),
        "sparse": cm.Sparse(None),
    }
    with home.create(tmp_path / "birds.cm", indexes) as collection:
        documents = [
            cm.Document(id=name, text=text, labels=LABELS.get(name, ["a"]), metadata={"n": n})
            for n, (name, text) in enumerate(TEXTS.items())
        ]
        weights = [
            {word: 1.0 + n for n, word in enumerate(text.split())} for text in TEXTS.values()
        ]
        vectors = {"dense": np.array([vector(name) for name in TEXTS]), "sparse": weights}
        collection.add(documents, vectors=vectors)
        yield collection


def only(feedback, index="bm25"):
    return cm.Pipeline([index], feedback=feedback)


def test_rm3_finds_what_shares_no_word_with_the_query(birds):
    assert birds.search("hover", pipeline="bm25").ids == ["kestrel"]
    result = birds.search("hover", pipeline=only(cm.RM3(depth=1, max_share=0.5)))
    assert result.ids[0] == "kestrel"
    assert {"falcon", "vole"} <= set(result.ids)


def test_the_expanded_query_is_the_published_one(birds):
    """One document of 5 words: each has a fifth of the model, half of which is the query's."""
    hit = birds.search("hover", pipeline=only(cm.RM3(depth=1, max_share=1.0)), explain=True)[0]
    counts = {term["term"]: term["count"] for term in hit.explanation["bm25"]["terms"]}
    expected = dict.fromkeys(TEXTS["kestrel"].split(), 0.1) | {"hover": 0.6}
    assert counts == pytest.approx(expected)
    assert sum(counts.values()) == pytest.approx(1.0)  # as heavy as the query was


def test_rm3_averages_documents_by_their_scores_and_keeps_the_likeliest_terms(birds):
    plain = birds.search("cliff", 2, pipeline="bm25")
    shares = dict(zip(plain.ids, np.array(plain.scores) / sum(plain.scores), strict=True))
    model = Counter()
    for name, share in shares.items():
        words = TEXTS[name].split()
        model.update({word: share / len(words) for word in words})
    kept = sorted(model, key=lambda word: (-model[word], word))[:3]
    total = sum(model[word] for word in kept)
    expected = Counter({word: 0.4 * model[word] / total for word in kept})
    expected["cliff"] += 0.6
    stage = cm.RM3(depth=2, terms=3, original=0.6, max_share=1.0)
    hit = birds.search("cliff", pipeline=only(stage), explain=True)[0]
    counts = {term["term"]: term["count"] for term in hit.explanation["bm25"]["terms"]}
    assert counts == pytest.approx(dict(expected))


def test_rocchio_is_the_published_formula(birds):
    stage = cm.Rocchio(depth=1, terms=2, alpha=1.0, beta=0.75, max_share=1.0)
    hit = birds.search("hover hover vole", pipeline=only(stage), explain=True)[0]
    counts = {term["term"]: term["count"] for term in hit.explanation["bm25"]["terms"]}
    # All five words weigh alike; of equal ones the first two by name are kept.
    each = 0.75 / np.sqrt(5)
    size = np.sqrt(5)
    expected = {"hover": 2 / size, "vole": 1 / size, "falcon": each, "field": each}
    assert counts == pytest.approx(expected)


def test_terms_that_most_documents_have_are_no_evidence(birds):
    """Half the documents or more: "kestrel" is in 2 of 6, so a share of .3 leaves it out."""
    stage = cm.RM3(depth=1, max_share=0.3)
    hit = birds.search("hover", pipeline=only(stage), explain=True)[0]
    assert {term["term"] for term in hit.explanation["bm25"]["terms"]} == {"hover"}
    stage = cm.RM3(depth=1, max_share=0.34)
    hit = birds.search("hover", pipeline=only(stage), explain=True)[0]
    assert {term["term"] for term in hit.explanation["bm25"]["terms"]} == {
        *TEXTS["kestrel"].split()
    }


def test_segments_batches_and_deletes_change_nothing(birds):
    stage = only(cm.RM3(depth=2))
    queries = ["hover", "cliff speed", "reed", "nothing that is there"]
    alone = [birds.search(query, pipeline=stage) for query in queries]
    birds.flush()
    birds.add(
        [cm.Document(id="new", text="hover hover")],
        vectors={"dense": vector("new")[None], "sparse": [{"hover": 9.0}]},
    )
    birds.delete(["new"])
    batch = birds.search_batch(queries, pipeline=stage)
    for one, other in zip(alone, batch, strict=True):
        assert (one.ids, one.scores) == (other.ids, other.scores)
    assert batch[3].ids == []


@pytest.mark.parametrize("method", ["average", "rocchio"])
def test_vector_prf_moves_the_query_as_published(birds, method):
    asked = vector("query")[None]
    first = birds.search_batch(vectors=asked, k=2, pipeline="dense")[0].ids
    unit = {name: vector(name) / np.linalg.norm(vector(name)) for name in TEXTS}
    start = asked[0] / np.linalg.norm(asked)
    if method == "average":
        moved = (start + unit[first[0]] + unit[first[1]]) / 3
    else:
        moved = 0.7 * start + 0.3 * (unit[first[0]] + unit[first[1]]) / 2
    stage = cm.VectorPRF(method=method, depth=2, alpha=0.7, beta=0.3)
    result = birds.search_batch(["q"], vectors=asked, pipeline=only(stage, "dense"))[0]
    moved /= np.linalg.norm(moved)
    expected = sorted(((float(moved @ unit[name]), name) for name in TEXTS), reverse=True)
    assert result.ids == [name for _, name in expected]
    assert result.scores == pytest.approx([score for score, _ in expected], abs=1e-5)


@pytest.mark.parametrize("stage", [cm.RM3, cm.Rocchio])
def test_sparse_indexes_take_terms_back(birds, stage):
    asked = [{"hover": 1.0}]
    assert birds.search_batch(vectors=asked, pipeline="sparse")[0].ids == ["kestrel"]
    pipeline = only(stage("sparse", depth=1, max_share=0.5), "sparse")
    found = birds.search_batch(["q"], vectors=asked, pipeline=pipeline)[0]
    assert found.ids[0] == "kestrel"
    assert len(found.ids) > 1


@pytest.mark.parametrize("index", ["bm25", "sparse"])
@pytest.mark.parametrize("stage", [cm.RM3, cm.Rocchio])
def test_hidden_documents_never_feed_back(birds, index, stage):
    """With the label b, "kestrel" (which has "hover") does not exist: nothing expands."""
    asked = {"bm25": {"queries": ["hover"]}, "sparse": {"queries": ["q"]}}[index]
    vectors = [{"hover": 1.0}] if index == "sparse" else None
    pipeline = only(stage(index, depth=3, max_share=1.0), index)

    def ids(**limits):
        return birds.search_batch(**asked, vectors=vectors, pipeline=pipeline, **limits)[0].ids

    assert "vole" in ids(as_labels=["a"])
    assert ids(as_labels=["b"]) == []
    assert ids(filter={"n": {"gt": 0}}) == []
    assert "kestrel" not in ids(filter={"n": {"gt": 0}})


def test_hidden_documents_change_no_expansion(home: Any, birds, tmp_path):
    """A searcher's expanded query is what it is in a collection of what they may see."""
    seen = {name: text for name, text in TEXTS.items() if "b" in LABELS.get(name, ["a"])}
    with home.create(tmp_path / "seen.cm", {"bm25": cm.BM25(language="none")}) as other:
        other.add([cm.Document(id=name, text=text) for name, text in seen.items()])
        pipeline = only(cm.RM3(depth=3, max_share=0.6))
        for query in ("cliff", "speed", "kestrel dive"):
            mine = birds.search(query, pipeline=pipeline, as_labels=["b"])
            theirs = other.search(query, pipeline=pipeline)
            assert (mine.ids, mine.scores) == (theirs.ids, theirs.scores)


def interpolated(where: str, stage=cm.VectorPRF) -> cm.Pipeline:
    feedback = stage("dense", depth=1, interpolate=where)
    return cm.Pipeline(["bm25", "dense"], fuse=cm.Convex((0.5, 0.5)), feedback=feedback)


def test_interpolation_before_after_and_both(birds):
    """Whose document feeds back, and what is fused with what, by three pipelines of one list."""
    asked, query = vector("query")[None], "marsh"
    unit = {name: vector(name) / np.linalg.norm(vector(name)) for name in TEXTS}
    start = asked[0] / np.linalg.norm(asked)

    def run(pipeline):
        return birds.search_batch([query], vectors=asked, pipeline=pipeline)[0]

    fused_first = run(cm.Pipeline(["bm25", "dense"], fuse=cm.Convex((0.5, 0.5)))).ids[0]
    dense_first = birds.search_batch(vectors=asked, pipeline="dense")[0].ids[0]
    assert fused_first == "rail" != dense_first

    def moved(by):
        made = 0.9 * start + 0.1 * unit[by]
        made /= np.linalg.norm(made)
        return {name: float(made @ unit[name]) for name in TEXTS}

    before = run(interpolated("before"))
    cosines = moved("rail")
    assert before.ids == sorted(TEXTS, key=cosines.get, reverse=True)  # no word of BM25 in it
    assert before.scores == pytest.approx([cosines[name] for name in before.ids], abs=1e-5)
    for where, by in (("after", dense_first), ("both", "rail")):
        result, cosines = run(interpolated(where)), moved(by)
        highest = max(cosines.values())
        expected = {
            name: 0.5 * (name == "rail") + 0.5 * (score + 1) / (highest + 1)
            for name, score in cosines.items()
        }
        found = dict(zip(result.ids, result.scores, strict=True))
        assert found == pytest.approx(expected, abs=1e-5)


def test_two_indexes_may_each_have_their_feedback(birds):
    asked = vector("query")[None]
    both = [cm.RM3(depth=1, max_share=0.5), cm.VectorPRF(depth=1)]
    pipeline = cm.Pipeline(["bm25", "dense"], fuse=cm.RRF(), feedback=both)
    hit = birds.search_batch(["hover"], vectors=asked, pipeline=pipeline, explain=True)[0][0]
    assert len(hit.explanation["bm25"]["terms"]) > 1
    assert set(hit.explanation["fusion"]) == {"bm25", "dense"}
    value = json.loads(json.dumps(pipeline.as_json()))
    assert [item["kind"] for item in value["feedback"]] == ["rm3", "vector_prf"]
    assert pipeline_from_json(value) == pipeline
    again = birds.search_batch(["hover"], vectors=asked, pipeline=value)[0]
    assert hit.id == again.ids[0]


def test_chunks_feed_back(home: Any, tmp_path):
    """Of a split document the passage that was found feeds back, not the rest."""
    chunking = cm.Chunking(tokens=8, overlap=0)
    indexes = {"bm25": cm.BM25(language="none")}
    with home.create(tmp_path / "c.cm", indexes, chunk=chunking) as collection:
        collection.add(
            [
                cm.Document(
                    id="long", text="hover kestrel vole field one two three. Cliff dive four five."
                ),
                cm.Document(id="near", text="kestrel. grass."),
                cm.Document(id="far", text="five. cliff."),
            ]
        )
        found = collection.search("hover", pipeline=only(cm.RM3(depth=1, max_share=1.0)))
        assert found.ids == ["long", "near"]


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (only(cm.RM3("dense"), "dense"), "does not hold weighted terms"),
        (only(cm.VectorPRF("bm25")), "does not hold one vector a text"),
        (only(cm.RM3("sparse")), "does not search"),
        (only(cm.RM3("nothing")), "no index 'nothing'"),
    ],
)
def test_feedback_for_an_index_that_cannot(birds, pipeline, message):
    given = vector("q")[None] if pipeline.retrieve[0].index == "dense" else None
    with pytest.raises(cm.InputError, match=message):
        birds.search_batch(["hover"], vectors=given, pipeline=pipeline)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: cm.RM3(depth=0), "depth"),
        (lambda: cm.RM3(original=1.5), "original"),
        (lambda: cm.RM3(terms=True), "terms"),
        (lambda: cm.Rocchio(beta=float("nan")), "beta"),
        (lambda: cm.VectorPRF(method="sum"), "method"),
        (lambda: cm.VectorPRF(interpolate="never"), "interpolate"),
        (lambda: cm.VectorPRF(index=""), "index"),
        (lambda: only([cm.RM3(), cm.RM3()]), "feedback"),
        (lambda: only([cm.RM3(interpolate="before"), cm.VectorPRF()]), "feedback"),
        (lambda: only("rm3"), "feedback"),
    ],
)
def test_settings_are_checked(make, field):
    with pytest.raises(cm.InputError) as caught:
        make()
    assert caught.value.field == field
