"""The quality part of ``cormorant bench muvera --full``: nDCG of pipelines, with significance.

On nfcorpus, vaswani, cranfield and cisi (the last two were looked at for no default): exhaustive
MaxSim; MaxSim by default candidates, by LEMUR's, by whichever proxy was chosen; by product codes,
and by centred encodings, always or where that was chosen; stored in 4 and 2 bits; with carved
queries; fused with BM25, and as a reranker of BM25. Against BM25, dense and hybrid. Every segment
has a proxy, however small. Documents are encoded once for all indexes but those that learn, which
encode for themselves, and snippets as queries.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cormorant as cm

from ...contracts import IndexSettings
from ...documents import Document, JsonObject
from ...indexers.encoders.token_encoder import load_token_encoder
from ...indexers.muvera.settings import DEFAULT_MODEL, Muvera
from ...retrieval.collection import Collection
from ..datasets import load_dataset
from ..runner import run_dataset
from ..significance import compare_all
from .muvera_tables import Tables
from .sentences import shared_data

if TYPE_CHECKING:
    from rich.console import Console

DATASETS = ("cranfield", "cisi", "vaswani", "nfcorpus")
MEASURE = "nDCG@10"
_ROWS = 256
_AT_ONCE = 512
VARIANTS: dict[str, Muvera] = {
    "exhaustive": Muvera(target_recall=None),
    "default": Muvera(proxy_rows=_ROWS),
    "lemur": Muvera(proxy_rows=_ROWS, proxy="lemur"),
    "auto": Muvera(proxy_rows=_ROWS, proxy="auto"),
    "pq": Muvera(proxy_rows=_ROWS, codes="pq"),
    "centred": Muvera(proxy_rows=_ROWS, centre=True),
    "centre_tried": Muvera(proxy_rows=_ROWS, centre=None),
    "residual4": Muvera(target_recall=None, storage="residual4"),
    "residual2": Muvera(target_recall=None, storage="residual2"),
    "carved": Muvera(target_recall=None, carve=0.7),
}
READY = tuple(name for name, settings in VARIANTS.items() if not settings.learns)
"""Those that are given vectors."""
BASELINES = ("exhaustive", "dense", "hybrid")


class _Once:
    """A collection whose documents are encoded once for all its multi-vector indexes.

    Not for those that learn: ready vectors would leave them without snippets.
    """

    def __init__(self, path: Path, /, *, indexes: Mapping[str, IndexSettings]) -> None:
        self._collection = Collection.create(path, indexes)
        self.search, self.search_batch = self._collection.search, self._collection.search_batch
        self.flush, self.close = self._collection.merge, self._collection.close
        self.describe = self._collection.describe

    def add(self, documents: Iterable[Document], /) -> None:
        """Encode and add documents."""
        encoder = load_token_encoder(DEFAULT_MODEL)
        rest = iter(documents)
        while some := list(islice(rest, _AT_ONCE)):
            texts = [f"{one.title}\n{one.text}" if one.title else one.text for one in some]
            made = encoder.encode_document(texts).vectors
            self._collection.add(some, vectors=dict.fromkeys(READY, made))


def quality(console: Console, datasets: Sequence[str] = DATASETS) -> list[JsonObject]:
    """A row for each data set and pipeline, p values corrected over a data set's comparisons."""
    rows: list[JsonObject] = []
    folder = shared_data()
    for name in datasets if folder is not None else ():
        assert folder is not None
        found = Tables.of_model().rows(
            f"quality of {name}: {VARIANTS}", partial(_of_dataset, folder / name)
        )
        for row in found:
            console.print(" ".join(f"{key}={value}" for key, value in row.items()), highlight=False)
        rows += found
    return rows


def _of_dataset(folder: Path) -> list[JsonObject]:
    kept: list[_Once] = []
    facts: JsonObject = {}

    def create(path: Path, /, *, indexes: Mapping[str, IndexSettings]) -> _Once:
        kept.append(_Once(path, indexes=indexes))
        return kept[-1]

    pipelines: dict[str, Any] = {"bm25": "bm25", "dense": "dense"}
    pipelines["hybrid"] = cm.Pipeline(["bm25", "dense"], fuse=cm.Convex())
    pipelines |= {name: name for name in VARIANTS}
    pipelines["bm25 + muvera"] = cm.Pipeline(["bm25", "default"], fuse=cm.Convex())
    pipelines["bm25 > muvera"] = cm.Pipeline(
        ["bm25"], rerank=[cm.LateInteraction(index="default", depth=100)]
    )

    def watched(what: str, done: int, total: int | None) -> None:
        if kept and not facts and total is not None and "indexing" not in what:
            facts.update(kept[0].describe()["indexes"])

    results = run_dataset(
        load_dataset(folder),
        pipelines,
        create=create,
        indexes={"bm25": cm.BM25(), "dense": cm.Dense(), **VARIANTS},
        measures=[MEASURE],
        progress=watched,
    )
    rows: list[JsonObject] = []
    against = {name: compare_all(results, name) for name in BASELINES}
    for result in results:
        row: JsonObject = {
            "system": "cormorant",
            "setting": f"{result.dataset}: {result.pipeline}",
            MEASURE: result.measures[MEASURE],
        }
        for name, comparisons in against.items():
            found = comparisons.of(result).get(MEASURE)
            if found is not None:
                row[f"difference to {name}"], row[f"p {name}"] = found.difference, found.p_holm
        own = facts.get(result.pipeline, {})
        row |= {key: own[key] for key in ("candidates@10", "proxy", "tried", "bytes") if key in own}
        rows.append(row)
    return rows
