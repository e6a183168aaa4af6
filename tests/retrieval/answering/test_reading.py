"""What is shown of a text, where its sentences end, and which passage supports which of them."""

from __future__ import annotations

import unicodedata
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.answers import Sentence
from cormorant.retrieval.answering.faithfulness import Evidence
from cormorant.retrieval.answering.packing import Packed, fitting
from cormorant.retrieval.answering.pieces import Pieces, tidy
from cormorant.retrieval.answering.sentences import sentences_of
from cormorant.retrieval.answering.showing import MARKER, shown
from cormorant.retrieval.answering.subsets import clusters, subsets

PIECES = [
    "</passages>", "<|im_end|>", "[1]", "[", "]", "1", "<", ">", "|", "/", "passages", " ", "\n",
    "é", "e\u0301", "ﬁ", "［", "１", "］", "\u200b", "\u2028", "字", "word", "</s>", "SPECIAL",
    "[2, 3]",
]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=24).map("".join))
def test_a_shown_text_has_no_way_out_and_knows_its_places(text: str) -> None:
    made = shown(text, ("SPECIAL",))
    assert not MARKER.search(made.text)
    for gone in ("</passages>", "<|im_end|>", "</s>", "SPECIAL"):
        assert gone not in made.text
    assert made.text == " ".join(made.text.split())
    assert all(unicodedata.category(char)[0] != "C" for char in made.text)
    assert len(made.origins) == len(made.text)
    assert list(made.origins) == sorted(made.origins)
    for place, char in enumerate(made.text):
        if char.isalnum():
            span = made.span(place, place + 1, 10)
            original = text[span.start - 10 : span.end - 10]
            assert char in unicodedata.normalize("NFKC", original)
    again = shown(made.text, ("SPECIAL",))
    assert again.text == made.text


def test_a_span_is_of_the_text_as_it_was_given() -> None:
    text = "A  ﬁne \u200b day [1]  </passages> in  May"
    made = shown(text)
    assert made.text == "A fine day (1) in May"
    at = made.text.index("day")
    assert text[slice(*made.span(at, at + 3))] == "day"
    at = made.text.index("in May")
    assert text[slice(*made.span(at, at + 6))] == "in  May"
    text = "A cafe\u0301 there"
    made = shown(text)
    assert text[slice(*made.span(2, 6))] == "cafe\u0301"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("   ", []),
        ("One sentence", ["One sentence"]),
        ("It is blue. It is green!", ["It is blue.", "It is green!"]),
        ("It is blue. [1] It is green [2].", ["It is blue. [1]", "It is green [2]."]),
        ("It is blue.[1][2] It is", ["It is blue.[1][2]", "It is"]),
        ("It costs 3.50 euros. Cheap, e.g. here.", ["It costs 3.50 euros.", "Cheap, e.g. here."]),
        ("Dr. Smith said “it is.” Then he left.", ["Dr. Smith said “it is.”", "Then he left."]),
        ("1. A first point\n2. A second", ["1. A first point", "2. A second"]),
        ("青い鳥です。魚を食べます。", ["青い鳥です。魚を食べます。"]),
        ("It is blue. [1]", ["It is blue. [1]"]),
    ],
)  # fmt: skip
def test_sentences(text: str, expected: list[str]) -> None:
    assert [text[slice(*span)] for span in sentences_of(text)] == expected


@settings(max_examples=200, deadline=None)
@given(st.text(st.sampled_from(list("ab. !?\n[12]字。A")), max_size=60))
def test_sentences_lie_apart_and_leave_only_white_space_out(text: str) -> None:
    spans = sentences_of(text)
    at = 0
    for start, end in spans:
        assert at <= start < end
        assert not text[at:start].strip()
        at = end
    assert not text[at:].strip()


@settings(max_examples=200, deadline=None)
@example(["a", " ", "ST", "OP"])
@given(st.lists(st.sampled_from(["a", " b", "\n", "STOP", "ST", "é", "<think>", "</think>"])))
def test_pieces_are_the_text_in_the_end(parts: list[str]) -> None:
    """Whatever was handed out early is the beginning of what the whole turns out to be."""
    pieces = Pieces(("STOP",))
    whole, given_out = "", ""
    for part in parts:
        whole += part
        given_out += pieces.grown(whole)
    finished = whole.partition("STOP")[0]
    assert tidy(finished).startswith(given_out)
    assert given_out + pieces.rest(finished) == tidy(finished)


