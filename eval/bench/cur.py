"""``cormorant bench cur``: recall of a scorer's exact best against its calls, and nDCG.

The scorer is the cross-encoder that ``--model`` names (128 tokens a pair), else MaxSim over stored
token vectors. Its exact scores of all anchor and test queries for all documents are computed once
and kept, row by row, in ``$CORMORANT_CACHE/bench``; ``--prepare`` makes only those. Then ANNCUR,
ADACUR and AXN search a collection through the public surface with the matrix as their scorer, and
retrieve-and-rerank takes the first of BM25, dense and hybrid at equal calls. Both are filled up
behind the scored ones: by estimates, or by the first stage. Recall@k is the share of the exact k
best among the first k; ties at the k-th place count. nDCG@10 is against the real labels.

NFCorpus: 100 seeded test queries, anchors from its training queries. ``--full`` adds Vaswani: 43
test queries, 50 anchors of its own.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...contracts import Float32Array, IndexSettings
from ...documents import Document, JsonObject
from ...errors import InputError
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...indexers.muvera.settings import DEFAULT_MODEL, Muvera
from ...rankers.cross_encoder import CrossEncoder
from ...rankers.cur.anchors import Anchors
from ...rankers.cur.settings import CUR
from ...retrieval.collection import Collection
from ...retrieval.pipeline import Pipeline
from ..datasets import Dataset, load_dataset
from ..download import cache_folder
from ..measures import evaluate
from .cur_matrix import Matrix, MatrixScorer, matrix, use
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

BUDGETS = (50, 100, 200, 500, 1000)
DEPTHS = (1, 10, 100)
METHODS = ("anncur", "adacur", "axn")
FIRST_STAGES = ("bm25", "dense", "hybrid")
WINDOW = 128
SEED = 1
_TEXTS_AT_ONCE = 4096


class Plan(NamedTuple):
    """How many queries are tested, and how many anchor queries there are."""

    test: int
    anchors: int
    anchors_of_train: bool


PLANS = {"nfcorpus": Plan(100, 100, True), "vaswani": Plan(43, 50, False)}
DEFAULT_PLAN = Plan(100, 100, True)


class Material(NamedTuple):
    """A test collection with its seeded queries: id -> text."""

    data: Dataset
    documents: list[Document]
    test: dict[str, str]
    anchors: dict[str, str]


def prepare(*, full: bool, corpus: Path | None, console: Console, model: str | None = None) -> None:
    """Compute the exact scores; run again, it goes on where it was."""
    for material in _materials(full, corpus):
        _exact(material, model, console)


def bench(
    *, full: bool, corpus: Path | None, model: str | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, and ``recall10_vs_rerank@200``: the best method's over the best first stage's."""
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    for material in _materials(full, corpus):
        measured = _measure(material, model, console)
        rows += measured
        name = material.data.name
        for depth in DEPTHS:
            for budget in BUDGETS:
                found = {
                    str(row["system"]): float(row[f"recall@{depth}"])
                    for row in measured
                    if row.get("calls") == budget
                }
                ours = max(found[method] for method in ("adacur", "axn"))
                theirs = max(found[f"{stage}+rerank"] for stage in FIRST_STAGES)
                key = f"recall{depth}_vs_rerank@{budget}"
                ratios[key if name == "nfcorpus" else f"{name}:{key}"] = ours / max(theirs, 1e-9)
    show(rows, ratios, console)
    return rows, ratios, {}


def _materials(full: bool, corpus: Path | None) -> list[Material]:
    folders = [corpus] if corpus is not None else []
    if not folders:
        shared = shared_data()
        if shared is None:
            raise InputError("needs the shared data sets, or --corpus FOLDER")
        folders = [shared / name for name in (("nfcorpus", "vaswani") if full else ("nfcorpus",))]
    return [_material(folder) for folder in folders]


