"""``cormorant bench cur``: recall of a scorer's exact best against its calls, and nDCG.

The scorer is the cross-encoder that ``--model`` names (128 tokens a pair), else MaxSim over stored
token vectors. Its exact scores of all anchor and test queries for all documents are computed once
and kept, row by row, in ``$CORMORANT_CACHE/bench``; ``--prepare`` makes only those. Then ANNCUR,
ADACUR and AXN search a collection through the public surface with the matrix as their scorer, and
retrieve-and-rerank takes the first of BM25, dense and hybrid at equal calls. Both are filled up
behind the scored ones: by estimates, or by the first stage. Recall@k is that of the exact k best
(``cur_recall``); nDCG@10 is against the real labels. ``vs_rerank@k`` is the difference to the best
retrieve-and-rerank at as many calls, ``p@k`` that of the paired randomisation test over queries.

``overhead_ms``: what a query's search takes without the scorer (whose scores are looked up), in a
batch of all test queries, after one search that is not timed. That one loads the models, and makes
AXN's item vectors, which a process remembers: ``overhead_ms`` leaves them out. ``estimated_ms``
adds the calls, each at what a pair took when the exact scores were computed.

NFCorpus: 100 seeded test queries, 50 anchors from its training queries. ``--full`` adds Vaswani: 43
test queries, 50 anchors of its own.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
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
from ...results import Result
from ...retrieval.collection import Collection
from ...retrieval.pipeline import AnyPipeline, Pipeline
from ..datasets import Dataset, load_dataset
from ..download import cache_folder
from ..measures import evaluate
from .cur_matrix import Matrix, MatrixScorer, is_whole, matrix, use
from .cur_recall import DEPTHS, Ahead, Shares, ahead, exact_order, means, shares, verdicts
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

BUDGETS = (50, 100, 200, 500, 1000)
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


PLANS = {"nfcorpus": Plan(100, 50, True), "vaswani": Plan(43, 50, False)}
DEFAULT_PLAN = Plan(100, 50, True)


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
    tokens = folder / "tokens.cm"  # kept until all rows are there: a kill costs no encoding
    if is_whole(folder):
        exact = matrix(folder, queries, distinct, _no_row, tell)
    else:
        with _tokens(tokens, distinct) as collection:
            exact = matrix(folder, queries, distinct, _by_index(collection, len(distinct)), tell)
    if tokens.exists():
        shutil.rmtree(tokens)
    return exact


def _tokens(path: Path, texts: Sequence[str]) -> Collection:
    """A collection of the texts' token vectors, by their places; what is there is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = Muvera(DEFAULT_MODEL, target_recall=None)
    collection = Collection.create(path, {"tokens": settings}, exist_ok=True)
    try:
        if len(collection) < len(texts):
            collection.add(Document(id=str(place), text=text) for place, text in enumerate(texts))
    except BaseException:
        collection.close()
        raise
    return collection


def _no_row(query: str) -> Float32Array:
    raise InputError(f"the scores of {query!r} are gone")


def _text(document: Document) -> str:
    """What a scorer reads of a document: as ``Chunk.indexed_text``."""
    return f"{document.title}\n{document.text}" if document.title else document.text


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


