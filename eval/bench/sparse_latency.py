"""``cormorant bench sparse-latency``: query string in, hits out, against BM25 on the same passages.

One collection of the shared sentences (or of ``--corpus``) with three indexes: bm25; sparse, by the
inference-free encoder that ``--model`` names, with a target recall of 0.95; and the same vectors
searched exactly, which says what recall was reached. Passages are encoded once. Questions of the
training pairs beside the sentences (or the corpus's queries) are asked one by one through
``Collection.search``, each of all indexes in turn, in an order that changes from question to
question; one thread. Before the clock starts every index has answered, and it is checked that the
model is not loaded for queries.
"""

from __future__ import annotations

import gzip
import json
import os
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...contracts import IndexSettings
from ...documents import Document, JsonObject
from ...errors import CollectionError, InputError
from ...indexers.bm25.settings import BM25
from ...indexers.encoders.sparse import load_sparse_encoder
from ...indexers.sparse.settings import Sparse
from ...retrieval.collection import Collection
from ..datasets import load_dataset
from .sentences import shared_data, shared_sentences
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

PASSAGES = 100_000
QUESTIONS = 500
ROUNDS = 3
RECALL = 0.95
PAIRS = "medquad_qa.jsonl.gz"
SYSTEMS = ("bm25", "sparse", "exact")


def bench(
    *, full: bool, corpus: Path | None, model: str | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows and the ratios; there is no peer but our own BM25."""
    if model is None:
        raise InputError("names the folder of an inference-free sparse encoder", field="--model")
    documents, questions = _material(corpus, full=full)
    with ExitStack() as stack:
        kept = os.environ.get("CORMORANT_BENCH")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        path = folder / f"latency_{len(documents)}.cm"
        if not path.exists():
            _build(path, documents, model, console)
        collection = stack.enter_context(Collection.open(path, read_only=True))
        measured = _measure(collection, questions)
    encoder = load_sparse_encoder(model)
    if not encoder.inference_free:
        raise InputError(f"{model!r} is not inference-free", field="--model")
    rows: list[JsonObject] = []
    for name in SYSTEMS:
        times = np.array(measured.times_ms[name])
        rows.append(
            {
                "system": f"cormorant {name}",
                "setting": f"{len(documents):,} passages",
                "p50_ms": float(np.median(times)),
                "p95_ms": float(np.percentile(times, 95)),
                "recall@10": measured.recall if name == "sparse" else 1.0,
            }
        )
    p50 = {name: float(np.median(measured.times_ms[name])) for name in SYSTEMS}
    ratios = {
        "latency_vs_bm25": p50["bm25"] / p50["sparse"],
        "latency_over_bm25_ms": p50["sparse"] - p50["bm25"],
    }
    show(rows, ratios, console)
    return rows, ratios, {}


class Measured:
    """By system the milliseconds of every search; the mean recall of ``sparse`` at 10."""

    def __init__(self) -> None:
        self.times_ms: dict[str, list[float]] = {name: [] for name in SYSTEMS}
        self.recall = 0.0


def _material(corpus: Path | None, *, full: bool) -> tuple[list[Document], list[str]]:
    if corpus is not None:
        data = load_dataset(corpus)
        return list(data.documents()), list(data.queries.values())[:QUESTIONS]
    sentences, folder = shared_sentences(), shared_data()
    if sentences is None or folder is None:
        raise CollectionError("needs the shared sentences, or --corpus FOLDER")
    chosen = sentences if full else sentences[:PASSAGES]
    with gzip.open(folder / "text_pairs" / PAIRS, "rt", encoding="utf-8") as lines:
        questions = list(dict.fromkeys(json.loads(line)["query"] for line in lines))
    random = np.random.default_rng(5)
    picked = [questions[place] for place in random.permutation(len(questions))[:QUESTIONS]]
    return [Document(id=str(number), text=text) for number, text in enumerate(chosen)], picked


def _build(path: Path, documents: list[Document], model: str, console: Console) -> None:
    indexes: dict[str, IndexSettings] = {
        "bm25": BM25(),
        "sparse": Sparse(model, target_recall=RECALL),
        "exact": Sparse(model),
    }
    encoder = load_sparse_encoder(model)
    with Collection.create(path, indexes) as collection:
        for start in range(0, len(documents), 10_000):
            part = documents[start : start + 10_000]
            vectors = encoder.encode_document([document.text for document in part]).vectors
            collection.add(part, vectors={"sparse": vectors, "exact": vectors})
            console.print(f"{start + len(part):,} passages encoded and added")
        collection.merge()


def _measure(collection: Collection, questions: list[str]) -> Measured:
    measured = Measured()
    found: dict[str, list[list[str]]] = {name: [] for name in SYSTEMS}
    for name in SYSTEMS:
        for question in questions[:20]:
            collection.search(question, pipeline=name)
    for number in range(ROUNDS * len(questions)):
        question = questions[number % len(questions)]
        for turn in range(len(SYSTEMS)):
            name = SYSTEMS[(number + turn) % len(SYSTEMS)]
            started = time.perf_counter()
            result = collection.search(question, pipeline=name)
            measured.times_ms[name].append(1000 * (time.perf_counter() - started))
            if number < len(questions):
                found[name].append(result.ids)
    shares = [
        len(set(own) & set(best)) / len(best)
        for own, best in zip(found["sparse"], found["exact"], strict=True)
        if best
    ]
    measured.recall = float(np.mean(shares))
    return measured
