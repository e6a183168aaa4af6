"""``cormorant bench fusion``: fusions and feedback on four test collections, with significance.

For each of nfcorpus, cranfield, cisi and vaswani one collection is built (BM25 and MiniLM vectors),
its queries are encoded once, and every pipeline searches it. Weights of lists and of feedback are
found on nfcorpus' training queries. The others have no training queries: there each half of the
queries is searched with what the other half chose. What was chosen is noted, and what it was worth
where it was chosen.

Every value stands beside ``hybrid`` (BM25 and dense under convex fusion with its default weights):
difference, and p of the paired randomisation test, Holm over all pipelines of a data set and both
measures. Ratios: ``hybrid``, and the best pipeline that no judgement of the data set went into
(chosen by what it reached, so it flatters), by what was asked.

With ``--corpus`` the folders are looked for there. ``$CORMORANT_BENCH`` names a folder to keep the
collections in, ``$CORMORANT_ENCODING_CACHE`` one for vectors: documents are then encoded once.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from ...documents import JsonObject
from ...errors import CollectionError
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...rankers.by_rank import ISR, Borda
from ...rankers.comb import CombMNZ, CombSUM
from ...rankers.convex import Convex
from ...rankers.norms import MISSING, NORMS
from ...rankers.rrf import RRF
from ...retrieval.collection import Collection
from ...retrieval.pipeline import Pipeline
from ...stages import Fusion
from ..datasets import Dataset, load_dataset
from ..result import EvalResult
from .fusion_feedback import feedbacks, tuned_feedback
from .fusion_results import Searched, result_of, rows_of
from .fusion_weights import tuned_weights
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

ASKED = {"nfcorpus": 0.356, "cranfield": 0.562, "cisi": 0.460, "vaswani": 0.492}
SUPERVISED = ("tuned", "adaptive")
"""How pipelines begin whose weights saw judgements."""


def bench(
    *, full: bool, corpus: Path | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios and no peers: every other fusion is the peer."""
    home = corpus or shared_data()
    if home is None:
        raise CollectionError("bench fusion needs the test collections; name them with --corpus")
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    with ExitStack() as stack:
        kept = os.environ.get("CORMORANT_BENCH")
        folder = Path(kept or stack.enter_context(tempfile.TemporaryDirectory()))
        for name, asked in ASKED.items():
            results = measured(load_dataset(home / name), folder, home / name)
            new = rows_of(results)
            show(new, {}, console)
            rows += new
            unsupervised = [r for r in results if not r.pipeline.startswith(SUPERVISED)]
            best = max(unsupervised, key=lambda result: result.measures["nDCG@10"])
            ratios[f"{name}_{best.pipeline}_vs_asked"] = best.measures["nDCG@10"] / asked
            hybrid = next(r for r in results if r.pipeline == "hybrid")
            ratios[f"{name}_hybrid_vs_asked"] = hybrid.measures["nDCG@10"] / asked
    return rows, ratios, {}


def pipelines() -> dict[str, Pipeline]:
    """Every fusion, norm and policy for missing scores, and every feedback."""
    both = ["bm25", "dense"]
    found = {
        "bm25": Pipeline("bm25"),
        "dense": Pipeline("dense"),
        "hybrid": Pipeline(both, Convex()),
    }
    fusions: list[Fusion] = [RRF(), ISR(), Borda(), CombSUM(), CombMNZ()]
    found |= {str(getattr(fusion, "kind", "")): Pipeline(both, fusion) for fusion in fusions}
    for norm in NORMS:
        for missing in MISSING:
            found[f"convex.{norm}.{missing}"] = Pipeline(both, Convex((0.5, 0.5), norm, missing))
    return found | feedbacks()


def measured(dataset: Dataset, folder: Path, source: Path) -> list[EvalResult]:
    """Every pipeline on one data set."""
    path = folder / f"fusion-{dataset.name}.cm"
    if not path.exists():
        with Collection.create(path, {"bm25": BM25(), "dense": Dense()}) as made:
            made.add(dataset.documents())
    with Collection.open(path, read_only=True) as collection:
        asked = trained = Searched(collection, dataset)
        if (source / "qrels" / "train.tsv").is_file():
            trained = Searched(collection, load_dataset(source, split="train"))
        return [
            *(
                result_of(dataset, name, asked.found(pipeline))
                for name, pipeline in pipelines().items()
            ),
            *tuned_weights(asked, trained),
            *tuned_feedback(asked, trained),
        ]
