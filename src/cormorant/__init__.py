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
    from .indexers.sparse.settings import Sparse
    from .rankers.convex import Convex
    from .rankers.late_interaction import LateInteraction
    from .rankers.rrf import RRF
    from .ranking import Ranking
    from .results import Hit, Result, Span
    from .retrieval.collection import Collection
    from .retrieval.pipeline import Pipeline, Retrieve

__version__ = "0.1.0"

_HOMES = {
    "AsyncClient": "api.client.async_client",
    "BM25": "indexers.bm25.settings",
    "HNSW": "indexers.dense.settings",
    "IVF": "indexers.dense.settings",
    "Chunking": "indexers.chunking",
    "Client": "api.client.client",
    "Collection": "retrieval.collection",
    "CollectionError": "errors",
    "Convex": "rankers.convex",
    "CormorantError": "errors",
    "CorruptionError": "errors",
    "Dense": "indexers.dense.settings",
    "Document": "documents",
    "Hit": "results",
    "InputError": "errors",
    "LateInteraction": "rankers.late_interaction",
    "Muvera": "indexers.muvera.settings",
    "Pipeline": "retrieval.pipeline",
    "RRF": "rankers.rrf",
    "Ranking": "ranking",
    "Result": "results",
    "Retrieve": "retrieval.pipeline",
    "ServiceError": "errors",
    "Span": "results",
    "Sparse": "indexers.sparse.settings",
    "StorageError": "errors",
    "read_jsonl": "documents",
}

__all__ = [
    "BM25",
    "HNSW",
    "IVF",
    "AsyncClient",
    "Chunking",
    "Client",
    "Collection",
    "CollectionError",
    "Convex",
    "CormorantError",
    "CorruptionError",
    "Dense",
    "Document",
    "Hit",
    "InputError",
    "LateInteraction",
    "Muvera",
    "Pipeline",
    "RRF",
    "Ranking",
    "Result",
    "Retrieve",
    "ServiceError",
    "Span",
    "Sparse",
    "StorageError",
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