class _Measured:
    """The rows of a data set as they are made: recall, nDCG, milliseconds, and comparisons."""

    def __init__(self, material: Material, exact: Matrix) -> None:
        self.rows: list[JsonObject] = []
        self.compared: dict[str, dict[int, list[Ahead]]] = {method: {} for method in METHODS}
        self._material = material
        self._ms_per_pair = exact.ms_per_pair
        columns = {text: place for place, text in enumerate(exact.texts)}
        self._place_of = {item.id: columns[_text(item)] for item in material.documents}
        lines = {text: place for place, text in enumerate(exact.queries)}
        self._truth = [exact.scores[lines[query]] for query in material.test.values()]

    def by_scores(self, listed: Sequence[Sequence[str]], budget: int) -> list[list[str]]:
        """Each query's first ``budget`` by their exact scores, and the rest behind them."""
        return [
            exact_order(own[:budget], row, self._place_of) + list(own[budget:])
            for own, row in zip(listed, self._truth, strict=True)
        ]

    def add(
        self,
        system: str,
        calls: int,
        found: Sequence[Sequence[str]],
        overhead_ms: float,
        others: Mapping[str, Shares] | None = None,
    ) -> Shares:
        """A row; compared with the best of ``others``, where there are any."""
        made = shares(found, self._truth, self._place_of)
        row: JsonObject = {
            "system": system,
            "setting": f"{self._material.data.name} @{calls}",
            "calls": calls,
            **means(made),
            "nDCG@10": _ndcg(self._material, found),
            "overhead_ms": overhead_ms,
        }
        if self._ms_per_pair is not None:
            row["estimated_ms"] = calls * self._ms_per_pair + overhead_ms
        if others is not None:
            self.compared[system][calls] = ahead(made, others)
            for one in self.compared[system][calls]:
                row[f"vs_rerank@{one.depth}"], row[f"p@{one.depth}"] = one.difference, one.p
        self.rows.append(row)
        return made


def _measure(material: Material, model: str | None, console: Console) -> list[JsonObject]:
    exact = _exact(material, model, console)
    name = material.data.name
    scorer = use(f"{name}-{'maxsim' if model is None else 'cross-encoder'}", exact)
    queries = list(material.test.values())
    everything = [item.id for item in material.documents]
    n = len(everything)
    measured = _Measured(material, exact)
    with _collection(material, scorer, exact) as collection:

        def timed(pipeline: AnyPipeline, k: int) -> tuple[list[Result], float]:
            """The results of all queries, and the milliseconds of each."""
            begun = time.perf_counter()
            results = collection.search_batch(queries, k=k, pipeline=pipeline)
            return results, 1000 * (time.perf_counter() - begun) / len(queries)

        listed: dict[str, list[list[str]]] = {}
        for stage in FIRST_STAGES:
            listed[stage] = [
                _filled(result.ids, everything) for result in timed(_first(stage, n), n)[0]
            ]
            _, overhead_ms = timed(_first(stage, DEPTHS[-1]), DEPTHS[-1])
            measured.add(stage, 0, listed[stage], overhead_ms)
        measured.add("exact", n, measured.by_scores([everything] * len(queries), n), 0.0)
        for method in METHODS:  # what is loaded or made once is not timed
            timed(Pipeline([CUR(scorer, method=method, budget=BUDGETS[0])]), n)
        for budget in BUDGETS:
            reranked: dict[str, Shares] = {}
            for stage in FIRST_STAGES:
                found = measured.by_scores(listed[stage], budget)
                _, overhead_ms = timed(_first(stage, budget), budget)
                reranked[stage] = measured.add(f"{stage}+rerank", budget, found, overhead_ms)
            for method in METHODS:
                before = scorer.calls
                cur = CUR(scorer, method=method, budget=budget)
                results, overhead_ms = timed(Pipeline([cur]), n)
                spent = (scorer.calls - before) / len(queries)
                if spent > budget:
                    raise AssertionError(f"{method} made {spent} calls of {budget}")
                ids = [result.ids for result in results]
                measured.add(method, budget, ids, overhead_ms, reranked)
                console.print(f"{name}: {method} at {budget} calls")
    for line in verdicts(measured.compared):
        console.print(f"{name}: {line}")
    return measured.rows


def _first(stage: str, depth: int) -> AnyPipeline:
    """A first stage that gives as many as are reranked."""
    if stage != "hybrid":
        return stage
    return {"retrieve": ["bm25", "dense"], "fuse": {"kind": "convex"}, "depth": depth}


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


def _ndcg(material: Material, found: Sequence[Sequence[str]]) -> float:
    names = list(material.test)
    run = {
        name: [(document, -float(place)) for place, document in enumerate(ids[:10])]
        for name, ids in zip(names, found, strict=True)
    }
    qrels = {name: material.data.qrels[name] for name in names}
    return float(evaluate(["nDCG@10"], qrels, run).means["nDCG@10"])
