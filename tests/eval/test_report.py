"""The report: what stands on its page, that nothing runs there, what its plots are drawn from."""

import base64
import hashlib
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import chromium

from cormorant.__main__ import main
from cormorant.errors import InputError, MissingDependencyError, StorageError
from cormorant.eval.measures import evaluate
from cormorant.eval.report.drawing import as_svg, drawing
from cormorant.eval.report.page import prepare_report
from cormorant.eval.report.plots import Point, recall_curve, trade_off
from cormorant.eval.report.reasons import reasons

pytest.importorskip("matplotlib", reason="needs: pip install cormorant[report]")

HOSTILE = "<script>document.title='run'</script><img src=x onerror=document.title='run'>"
WORDS = ("ant", "bee", "cow", "dog", "eel", "fox")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each word's longest document is its only relevant one."""
    folder = tmp_path_factory.mktemp("data") / "hostile"
    (folder / "qrels").mkdir(parents=True)
    corpus = [
        {"_id": f"{word}{n}<i>", "title": HOSTILE, "text": f"{word} " * n + HOSTILE + " x" * n**3}
        for word in WORDS
        for n in (1, 2, 5)
    ]
    queries = [{"_id": word, "text": f"{word} {HOSTILE}"} for word in WORDS]
    for name, lines in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    judged = "".join(f"{word}\t{word}5<i>\t2\n{word}\t{word}1<i>\t0\n" for word in WORDS)
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return folder


def report(folder: Path, *words: object) -> Path:
    """The page that ``eval --report`` writes, called in a folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["cormorant", "eval", *map(str, words), "--report", "out"])
        with pytest.raises(SystemExit) as stopped:
            main()
    assert not stopped.value.code
    return folder / "out" / "index.html"


@pytest.fixture(scope="module")
def page(hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of BM25 and of a fusion that likes long documents better."""
    folder = tmp_path_factory.mktemp("report")
    both = {"retrieve": ["bm25", "plain"], "fuse": {"kind": "rrf", "weights": [1.0, 9.0]}}
    (folder / "both.json").write_text(json.dumps(both))
    indexes = ("--with", "bm25", "--with", 'plain:{"kind": "bm25", "k1": 9.0, "b": 0.0}')
    pipelines = ("--pipeline", "bm25", "--pipeline", "both.json")
    return report(folder, hostile, *indexes, *pipelines, "--runs", "runs")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags, self.attributes, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


def test_the_page_holds_everything_and_runs_nothing(page):
    html = page.read_text("utf-8")
    tags = Tags()
    tags.feed(html)
    assert not {"script", "link", "iframe", "object", "form"} & set(tags.tags)
    assert not [name for name, _ in tags.attributes if name.startswith("on") or name == "style"]
    places = [value for name, value in tags.attributes if name in ("src", "href")]
    assert places
    assert all(place.startswith(("data:image/svg+xml;base64,", "#")) for place in places)
    assert "".join(tags.text).count(HOSTILE) > 20, "shown as text: titles, texts and queries"
    policy = re.search(r"sha256-([^']+)'", html)[1]
    style = re.search("<style>(.*?)</style>", html, re.DOTALL)[1]
    assert policy == base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()


def test_what_the_page_says(page):
    tags = Tags()
    tags.feed(page.read_text("utf-8"))
    text = re.sub(r"\s+", " ", "".join(tags.text))
    assert "Where both and bm25 differ most" in text
    assert "grade 2" in text
    assert "grade 0" in text
    assert "unjudged" in text
    assert re.search(r"bm25: rank 1, score \S+ \(\w+ [0-9.]+", text), "why a hit stands there"
    assert "fusion: bm25 0.01639 + plain 0.14" in text
    captions = [value for name, value in tags.attributes if name == "alt"]
    assert any("On the Pareto front:" in one for one in captions)
    assert any(
        re.search(r"both minus bm25, .* wins, .* losses, .* ties, Holm p = ", one)
        for one in captions
    )
    assert "cormorant version" in text


def test_reasons_are_those_of_the_run(hostile, tmp_path):
    """Lists are as deep as k where that is more than the pipeline's depth, and scaled over that."""
    shallow = {
        "retrieve": ["bm25", "plain"],
        "fuse": {"kind": "convex", "norm": "minmax", "weights": [0.3, 0.7], "missing": "zero"},
        "depth": 2,
    }
    (tmp_path / "shallow.json").write_text(json.dumps(shallow))
    indexes = ("--with", "bm25", "--with", 'plain:{"kind": "bm25", "k1": 9.0, "b": 0.0}')
    pipelines = ("--pipeline", "bm25", "--pipeline", "shallow.json")
    html = report(tmp_path, hostile, *indexes, *pipelines).read_text("utf-8")
    score = r'class="standing">[^\n]*<span class="dim">(\S+)</span>'
    parts = r"fusion: bm25 (\S+) \+ plain ([^<]+)"
    hits = re.findall(f"{score}(?:(?!</li>).)*{parts}", html, re.DOTALL)
    assert len(hits) >= 5
    for whole, bm25, plain in hits:
        assert float(whole) == pytest.approx(float(bm25) + float(plain), abs=1e-3)


def test_plots_are_files_too(page):
    names = {file.name for file in (page.parent / "plots").iterdir()}
    plots = ("latency", "size", "stages", "recall", "deltas.both")
    assert names == {f"hostile.{plot}.{kind}" for plot in plots for kind in ("svg", "png")}
    for file in (page.parent / "plots").iterdir():
        if file.suffix == ".png":
            assert file.read_bytes().startswith(b"\x89PNG")
        else:
            assert ElementTree.parse(file).getroot().tag.endswith("svg")
            assert "var(" not in file.read_text(), "in plain colours, which every program knows"