def _material(folder: Path) -> Material:
    data = load_dataset(folder)
    plan = PLANS.get(data.name, DEFAULT_PLAN)
    random = np.random.default_rng(SEED)
    names = [list(data.queries)[place] for place in random.permutation(len(data.queries))]
    test = {name: data.queries[name] for name in names[: plan.test]}
    if plan.anchors_of_train:
        train = load_dataset(folder, split="train").queries
        others = [list(train)[place] for place in random.permutation(len(train))]
        pool = {name: train[name] for name in others}
    else:
        pool = {name: data.queries[name] for name in names[plan.test :]}
    texts = set(test.values())
    anchors = [name for name, text in pool.items() if text.strip() and text not in texts]
    return Material(
        data, list(data.documents()), test, {name: pool[name] for name in anchors[: plan.anchors]}
    )


# -- the exact scores -----------------------------------------------------------------------


def _exact(material: Material, model: str | None, console: Console) -> Matrix:
    queries = [*material.anchors.values(), *material.test.values()]
    texts = [_text(document) for document in material.documents]
    distinct = list(dict.fromkeys(texts))
    shape = f"{len(material.anchors)}x{len(material.test)}"
    root = cache_folder().parent / "bench"

    def tell(done: int, of: int) -> None:
        console.print(f"{material.data.name}: exact scores of {done} of {of} queries")

    if model is not None:
        scorer = CrossEncoder(model, window=WINDOW, passages=1)
        folder = root / f"cur-{material.data.name}-{shape}-{scorer.identity}"
        return matrix(folder, queries, distinct, _by_pairs(scorer, distinct), tell)
    folder = root / f"cur-{material.data.name}-{shape}-maxsim"
    if (folder / "names.json").is_file():
        known = _done(folder)
        if known:
            return matrix(folder, queries, distinct, _no_row, tell)
    with tempfile.TemporaryDirectory() as temporary:
        settings = Muvera(DEFAULT_MODEL, target_recall=None)
        with Collection.create(Path(temporary) / "tokens.cm", {"tokens": settings}) as collection:
            collection.add(
                Document(id=str(place), text=text) for place, text in enumerate(distinct)
            )
            return matrix(folder, queries, distinct, _by_index(collection, len(distinct)), tell)


def _text(document: Document) -> str:
    """What a scorer reads of a document: as ``Chunk.indexed_text``."""
    return f"{document.title}\n{document.text}" if document.title else document.text


def _done(folder: Path) -> bool:
    return not bool(np.isnan(np.load(folder / "scores.npy", mmap_mode="r")).any())


def _no_row(query: str) -> Float32Array:
    raise InputError(f"the scores of {query!r} are gone")


