"""Cormorant: retrieval and ranking behind one small API.

    import cormorant as cm

    with cm.Collection.create("papers.cm", indexes={"bm25": cm.BM25()}) as papers:
        papers.add([cm.Document(id="1", text="Cormorants dive deep.")])
        for hit in papers.search("diving cormorant"):
            print(hit.rank, hit.id, hit.score, hit.text)

Every name is imported when it is first used, so that ``import cormorant`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .answers import Answer
    from .api.client.async_client import AsyncClient
    from .api.client.client import Client
    from .documents import Document, read_jsonl
    from .errors import (
        CollectionError,
        CormorantError,
        CorruptionError,
        InputError,
        ServiceError,
        StorageError,
    )
    from .indexers.bm25.settings import BM25
    from .indexers.chunking import Chunking
    from .indexers.dense.settings import HNSW, IVF, Dense
    from .indexers.muvera.settings import Muvera
    from .indexers.spann.settings import Spann
    from .indexers.sparse.settings import Sparse
    from .rankers.adaptive import Adaptive
    from .rankers.by_rank import ISR, Borda
    from .rankers.cascade import Cascade
    from .rankers.comb import CombMNZ, CombSUM
    from .rankers.convex import Convex
    from .rankers.cross_encoder import CrossEncoder
    from .rankers.cur.anchors import Anchors
    from .rankers.cur.settings import CUR
    from .rankers.genqr import GenQREnsemble, GenQRFeedback, GenQRFusion
    from .rankers.language_models.local import LocalModel
    from .rankers.language_models.openai import OpenAIModel
    from .rankers.late_interaction import LateInteraction
    from .rankers.listwise.settings import Listwise
    from .rankers.rrf import RRF
    from .rankers.stage import Stage
    from .rankers.term_feedback import RM3, Rocchio
    from .rankers.vector_feedback import VectorPRF
    from .ranking import Ranking
    from .results import Hit, Result, Span
    from .retrieval.answering.settings import Answering
    from .retrieval.asynchronous import AsyncCollection
    from .retrieval.cluster.cluster import Cluster
    from .retrieval.collection import Collection
    from .retrieval.pipeline import Pipeline, Retrieve

__version__ = "0.1.0"

_HOMES = {
    "OpenAIModel": "rankers.language_models.openai",
    "LocalModel": "rankers.language_models.local",
    "Listwise": "rankers.listwise.settings",
    "CUR": "rankers.cur.settings",
    "Anchors": "rankers.cur.anchors",
    "Adaptive": "rankers.adaptive",
    "Answer": "answers",
    "Answering": "retrieval.answering.settings",
    "AsyncClient": "api.client.async_client",
    "AsyncCollection": "retrieval.asynchronous",
    "BM25": "indexers.bm25.settings",
    "GenQREnsemble": "rankers.genqr",
    "GenQRFeedback": "rankers.genqr",
    "GenQRFusion": "rankers.genqr",
    "HNSW": "indexers.dense.settings",
    "IVF": "indexers.dense.settings",
    "Borda": "rankers.by_rank",
    "Cascade": "rankers.cascade",
    "Chunking": "indexers.chunking",
    "Client": "api.client.client",
    "Cluster": "retrieval.cluster.cluster",
    "Collection": "retrieval.collection",
    "CollectionError": "errors",
    "CombMNZ": "rankers.comb",
    "CombSUM": "rankers.comb",
    "Convex": "rankers.convex",
    "CormorantError": "errors",
    "CorruptionError": "errors",
    "CrossEncoder": "rankers.cross_encoder",
    "Dense": "indexers.dense.settings",
    "Document": "documents",
    "Hit": "results",
    "ISR": "rankers.by_rank",
    "InputError": "errors",
    "LateInteraction": "rankers.late_interaction",
    "Muvera": "indexers.muvera.settings",
    "Pipeline": "retrieval.pipeline",
    "RM3": "rankers.term_feedback",
    "RRF": "rankers.rrf",
    "Ranking": "ranking",
    "Reencode": "rankers.reencode",
    "Result": "results",
    "Retrieve": "retrieval.pipeline",
    "Rocchio": "rankers.term_feedback",
    "ServiceError": "errors",
    "Span": "results",
    "Spann": "indexers.spann.settings",
    "Sparse": "indexers.sparse.settings",
    "Stage": "rankers.stage",
    "StorageError": "errors",
    "VectorPRF": "rankers.vector_feedback",
    "read_jsonl": "documents",
}

__all__ = [
    "OpenAIModel",
    "LocalModel",
    "Listwise",
    "CUR",
    "Anchors",
    "BM25",
    "HNSW",
    "ISR",
    "IVF",
    "RM3",
    "RRF",
    "Adaptive",
    "Answer",
    "Answering",
    "AsyncClient",
    "AsyncCollection",
    "Borda",
    "Cascade",
    "Chunking",
    "Client",
    "Cluster",
    "Collection",
    "CollectionError",
    "CombMNZ",
    "CombSUM",
    "Convex",
    "CormorantError",
    "CorruptionError",
    "CrossEncoder",
    "Dense",
    "Document",
    "GenQREnsemble",
    "GenQRFeedback",
    "GenQRFusion",
    "Hit",
    "InputError",
    "LateInteraction",
    "Muvera",
    "Pipeline",
    "Ranking",
    "Reencode",
    "Result",
    "Retrieve",
    "Rocchio",
    "ServiceError",
    "Span",
    "Spann",
    "Sparse",
    "Stage",
    "StorageError",
    "VectorPRF",
    "read_jsonl",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