def test_saved_runs_have_a_report_without_times_and_reasons(page, hostile, tmp_path):
    folder = page.parent.parent / "runs"
    runs = [
        word for name in ("bm25", "both") for word in ("--run", folder / f"hostile.{name}.run.gz")
    ]
    again = report(tmp_path, hostile, *runs, "--baseline", "hostile.both")
    plots = {file.stem for file in (again.parent / "plots").iterdir()}
    assert plots == {"hostile.recall", "hostile.deltas.hostile.bm25"}
    html = again.read_text("utf-8")
    assert "Where hostile.bm25 and hostile.both differ most" in html
    assert 'class="reason"' not in html


def test_a_relevant_document_that_the_corpus_lacks_is_named_without_a_title(tmp_path):
    folder = tmp_path / "lacking"
    (folder / "qrels").mkdir(parents=True)
    names = [f"d{n}" for n in range(100)]
    lines = [json.dumps({"_id": name, "text": "x"}) for name in names]
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    (folder / "queries.jsonl").write_text('{"_id": "q", "text": "x"}')
    judged = [f"q\t{name}\t{int(name == 'd0')}\n" for name in names]
    (folder / "qrels" / "test.tsv").write_text(
        "query-id\tcorpus-id\tscore\n" + "".join(judged) + "q\tgone\t1\n"
    )
    for name, hit in (("one", "d0"), ("two", "d1")):
        (tmp_path / f"{name}.run").write_text(f"q Q0 {hit} 1 1.0 t\n")
    html = report(tmp_path, folder, "--run", "one.run", "--run", "two.run").read_text("utf-8")
    assert "<td>gone</td>" in html


def test_one_pipeline_has_nothing_to_differ_from(hostile, tmp_path):
    assert "differ most" not in report(tmp_path, hostile).read_text("utf-8")
    assert not list((tmp_path / "out" / "plots").glob("*deltas*"))


@pytest.mark.soak
def test_in_a_browser(page):
    wrong = []
    with chromium() as browser:
        for scheme, width in (("light", 1280), ("dark", 390)):
            context = browser.new_context(
                color_scheme=scheme, viewport={"width": width, "height": 900}
            )
            tab = context.new_page()
            tab.on("console", lambda message: wrong.append(message.text))
            tab.on("pageerror", lambda error: wrong.append(str(error)))
            tab.on("request", lambda asked: wrong.append(asked.url[:80]))
            tab.goto(page.as_uri())
            tab.locator("summary").first.click()
            assert HOSTILE in tab.locator("details").first.inner_text()
            assert "run" not in tab.title()
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert tab.evaluate("[...document.images].every((one) => one.naturalWidth > 300)")
            context.close()
    assert not [one for one in wrong if not one.startswith(("file:", "data:image/svg+xml;"))]


def test_the_recall_curve_is_every_recall():
    random = np.random.default_rng(5)
    names = [f"d{n}" for n in range(40)]
    qrels = {"q0": {"d1": 1}, "q1": {"d2": 2, "d5": 1, "d7": 0}, "q2": {"d3": -1}}
    run = {
        q: [(d, 0.0) for d in random.permutation(names)[:30].tolist()] for q in ("q0", "q2", "q9")
    }
    curve = recall_curve(run, qrels, 35)
    measures = [f"R@{depth}" for depth in range(1, 36)]
    assert curve == pytest.approx(list(evaluate(measures, qrels, run).means.values()), abs=1e-12)


def test_a_trade_off_of_what_has_a_cost():
    places = {"$a$": 0, "b" * 90: 9, "read from a file": 1}
    points = [
        Point("$a$", 2.0, 0.5),
        Point("b" * 90, 1.0, 0.4),
        Point("read from a file", 0.0, 1.0),
    ]
    with drawing():
        one, same = (trade_off("x", points, "ms", "AP", places) for _ in range(2))
        assert trade_off("x", points[2:], "ms", "AP", places) is None
        assert one.caption == f"AP against ms. On the Pareto front: {'b' * 90}, $a$."
        svg = as_svg(one.figure)
        assert svg == as_svg(same.figure), "the same figure, the same bytes"
    assert ">$a$<" in svg, "no formula"
    assert f">{'b' * 21}\u2026<" in svg
    assert "from a file" not in svg


def test_reasons_by_shape():
    terms = [{"term": f"t{n}", "score": float(n)} for n in range(9)]
    explanation = {
        "bm25": {"rank": 2, "score": 36.0, "terms": terms},
        "sparse": {"rank": None, "score": 1.5, "matched": terms[:2]},
        "dense": {"rank": 1, "score": None},
        "fusion": {"bm25": 0.25, "dense": 0.123456},
        "rerank": [{"kind": "cross_encoder", "rank": 3, "score": -1.0}],
    }
    assert reasons(explanation) == [
        "bm25: rank 2, score 36 (t8 8, t7 7, t6 6, t5 5, t4 4, t3 3, 2 more)",
        "sparse: not in its list, score 1.5 (t1 1)",
        "dense: rank 1",
        "fusion: bm25 0.25 + dense 0.1235",
        "cross_encoder: rank 3, score -1",
    ]
    assert reasons(None) == []


def test_what_cannot_be_is_refused_before_anything_is_measured(tmp_path, monkeypatch):
    with pytest.raises(InputError, match=r"got 'a b'"):
        prepare_report(tmp_path, ["x", "a b"])
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        prepare_report(tmp_path / "file", [])
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"cormorant\[report\]"):
        prepare_report(tmp_path, [])
