"""Texts become the terms that a reader of each language expects."""

from __future__ import annotations

import json
import sys
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import run

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cormorant.errors import InputError
from cormorant.indexers.analysis import Analyzer, Lexicon, analyzer
from cormorant.indexers.analysis.diacritics import without_diacritics
from cormorant.indexers.analysis.stopwords import STOP_WORDS
from cormorant.kernels.words import reference, rule

texts = st.text(
    st.one_of(
        st.sampled_from("aeisT nd'.-ﬁ½éẹ\u0301\u0323\u200d中国語ガｶﾞﾞ한국ไทยที่ำﷺ㍿IİΣς"),
        st.characters(exclude_categories=["Cs"]),
    )
)


@pytest.mark.parametrize(
    ("language", "text", "wanted"),
    [
        ("en", "The statins don't raise risks of cancer", "statin don t rais risk cancer"),
        ("en", "Café naïve Ẹ̀kọ́ Müller", "cafe naiv eko muller"),
        ("en", "我爱北京 iPhones", "我爱 爱北 北京 iphon"),
        ("none", "The Café's running", "the café s running"),
        ("none", "Ẹ̀kọ́ ẹ́", "ẹ̀kọ́ ẹ́"),
        ("de", "Die Häuser der Straße sind groß", "haus strass gross"),
        ("fr", "L'amitié des chevaux n'est qu'une idée", "amiti cheval idé"),
        ("es", "Los niños están corriendo", "niñ corr"),
        ("ru", "Книги и журналы", "книг журнал"),
        ("tr", "Işıklar ve İstanbul'da IŞIK", "ışık istanbul ışık"),
        ("el", "Ο ΔΡΟΜΟΣ του δρόμου", "δρομ δρομ"),
        ("none", "ラーメンを食べる", "ラー ーメ メン ンを を食 食べ べる"),
    ],
)
def test_examples(language: str, text: str, wanted: str) -> None:
    assert Analyzer(language).terms(text) == wanted.split()


@pytest.mark.parametrize("language", ["none", *analyzer.LANGUAGES])
def test_scripts_without_spaces_are_alike_in_every_language(language: str) -> None:
    text = "東京タワーへ行く 我爱北京 ภาษาไทยที่ ພາສາລາວ ភាសាខ្មែរ မြန်မာ 한국어를"
    assert Analyzer(language).terms(text) == Analyzer("none").terms(text)


@pytest.mark.parametrize("name", analyzer.LANGUAGES.values())
def test_every_language_has_a_code_and_a_name(name: str) -> None:
    code = next(code for code, full in analyzer.LANGUAGES.items() if full == name)
    assert Analyzer(code).identity == Analyzer(name).identity
    assert Analyzer(code).terms(" ".join(STOP_WORDS.get(name, "").split())) == []


def test_another_language_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'xx'.*en \(english\).*none") as raised:
        Analyzer("xx")
    assert raised.value.field == "language"


def test_identities_differ_where_terms_do() -> None:
    identities = {Analyzer(language).identity for language in ("en", "de", "none")}
    assert len(identities) == 3
    assert all(str(rule.VERSION) in identity for identity in identities)


def test_a_change_to_the_rules_raises_their_version() -> None:
    """A new checksum here means a new ``VERSION`` in analyzer.py or rule.py."""
    stop_words = sorted((name, sorted(words.split())) for name, words in STOP_WORDS.items())
    rules = (stop_words, analyzer.LANGUAGES, rule.SPACELESS_BLOCKS, rule.MAX_WORD_BYTES)
    checksum = zlib.crc32(json.dumps(rules).encode())
    assert (analyzer.VERSION, rule.VERSION, checksum) == (1, 1, 969499599)


def test_stop_lists_repeat_no_word() -> None:
    for words in STOP_WORDS.values():
        assert len(words.split()) == len(set(words.split()))
    assert STOP_WORDS.keys() <= set(analyzer.LANGUAGES.values())


def test_diacritics_of_other_scripts_stay() -> None:
    words = ["plain", "Ẹ̀kọ́", "й", "が", "हिन्दी", "각", "עִבְרִית", "ที่"]
    assert without_diacritics(words) == ["plain", "Eko", "и", "が", "हिन्दी", "각", "עִבְרִית", "ที่"]


