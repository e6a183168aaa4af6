"""Encoding against sentence-transformers' ``encode``: the same model, texts, precision, machine.

The peer has the better of two batch sizes for each setting, found on a part of the texts. The two
take turns, round after round, and a ratio is the median over the rounds. Drift is the cosine of
each vector with the peer's float32 vector of the same text.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...documents import JsonObject, read_jsonl
from ...indexers.encoders.encoder import load_encoder
from ...indexers.encoders.models import MINILM, find_model
from ..stdlib_docs import read_stdlib
from .sentences import shared_data, shared_sentences

DOCUMENTS = 256
SENTENCES = 4_000
FLOAT32_SHARE = 4
"""In float32, which is slow, only one text in so many."""
DRIFT_TEXTS = 64
BATCH_SIZES = (32, 128)
QUERIES = 40


class Texts(NamedTuple):
    """A setting's name and its texts."""

    name: str
    texts: list[str]


def encode_rows(rounds: int) -> tuple[list[JsonObject], dict[str, float]]:
    """Rows for each system, kind of text and precision, and ratios of texts per second.

    ``encode_vs_sentence_transformers`` is the default precision on documents; above 1 is better
    for us.
    """
    default = load_encoder(MINILM, device="cpu").precision
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    for precision in dict.fromkeys((default, "float32")):
        for corpus in (_documents(), _sentences()):
            texts = corpus.texts
            if precision == "float32" and default != "float32":
                texts = texts[::FLOAT32_SHARE]
            new, ratio = _compare(corpus.name, texts, precision, rounds)
            rows += new
            marks = [corpus.name] if corpus.name == "sentences" else []
            marks += [precision] if precision != default else []
            name = "-".join(marks)
            ratios["encode_vs_sentence_transformers" + (f"@{name}" if name else "")] = ratio
    return rows, ratios


def _compare(
    name: str, texts: list[str], precision: str, rounds: int
) -> tuple[list[JsonObject], float]:
    ours = load_encoder(MINILM, device="cpu", precision=precision)
    peer = _peer(precision)
    some = texts[:: max(1, len(texts) // DRIFT_TEXTS)]
    expected = _peer_encode(_peer("float32"), some, BATCH_SIZES[0])
    by_size = {size: _seconds(partial(_peer_encode, peer, some, size)) for size in BATCH_SIZES}
    batch_size = min(by_size, key=lambda size: by_size[size])
    ours.encode_document(some)
    times: dict[str, list[float]] = {"cormorant": [], "sentence-transformers": []}
    for _ in range(rounds):
        times["cormorant"].append(_seconds(lambda: ours.encode_document(texts)))
        times["sentence-transformers"].append(
            _seconds(lambda: _peer_encode(peer, texts, batch_size))
        )
    vectors = {
        "cormorant": ours.encode_document(some).vectors,
        "sentence-transformers": _peer_encode(peer, some, batch_size),
    }
    queries = {
        "cormorant": _single_ms(lambda text: ours.encode_query([text]), some),
        "sentence-transformers": _single_ms(lambda text: _peer_encode(peer, [text], 1), some),
    }
    rows: list[JsonObject] = []
    for system, seconds in times.items():
        cosines = _cosines(vectors[system], expected)
        rows.append(
            {
                "system": system
                if system == "cormorant"
                else f"{system} (batches of {batch_size})",
                "setting": f"encode {name}, {precision}",
                "texts_per_second": len(texts) / statistics.median(seconds),
                "mean_cosine": float(cosines.mean()),
                "min_cosine": float(cosines.min()),
                "query_p50_ms": queries[system],
            }
        )
    pairs = zip(times["sentence-transformers"], times["cormorant"], strict=True)
    return rows, statistics.median(theirs / mine for theirs, mine in pairs)


def _documents() -> Texts:
    folder = shared_data()
    if folder is not None:
        documents = read_jsonl(folder / "nfcorpus" / "corpus.jsonl")
        texts = [f"{document.title} {document.text}".strip() for document in documents]
    else:
        texts = [f"{document.title} {document.text}" for document in read_stdlib()]
    return Texts("documents", texts[:: max(1, len(texts) // DOCUMENTS)])


def _sentences() -> Texts:
    texts = shared_sentences()
    if texts is None:
        texts = [document.text.split("\n\n")[0] for document in read_stdlib()]
    return Texts("sentences", texts[:: max(1, len(texts) // SENTENCES)][:SENTENCES])


def _peer(precision: str) -> Any:
    import torch
    from sentence_transformers import SentenceTransformer

    path: Path = find_model(MINILM).path
    model = SentenceTransformer(str(path), device="cpu", local_files_only=True)
    return model.to(getattr(torch, precision)).eval()


def _peer_encode(model: Any, texts: Sequence[str], batch_size: int) -> Float32Array:
    vectors = model.encode(list(texts), batch_size=batch_size, show_progress_bar=False)
    return np.asarray(vectors, np.float32)


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _single_ms(encode: Callable[[str], object], texts: Sequence[str]) -> float:
    """The median time of one query of some ten words, asked alone."""
    queries = [" ".join(text.split()[:10]) for text in texts[:QUERIES]]
    encode(queries[0])
    return 1000 * statistics.median(_seconds(partial(encode, query)) for query in queries)


def _cosines(vectors: Float32Array, expected: Float32Array) -> Float32Array:
    norms = np.linalg.norm(vectors, axis=1) * np.linalg.norm(expected, axis=1)
    cosines: Float32Array = np.minimum((vectors * expected).sum(axis=1) / norms, 1.0)
    return cosines
