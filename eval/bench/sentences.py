"""The 250,000 sentences for benchmarks at scale, where they lie beside a checkout."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

from ..topics import read_queries

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