def encoded(lexicon: Lexicon, batch: list[str]) -> list[list[str]]:
    ids, offsets = lexicon.encode(batch)
    assert (ids.dtype, offsets.dtype) == (np.int32, np.int64)
    terms = lexicon.terms
    return [[terms[term] for term in ids[a:b]] for a, b in zip(offsets, offsets[1:], strict=False)]


@settings(deadline=None)
@given(st.lists(st.lists(texts, max_size=4), max_size=3), st.sampled_from(["en", "none", "tr"]))
def test_a_lexicon_gives_the_terms_of_each_text(batches: list[list[str]], language: str) -> None:
    analysis = Analyzer(language)
    lexicon = analysis.lexicon()
    seen: list[str] = []
    for batch in batches:
        wanted = [analysis.terms(text) for text in batch]
        assert encoded(lexicon, batch) == wanted
        seen += [term for terms in wanted for term in terms]
    assert lexicon.terms == list(dict.fromkeys(seen))
    assert len(lexicon) == len(lexicon.terms)
    packed, offsets = lexicon.packed_terms()
    assert packed.dtype == np.uint8
    assert [
        packed[a:b].tobytes().decode() for a, b in zip(offsets, offsets[1:], strict=False)
    ] == lexicon.terms


@settings(deadline=None, max_examples=200)
@given(texts, texts, st.data())
def test_matches_are_the_words_of_the_query(text: str, other: str, data: st.DataObject) -> None:
    analysis = Analyzer("en")
    words = list(reference.words(text))
    taken = data.draw(st.lists(st.sampled_from(words), max_size=3)) if words else []
    query = " ".join([other, *(text[word.start : word.end] for word in taken)])
    wanted = set(analysis.terms(query))

    spans = analysis.matches(query, text)
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert all(a[1] < b[0] for a, b in zip(spans, spans[1:], strict=False))
    for start, end in spans:
        assert wanted & set(analysis.terms(text[start:end]))
    for word in words:
        covered = any(start <= word.start and word.end <= end for start, end in spans)
        if wanted & set(analysis.terms(word.text)):
            assert covered


@pytest.mark.parametrize(
    ("query", "text", "wanted"),
    [
        ("fishing", "The ﬁshes and ＦＩＳＨ, fish.", ["ﬁshes", "ＦＩＳＨ", "fish"]),
        ("北京天气", "我爱北京天安门", ["北京天"]),
        ("ガス", "ｶﾞｽとガス", ["ｶﾞｽ", "ガス"]),
        ("ẹkọ", "Ẹ̀kọ́ e\u0301", ["Ẹ̀kọ́"]),
        ("ẹ́", "Ẹ́ e", ["Ẹ́", "e"]),
        ("the of", "the of", []),
        ("", "text", []),
        ("2", "½ 1", ["½"]),
    ],
)
def test_matches_by_hand(query: str, text: str, wanted: list[str]) -> None:
    assert [text[start:end] for start, end in Analyzer("en").matches(query, text)] == wanted


def test_threads_share_an_analyzer() -> None:
    analysis = Analyzer("en")
    batch = [chr(first) + "abc " + chr(first + 1) for first in range(0x1200, 0x2000, 7)]
    wanted = [analysis.terms(text) for text in batch]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(Analyzer("en").terms, batch)) == wanted


def test_nothing_is_compiled_by_an_import() -> None:
    script = (
        "import sys, cormorant.indexers.analysis, cormorant.indexers.chunking\n"
        "assert 'numba' not in sys.modules"
    )
    assert run([sys.executable, "-c", script], check=False).returncode == 0


def test_real_texts_in_bulk(shared_data: Path) -> None:
    with (shared_data / "miracl-yo" / "corpus.jsonl").open() as lines:
        batch = [json.loads(line)["text"] for line, _ in zip(lines, range(200), strict=False)]
    analysis = Analyzer("en")
    assert encoded(analysis.lexicon(), batch) == [analysis.terms(text) for text in batch]
    for text in batch[:50]:
        spans = analysis.matches(text[:40], text)
        assert spans
        assert all(analysis.terms(text[start:end]) for start, end in spans)
