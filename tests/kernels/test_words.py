"""The kernel agrees with the rule on every text, however it comes in."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.kernels.words import cpu, reference, rule, vocabulary

# Where the rule has its corners: marks that compose, move, or decompose; one character that is
# several; characters that hide; scripts without spaces; lower case of another length.
CORNERS = (
    "aAbIİıßςΣȺ _-'.1\t\n\u00ad\u200d\u200c\u200b\u0301\u0323\u0308\u0344ﬁ½①ＡÅ²ǅ"
    "ｶﾞﾊﾟはばカタカナー漢字〇々㈱㍿㌖ﷺ한국어가각\u1100\u1161\u11a8ไทยที่ำกຳខ្មែរမြန်မာ"
    "_‿\u20e3\ufe0f\u034f😀\U00020000\U0001d400\u0958अ\ud800"
)
texts = st.text(
    st.one_of(
        st.sampled_from(CORNERS), st.characters(), st.characters(categories=["Mn", "Mc", "Lo"])
    )
)


def words_of(text: str, turkic: bool = False) -> list[str]:
    words = vocabulary(turkic)
    ids, _ = words.split([text])
    known = words.words()
    return [known[word] for word in ids]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.lists(texts, max_size=4), max_size=3), st.booleans())
def test_the_kernel_is_the_reference(batches: list[list[str]], turkic: bool) -> None:
    ours, theirs = cpu.Vocabulary(turkic), reference.Vocabulary(turkic)
    for batch in batches:
        for got, wanted in zip(ours.split(batch), theirs.split(batch), strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
    assert ours.words() == theirs.words()
    assert len(ours) == len(theirs)


@settings(deadline=None, max_examples=300)
@given(texts, st.booleans())
def test_the_kernel_locates_words_where_the_reference_does(text: str, pairs: bool) -> None:
    ours, theirs = cpu.Vocabulary(), reference.Vocabulary()
    for got, wanted in zip(ours.locate(text, pairs), theirs.locate(text, pairs), strict=True):
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    assert ours.words() == theirs.words()


@settings(deadline=None)
@given(st.lists(texts, max_size=6), st.integers(0, 6))
def test_batches_change_nothing(batch: list[str], cut: int) -> None:
    whole, parts = vocabulary(), vocabulary()
    ids, offsets = whole.split(batch)
    first, first_offsets = parts.split(batch[:cut])
    second, second_offsets = parts.split(batch[cut:])
    np.testing.assert_array_equal(ids, np.concatenate([first, second]))
    np.testing.assert_array_equal(
        offsets, np.concatenate([first_offsets, second_offsets[1:] + len(first)])
    )
    assert whole.words() == parts.words()


@settings(deadline=None, max_examples=300)
@given(texts)
def test_normalising_in_pieces_changes_nothing(text: str) -> None:
    joined = "".join(character.char for character in reference.characters(text))
    assert joined == rule.normalise(text) == unicodedata.normalize("NFKC", text)


def test_normalising_in_blocks_changes_nothing() -> None:
    text = ("ẹ́ ﬁ カﾞ각\u1100\u1161\u11a8 " * 400)[7:]
    assert len(list(rule.blocks(text))) > 1
    assert rule.normalise(text) == unicodedata.normalize("NFKC", text)
    ours, theirs = cpu.Vocabulary().locate(text), reference.Vocabulary().locate(text)
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_a_heap_of_marks_takes_linear_time() -> None:
    heap = "a" + "\u0301\u0316" * 200_000 + " b"
    assert [len(word) for word in words_of(heap)] == [127, 1]  # á and 126 marks, two bytes each
    ours, theirs = cpu.Vocabulary().locate(heap[:5000]), reference.Vocabulary().locate(heap[:5000])
    np.testing.assert_array_equal(ours[1], theirs[1])


def test_every_code_point() -> None:
    for first in range(0, 0x110000, 4096):
        text = "".join(f"{chr(c)}a{chr(c)}" for c in range(first, min(first + 4096, 0x3400)))
        text += " ".join(f"a{chr(c)}" for c in range(max(first, 0x3400), first + 4096, 61))
        ours, theirs = cpu.Vocabulary(), reference.Vocabulary()
        np.testing.assert_array_equal(ours.split([text])[0], theirs.split([text])[0])
        assert ours.words() == theirs.words()


def test_lower_case_is_one_character() -> None:
    assert all(
        len(rule.lower(chr(c), turkic)) == 1 for c in range(0x110000) for turkic in (False, True)
    )


def test_numbers_stay_while_the_table_grows() -> None:
    words = vocabulary()
    spelt = [f"word{number}x{'y' * (number % 30)}" for number in range(20_000)]
    for first in range(0, len(spelt), 3000):
        ids, _ = words.split([" ".join(spelt[first : first + 3000])])
        np.testing.assert_array_equal(ids, np.arange(first, min(first + 3000, len(spelt))))
    ids, offsets = words.split(spelt)
    np.testing.assert_array_equal(ids, np.arange(len(spelt)))
    np.testing.assert_array_equal(offsets, np.arange(len(spelt) + 1))
    assert words.words() == spelt
    assert words.words(19_998) == spelt[19_998:]


def test_no_texts_and_empty_texts() -> None:
    words = vocabulary()
    for batch, wanted in (([], [0]), ([""], [0, 0]), (["", "a", ""], [0, 0, 1, 1])):
        ids, offsets = words.split(batch)
        assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
        assert offsets.tolist() == wanted
    ids, spans = words.locate("")
    assert ids.shape == (0,)
    assert spans.shape == (0, 2)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The quick, brown-ish fox", "the quick brown ish fox"),
        ("don't the dog’s 3.14 snake_case _x_ ___", "don t the dog s 3 14 snake_case _x_"),
        ("ﬁsh ＦＩＳＨ Ⅷ x² ½", "fish fish viii x2 1 2"),
        ("Ẹ́kọ́ ẹ̀kọ́", "ẹ́kọ́ ẹ̀kọ́"),
        ("co\u00adop foo\u200dbar a\ufe0fb zero\u200bwidth", "coop foobar ab zero width"),
        ("Straße ΟΔΟΣ οδος", "straße οδοσ οδοσ"),
        ("İstanbul IŞIK", "istanbul işik"),
        ("हिन्दी भाषा العَرَبِيَّة", "हिन्दी भाषा العَرَبِيَّة"),
        ("我爱北京。中 国", "我爱 爱北 北京 中 国"),
        ("iPhone手机15中", "iphone 手机 15 中"),
        ("東京タワーへ行く", "東京 京タ タワ ワー ーへ へ行 行く"),
        ("ｶﾞｽ", "ガス"),
        ("ภาษาที่", "ภา าษ ษา าที่"),
        ("한국어를 말", "한국 국어 어를 말"),
        ("中\u200d国 中a国 中_国 中\u0301国", "中国 中 a 国 中 国 中\u0301国"),
        (" \u0301a \ud800b", "a b"),
    ],
)
def test_examples(text: str, wanted: str) -> None:
    assert words_of(text) == wanted.split(" ")
    assert [rule.cut(word.text) for word in reference.words(text)] == wanted.split(" ")


def test_turkic_letters() -> None:
    assert words_of("İstanbul IŞIK ısı", turkic=True) == ["istanbul", "ışık", "ısı"]
    assert words_of("I\u0307stanbul", turkic=True) == ["istanbul"]


def test_spans_are_of_the_text_as_given() -> None:
    text = "The ﬁsh x\u0301y ｶﾞｽ ½ e\u0301te\u0301"
    words = vocabulary()
    ids, spans = words.locate(text)
    known = words.words()
    found = [(known[ids[i]], text[start:end]) for i, (start, end) in enumerate(spans.tolist())]
    assert found == [
        ("the", "The"),
        ("fish", "ﬁsh"),
        ("x\u0301y", "x\u0301y"),
        ("ガス", "ｶﾞｽ"),
        ("1", "½"),
        ("2", "½"),
        ("été", "e\u0301te\u0301"),
    ]


def test_long_words_are_cut_between_characters() -> None:
    assert words_of("a" * 254 + "é" + "a") == ["a" * 254]
    assert words_of("b" * 10_000 + " c") == ["b" * 255, "c"]
    assert words_of("中" + "\u0301" * 300) == ["中" + "\u0301" * 126]


@pytest.mark.parametrize("name", ["nfcorpus", "xquad-de", "xquad-zh", "miracl-yo"])
def test_real_texts(shared_data: Path, name: str) -> None:
    with (shared_data / name / "corpus.jsonl").open() as lines:
        batch = [json.loads(line)["text"][:1500] for line, _ in zip(lines, range(60), strict=False)]
    ours, theirs = cpu.Vocabulary(), reference.Vocabulary()
    for got, wanted in zip(ours.split(batch), theirs.split(batch), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert ours.words() == theirs.words()
