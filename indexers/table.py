"""Every kind of index, one line each: the tag and the settings class a user writes."""

from __future__ import annotations

from typing import Any, cast

from .. import tagged
from ..contracts import IndexSettings

INDEXES: dict[str, str] = {
    "anchors": "cormorant.rankers.cur.anchors:Anchors",
    "bm25": "cormorant.indexers.bm25.settings:BM25",
    "dense": "cormorant.indexers.dense.settings:Dense",
    "muvera": "cormorant.indexers.muvera.settings:Muvera",
    "spann": "cormorant.indexers.spann.settings:Spann",
    "sparse": "cormorant.indexers.sparse.settings:Sparse",
}


def index_settings(value: Any) -> IndexSettings:
    """Index settings from tagged JSON (or a bare kind), e.g. ``{"kind": "bm25", "k1": 0.9}``."""
    return cast(IndexSettings, tagged.from_json(INDEXES, value, "index kind"))
