"""Questions with the passages that ``hybrid`` finds for them, as an answer's prompt has them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import IndexSettings
from ...documents import Document
from ...indexers.bm25.settings import BM25
from ...indexers.dense.settings import Dense
from ...results import Result
from ...retrieval.answering.decoding.types import Prompt
from ...retrieval.answering.encoding import encoded
from ...retrieval.answering.packing import pack
from ...retrieval.answering.prompts import prompt_of
from ...retrieval.answering.settings import Answering
from ...retrieval.answering.showing import shown
from ...retrieval.collection import Collection
from ..datasets import load_dataset
from ..training.extracts import ABOUT, LONGEST_PASSAGE, PASSAGES

EXTRACTIVE, ABSTRACTIVE = "extractive", "abstractive"
SETS = {"xquad-en": EXTRACTIVE, "pubmedqa-l": EXTRACTIVE, "scitldr": ABSTRACTIVE}
"""What is asked of each: its own questions, or what the first passage is about."""
SEED = 1


def prompts_of(home: Path, name: str, count: int, tokenizer: Any) -> list[Prompt]:
    """The prompts of some questions of a test collection, in the model's tokens."""
    data = load_dataset(home / name)
    names = sorted(data.queries)
    order = np.random.default_rng(SEED).permutation(len(names))[:count]
    questions = [data.queries[names[place]] for place in order]
    with tempfile.TemporaryDirectory() as folder:
        indexes: dict[str, IndexSettings] = {"bm25": BM25(), "dense": Dense()}
        with Collection.create(Path(folder) / "c.cm", indexes) as collection:
            collection.add(_cut(document) for document in data.documents())
            results = collection.search_batch(questions, k=PASSAGES, pipeline="hybrid")
            pairs = zip(questions, results, strict=True)
            return [_prompt(text, result, SETS[name], tokenizer) for text, result in pairs]


def _cut(document: Document) -> Document:
    """A document as long as the passages of the training; the title is no part of those."""
    return Document(document.id, document.text[:LONGEST_PASSAGE])


def _prompt(question: str, result: Result, kind: str, tokenizer: Any) -> Prompt:
    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    packed, _ = pack(result, count, Answering(), 1 << 20)
    asked = ABOUT.format(number=packed[0].rank) if kind == ABSTRACTIVE else shown(question).text
    return encoded(prompt_of(asked, packed), tokenizer)


def batches(prompts: Sequence[Prompt], size: int) -> list[list[Prompt]]:
    """As many whole batches as there are; what is left over is left out."""
    return [
        list(prompts[first : first + size]) for first in range(0, len(prompts) - size + 1, size)
    ]