def _by_pairs(scorer: CrossEncoder, texts: Sequence[str]) -> Callable[[str], Float32Array]:
    def row(query: str) -> Float32Array:
        parts = [
            scorer.score_pairs([(query, text) for text in texts[at : at + _TEXTS_AT_ONCE]])
            for at in range(0, len(texts), _TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)

    return row


def _by_index(collection: Collection, n: int) -> Callable[[str], Float32Array]:
    def row(query: str) -> Float32Array:
        result = collection.search(query, k=n, pipeline="tokens")
        scores = np.full(n, np.nan, np.float32)
        scores[[int(name) for name in result.ids]] = [hit.score for hit in result]
        return scores

    return row


# -- the comparison -------------------------------------------------------------------------


def _measure(material: Material, model: str | None, console: Console) -> list[JsonObject]:
    exact = _exact(material, model, console)
    scorer = use(f"{material.data.name}-{'maxsim' if model is None else 'cross-encoder'}", exact)
    columns = {text: place for place, text in enumerate(exact.texts)}
    place_of = {item.id: columns[_text(item)] for item in material.documents}
    names, queries = list(material.test), list(material.test.values())
    lines = {text: place for place, text in enumerate(exact.queries)}
    truth = [exact.scores[lines[query]] for query in queries]
    rows: list[JsonObject] = []

    def add(system: str, setting: str, calls: int, found: Sequence[Sequence[str]]) -> None:
        rows.append(
            {
                "system": system,
                "setting": f"{material.data.name} {setting}",
                "calls": calls,
                **_recalls(found, truth, place_of),
                "nDCG@10": _ndcg(material, names, found),
            }
        )

    with _collection(material, scorer, exact) as collection:
        n = len(material.documents)
        everything = [item.id for item in material.documents]
        listed: dict[str, list[list[str]]] = {}
        for stage in FIRST_STAGES:
            pipeline = stage if stage != "hybrid" else {
                    "retrieve": ["bm25", "dense"], "fuse": {"kind": "convex"}, "depth": n
                }  # fmt: skip
            results = collection.search_batch(queries, k=n, pipeline=pipeline)
            listed[stage] = [_filled(result.ids, everything) for result in results]
            add(stage, "alone", 0, listed[stage])
        best = [_exact_order(everything, row, place_of) for row in truth]
        add("exact", "all scored", n, best)
        for budget in BUDGETS:
            for stage in FIRST_STAGES:
                found = [
                    _exact_order(own[:budget], row, place_of) + own[budget:]
                    for own, row in zip(listed[stage], truth, strict=True)
                ]
                add(f"{stage}+rerank", f"@{budget}", budget, found)
            for method in METHODS:
                before = scorer.calls
                cur = CUR(scorer, method=method, budget=budget)
                results = collection.search_batch(queries, k=n, pipeline=Pipeline([cur]))
                spent = (scorer.calls - before) / len(queries)
                if spent > budget:
                    raise AssertionError(f"{method} made {spent} calls of {budget}")
                add(method, f"@{budget}", budget, [result.ids for result in results])
                console.print(f"{material.data.name}: {method} at {budget} calls")
    return rows


def _collection(material: Material, scorer: MatrixScorer, exact: Matrix) -> Collection:
    """The collection with the anchor queries' scores, kept beside the matrix; ``done``: whole."""
    path = exact.folder / "collection.cm"
    if (exact.folder / "done").is_file():
        return Collection.open(path, read_only=True)
    shutil.rmtree(path, ignore_errors=True)
    indexes: dict[str, IndexSettings] = {
        "bm25": BM25(),
        "dense": Dense(),
        "anchors": Anchors(scorer, tuple(material.anchors.values())),
    }
    collection = Collection.create(path, indexes)
    collection.add(material.documents)
    collection.merge()
    (exact.folder / "done").touch()
    return collection


def _filled(ids: Sequence[str], everything: Sequence[str]) -> list[str]:
    known = set(ids)
    return [*ids, *(name for name in everything if name not in known)]


def _exact_order(ids: Sequence[str], row: Float32Array, place_of: dict[str, int]) -> list[str]:
    scores = row[[place_of[name] for name in ids]]
    return [ids[place] for place in np.argsort(-scores, kind="stable")]


def _recalls(
    found: Sequence[Sequence[str]], truth: Sequence[Float32Array], place_of: dict[str, int]
) -> dict[str, float]:
    """The share of the k places that hold a document of the exact k best, ties included."""
    shares: dict[str, list[float]] = {f"recall@{depth}": [] for depth in DEPTHS}
    for ids, row in zip(found, truth, strict=True):
        every = np.sort(row[list(place_of.values())])[::-1]
        for depth in DEPTHS:
            own = row[[place_of[name] for name in ids[:depth]]]
            shares[f"recall@{depth}"].append(
                float(np.mean(own >= every[min(depth, len(every)) - 1]))
            )
    return {name: float(np.mean(values)) for name, values in shares.items()}


def _ndcg(material: Material, names: Sequence[str], found: Sequence[Sequence[str]]) -> float:
    run = {
        name: [(document, -float(place)) for place, document in enumerate(ids[:10])]
        for name, ids in zip(names, found, strict=True)
    }
    qrels = {name: material.data.qrels[name] for name in names}
    return float(evaluate(["nDCG@10"], qrels, run).means["nDCG@10"])