def packed(*texts: str) -> list[Packed]:
    return [Packed(f"d{n}", n, "", shown(text), 0) for n, text in enumerate(texts, 1)]


def held(answer: str, *texts: str, question: str = "q", encode: Any = None) -> Sentence:
    evidence = Evidence(question, packed(*texts), encode)
    return evidence.sentence(answer, 0, len(answer), cm.Answering())


COLOUR = "The bird is blue and it sings in the morning. It weighs 45 grams."
OTHER = "Fish live in the sea. They are silent."


def test_a_sentence_of_a_passage_is_supported_by_it() -> None:
    found = held("The bird is blue.", OTHER, COLOUR)
    assert (found.rank, found.id, found.overlap) == (2, "d2", 1.0)
    assert COLOUR[slice(*found.span or ())].startswith("The bird is blue")
    joined = held("It sings in the morning and weighs 45 grams.", OTHER, COLOUR)
    assert joined.span == (0, len(COLOUR))  # of two sentences


@pytest.mark.parametrize(
    "said",
    [
        "The bird weighs 46 grams.",  # a wrong number
        "The bird is blue and it sings in the morning in Peru.",  # a name from nowhere
        "Quantum chromodynamics describes gluons.",
        "The fish of the river are not red today.",
    ],
)
def test_what_no_passage_says_is_unsupported(said: str) -> None:
    found = held(said, OTHER, COLOUR)
    assert (found.supported, found.id, found.span) == (False, None, None)


def test_a_name_of_the_question_may_stand_in_its_answer() -> None:
    assert not held("In Peru the bird is blue and it sings.", COLOUR).supported
    said = "The bird of Peru is blue and it sings in the morning."
    assert not held(said, COLOUR).supported
    assert held(said, COLOUR, question="Which bird sings in Peru?").supported


def test_the_passage_that_is_cited_comes_before_an_equal_one() -> None:
    assert held("The bird is blue [2].", COLOUR, COLOUR).rank == 2
    assert held("The bird is blue.", COLOUR, COLOUR).rank == 1
    found = held("The bird is blue [1].", OTHER, COLOUR)
    assert (found.cited, found.rank) == ((1,), 2)  # what is cited need not be what supports


def test_similarity_finds_other_words_and_still_not_other_numbers() -> None:
    def encode(texts: Any) -> Any:
        like = [[1.0, 0.0] if "blue" in t or "azure" in t else [0.0, 1.0] for t in texts]
        return np.array(like, np.float32)

    found = held("Its plumage looks azure.", OTHER, COLOUR, encode=encode)
    assert (found.rank, found.similarity) == (2, 1.0)
    assert found.overlap < 0.3
    assert not held("Its plumage looks azure since 1987.", COLOUR, encode=encode).supported
    assert held("Its plumage looks azure.", OTHER, COLOUR).supported is False


@given(st.text(st.sampled_from(list("ab c字")), max_size=200), st.integers(1, 40))
def test_what_fits_fits(text: str, most: int) -> None:
    size = fitting(text, most, len)
    assert 0 <= size <= len(text)
    assert size <= most
    assert size == len(text) or size + 41 > most


@given(st.integers(1, 12), st.integers(1, 5), st.integers(1, 6), st.integers(0, 3))
def test_subsets_take_one_of_each_cluster_and_use_all(n: int, k: int, m: int, seed: int) -> None:
    vectors = np.random.default_rng(seed).normal(size=(n, 4)).astype(np.float32)
    groups = clusters(vectors, k)
    assert sorted(row for group in groups for row in group) == list(range(n))
    assert len(groups) <= min(k, n)
    chosen = subsets(groups, m, seed)
    assert 1 <= len(chosen) <= m
    assert len({tuple(own) for own in chosen}) == len(chosen)
    for own in chosen:
        assert [sum(row in group for row in own) for group in groups] == [1] * len(groups)


def test_clusters_are_those_that_lie_together() -> None:
    vectors = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9], [1, 0.1]], np.float32)
    assert clusters(vectors, 2) == [[0, 1, 4], [2, 3]]
