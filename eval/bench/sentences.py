"""The 250,000 sentences for benchmarks at scale, where they lie beside a checkout."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...documents import read_jsonl
from ...indexers.dense.settings import DEFAULT_MODEL
from ...indexers.encoders.encoder import load_encoder
from .. import stdlib_docs
from ..datasets import load_dataset
from ..stdlib_docs import read_stdlib
from ..topics import read_queries

_VECTOR_FILES = ("minilm_int8.npy", "scale.npy")

ENGLISH = (
    "nfcorpus",
    "cranfield",
    "cisi",
    "vaswani",
    "hotpotqa-slice",
    "pubmedqa-l",
    "scitldr",
    "xquad-en",
)


def shared_data() -> Path | None:
    """``$CORMORANT_DATA``, or ``shared/data`` beside the checkout; None when there is neither."""
    given = os.environ.get("CORMORANT_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    return folder if folder.is_dir() else None


def shared_sentences() -> list[str] | None:
    """One sentence a row, or None where the data is absent."""
    folder = shared_data()
    if folder is None:
        return None
    with gzip.open(folder / "sentences" / "sentences.txt.gz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n") for line in lines]


def english_queries() -> list[str]:
    """Every distinct query of the English collections there, in a fixed order."""
    folder = shared_data()
    texts: dict[str, None] = {}
    for name in ENGLISH if folder is not None else ():
        assert folder is not None
        texts.update(dict.fromkeys(read_queries(folder / name / "queries.jsonl").values()))
    return list(texts)


class Vectors(NamedTuple):
    """Vectors to find, (n, dim) float32, queries, and their exact neighbours, best first."""

    name: str
    base: Float32Array
    queries: Float32Array
    neighbours: Int64Array


def sentence_vectors(corpus: Path | None) -> Vectors:
    """The vectors of the sentences; of a corpus, or of the standard library, encoded now."""
    folder = shared_data()
    if corpus is None and folder is not None:
        codes, scale = (np.load(folder / "sentences" / name) for name in _VECTOR_FILES)
        vectors = codes.astype(np.float32) * scale
        neighbours = np.load(folder / "sentences" / "neighbours.npy").astype(np.int64)
        n = len(neighbours)
        return Vectors("sentences", vectors[:-n], vectors[-n:], neighbours)
    if corpus is None:
        name, texts = "stdlib", [f"{item.title}\n{item.text}" for item in read_stdlib()]
        asked = list(read_queries(Path(stdlib_docs.__file__).parent / "queries.jsonl").values())
    else:
        data = load_dataset(corpus)
        name, asked = data.name, list(data.queries.values())
        texts = [f"{item.title}\n{item.text}" for item in read_jsonl(data.corpus)]
    encoder = load_encoder(DEFAULT_MODEL)
    base = encoder.encode_document(texts).vectors
    queries = encoder.encode_query(asked).vectors
    neighbours = np.argsort(-(queries @ base.T), axis=1)[:, :100]
    return Vectors(name, base, queries, neighbours)
