"""Passages cover the text, keep to the budget, and begin with the end of the one before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.indexers.chunking import Chunking
from cormorant.kernels.words import vocabulary

sentences = st.lists(
    st.sampled_from(
        ["A cat sat.", "Dr. X e.g. said", "no end", "！？", "中文句子。", "“Why?”", "3.14", "\n\n",
         "... ",          "ที่นี่", "ﷺ", "㌖㌖", "½", "é\u0301", "!", "(so!)",
         "\u2028", "\u200b", "漢字かな交じり文", "w" * 40]
    ),
    max_size=60,
)  # fmt: skip
texts = st.one_of(
    st.builds(lambda parts, glue: glue.join(parts), sentences, st.sampled_from([" ", "", "\n"])),
    st.text(),
)


def count(text: str) -> int:
    return len(vocabulary().locate(text, pairs=False)[0])


@settings(deadline=None, max_examples=300)
@given(texts, st.integers(8, 20), st.data())
def test_passages(text: str, tokens: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, tokens - 1))
    spans = Chunking(tokens, overlap).split(text)
    _, words = vocabulary().locate(text, pairs=False)
    if len(words) <= tokens:
        assert spans == [(0, len(text))]
        return
    assert all(0 <= start < end <= len(text) for start, end in spans)
    for (start, end), (next_start, next_end) in zip(spans, spans[1:], strict=False):
        assert start < next_start
        assert end < next_end
        assert sum(next_start <= word < end for word in words[:, 0]) <= overlap
    for start, end in spans:
        assert sum(start <= word < end for word in words[:, 0]) <= tokens
    covered = {place for start, end in spans for place in range(start, end)}
    assert all(place in covered or char.isspace() for place, char in enumerate(text))
    for (start, end), before in zip(words.tolist(), [0, *words[:, 1].tolist()], strict=False):
        # A character may end one word and begin the next; elsewhere no word is cut.
        if before <= start:
            assert any(a <= start and min(end, start + 1) <= b for a, b in spans)
    assert Chunking(tokens, overlap).split(text) == spans


@settings(deadline=None)
@given(sentences.map(" ".join), st.integers(8, 20))
def test_no_word_is_cut(text: str, tokens: int) -> None:
    text = text.replace("ﷺ", "x")  # its last word is one with the next one's first
    spans = Chunking(tokens, 0).split(text)
    for start, end in vocabulary().locate(text, pairs=False)[1].tolist():
        assert any(a <= start and end <= b for a, b in spans)


def passages(text: str, tokens: int, overlap: int) -> list[str]:
    return [text[start:end] for start, end in Chunking(tokens, overlap).split(text)]


def test_sentences_stay_whole_and_overlap() -> None:
    text = "One two three four. Five six seven eight! Nine ten.\nEleven twelve thirteen fourteen?"
    assert passages(text, 8, 0) == [
        "One two three four. Five six seven eight!",
        "Nine ten.\nEleven twelve thirteen fourteen?",
    ]
    assert passages(text, 10, 2) == [
        "One two three four. Five six seven eight! Nine ten.",
        "Nine ten.\nEleven twelve thirteen fourteen?",
    ]


def test_the_overlap_leaves_room_for_the_next_sentence() -> None:
    text = "a b c. d e f g h. i j k l."
    assert passages(text, 8, 7) == ["a b c. d e f g h.", "i j k l."]


def test_a_full_stop_is_not_always_an_end() -> None:
    text = "Pi is 3.14 e.g. at example.org today. Then a next one comes along here."
    assert passages(text, 11, 0) == [
        "Pi is 3.14 e.g. at example.org today.",
        "Then a next one comes along here.",
    ]


def test_chinese_and_japanese() -> None:
    text = "我爱北京天安门。天安门上太阳升！「本当ですか？」と聞いた。"
    assert passages(text, 8, 0) == [
        "我爱北京天安门。",
        "天安门上太阳升！",
        "「本当ですか？」",
        "と聞いた。",
    ]


def test_a_sentence_over_the_budget_is_split_between_words() -> None:
    assert passages("a1 b2, c3 d4 e5 f6 g7 h8 i9 j10. k l.", 8, 3) == [
        "a1 b2, c3 d4 e5 f6 g7 h8",
        "i9 j10. k l.",
    ]
    assert passages("中" * 20, 8, 7) == ["中" * 8, "中" * 8, "中" * 4]


def test_texts_that_fit() -> None:
    assert Chunking().split("") == [(0, 0)]
    assert Chunking().split("  \n ") == [(0, 4)]
    assert Chunking().split(" one\n\ntwo. ") == [(0, 11)]
    assert Chunking(8, 0).split("a b c d e f g h") == [(0, 15)]


@pytest.mark.parametrize(
    ("tokens", "overlap", "field"),
    [
        (7, 0, "tokens"),
        (8, 8, "overlap"),
        (8, -1, "overlap"),
        (8.0, 0, "tokens"),
        (8, True, "overlap"),
    ],
)
def test_settings_are_checked(tokens: int, overlap: int, field: str) -> None:
    with pytest.raises(InputError) as raised:
        Chunking(tokens, overlap)
    assert raised.value.field == field


@pytest.mark.parametrize(
    "text",
    [
        "word" * 500_000,
        "word " * 300_000,
        "." * 1_000_000 + " x" * 1000,
        "\n" * 500_000 + "x " * 1000,
        '."' * 500_000 + " x" * 1000,
        ". x" * 100_000,
        "㌖" * 50_000,
        "ﷺ" * 20_000,
    ],
    ids=["word", "words", "stops", "lines", "quotes", "sentences", "squares", "ligatures"],
)
def test_long_texts_take_linear_time(text: str) -> None:
    spans = Chunking().split(text)
    assert spans[-1][1] == len(text.rstrip())
    assert len(spans) <= count(text) // 100 + 1


def test_real_texts(shared_data: Path) -> None:
    chunking = Chunking(64, 16)
    with (shared_data / "nfcorpus" / "corpus.jsonl").open() as lines:
        batch = [json.loads(line)["text"] for line, _ in zip(lines, range(100), strict=False)]
    for text in batch:
        spans = chunking.split(text)
        assert all(count(text[start:end]) <= 64 for start, end in spans)
        assert spans[0][0] == 0
        if len(spans) > 1:
            ends = [text[:end].rstrip()[-1] for _, end in spans[:-1]]
            assert sum(end in ".!?:;" for end in ends) >= len(ends) // 2
