r"""What a word is: the one place that says it.

1.  A text is normalised to NFKC (UAX #15), so that a ligature, a full-width letter or a letter
    followed by its accent reads like the plain, composed form. It is normalised in blocks of about
    a thousand characters, cut where NFKC cannot tell; only a longer heap of combining marks is cut
    inside, because putting marks in order takes quadratic time (UAX #15, section 13).
2.  Every character is put in lower case by itself, so that its neighbours do not matter: a final
    sigma reads as any sigma, and the dotted capital I (U+0130) as i. Turkish rules (``turkic``)
    read I as the dotless i (U+0131).
3.  Every character is of one class:

    ========== ==================================================================================
    WORD       letters and numbers (general categories L*, N*)
    CONNECTOR  connector punctuation, such as the underscore (Pc)
    MARK       combining marks (Mn, Mc)
    SPACELESS  letters of scripts that are written without spaces between words, and Hangul, whose
               words carry their particles: see ``SPACELESS_BLOCKS``
    IGNORED    what joins, hides or decorates: format characters (Cf) such as the soft hyphen and
               the zero-width joiners, variation selectors, enclosing marks (Me)
    SEPARATOR  everything else, the zero-width space included
    ========== ==================================================================================

4.  IGNORED characters are dropped, as if they were not in the text. A MARK belongs to the character
    before it; after a SEPARATOR it is one too.
5.  A maximal run of WORD and CONNECTOR characters with their marks is a word, if it holds a WORD
    character. This is the ``\w+`` of regular expressions with the marks inside the word; hyphens
    and apostrophes split, as nearly all of the word boundaries of UAX #29 do.
6.  A maximal run of SPACELESS characters (each with its marks) gives its overlapping pairs, or the
    character itself where it stands alone. Scripts may mix within a run, as Japanese mixes them.
7.  A word or pair of more than 255 bytes of UTF-8 is cut there, between characters.

Categories are those of the running Python's ``unicodedata``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from functools import lru_cache

VERSION = 1
"""Raised by every change to the rule that can change a word."""

MAX_WORD_BYTES = 255
BLOCK_CHARACTERS = 1024
_LONGEST_PIECE = 64

SEPARATOR, WORD, CONNECTOR, MARK, SPACELESS, IGNORED = (1 << bit for bit in range(6))

SPACELESS_BLOCKS = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Myanmar
    (0x1100, 0x11FF),  # Hangul Jamo
    (0x1780, 0x17FF),  # Khmer
    (0x1950, 0x19DF),  # Tai Le, New Tai Lue
    (0x1A20, 0x1AAF),  # Tai Tham
    (0x2E80, 0x2FDF),  # CJK and Kangxi radicals
    (0x3005, 0x3007),  # ideographic iteration mark, closing mark and zero
    (0x3021, 0x3029),  # Hangzhou numerals
    (0x3031, 0x303C),  # kana repeat marks, more Hangzhou numerals
    (0x3040, 0x318F),  # Hiragana, Katakana, Bopomofo, Hangul compatibility jamo
    (0x31A0, 0x31BF),  # Bopomofo extended
    (0x31F0, 0x31FF),  # Katakana phonetic extensions
    (0x3400, 0x4DBF),  # Han, extension A
    (0x4E00, 0x9FFF),  # Han
    (0xA960, 0xA97F),  # Hangul Jamo extended A
    (0xA9E0, 0xA9FF),  # Myanmar extended B
    (0xAA60, 0xAADF),  # Myanmar extended A, Tai Viet
    (0xAC00, 0xD7FF),  # Hangul syllables, Jamo extended B
    (0xF900, 0xFAFF),  # Han, compatibility
    (0x116D0, 0x116FF),  # Myanmar extended C
    (0x11700, 0x1174F),  # Ahom
    (0x17000, 0x18DFF),  # Tangut, Khitan
    (0x1AFF0, 0x1B2FF),  # Kana supplements and extensions, Nushu
    (0x20000, 0x3FFFF),  # Han, extensions B and later
)
"""First and last code points (Blocks.txt); decimal digits (Nd) and marks there keep their class."""

_ZERO_WIDTH_SPACE = "\u200b"
_SELECTORS = ((0x034F, 0x034F), (0x180B, 0x180F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))


def _within(char: str, blocks: tuple[tuple[int, int], ...]) -> bool:
    return any(first <= ord(char) <= last for first, last in blocks)


def classify(char: str) -> int:
    """The class of a normalised character."""
    category = unicodedata.category(char)
    if category in ("Cf", "Me") or _within(char, _SELECTORS):
        return SEPARATOR if char == _ZERO_WIDTH_SPACE else IGNORED
    if category[0] == "M":
        return MARK
    if category[0] in "LN":
        return SPACELESS if category != "Nd" and _within(char, SPACELESS_BLOCKS) else WORD
    return CONNECTOR if category == "Pc" else SEPARATOR


def lower(char: str, turkic: bool) -> str:
    """The lower case of one character: always one character."""
    if char == "\u0130":
        return "i"
    if char == "I" and turkic:
        return "\u0131"
    return "\u03c3" if char == "\u03c2" else char.lower()


@lru_cache(maxsize=8192)
def starts_piece(char: str) -> bool:
    """Whether NFKC never joins or reorders ``char`` with what stands before it.

    False for marks, for the vowels and finals of Hangul, and for what decomposes to them. The
    vowels AM of Thai and Lao decompose to a mark that neither moves nor composes.
    """
    first = unicodedata.normalize("NFKD", char)[0]
    if unicodedata.category(first)[0] == "M":
        return char in "\u0e33\u0eb3"
    return not ("\u1161" <= first <= "\u1175" or "\u11a8" <= first <= "\u11c2") and (
        first != "\U00016d67"  # Kirat Rai vowel sign E, a letter that composes (Unicode 16)
    )


def blocks(text: str) -> Iterator[tuple[int, int]]:
    """The spans that are normalised one by one; they cover the text."""
    start = 0
    while start < len(text):
        end = start + BLOCK_CHARACTERS
        last = end + _LONGEST_PIECE
        while end < min(last, len(text)) and not starts_piece(text[end]):
            end += 1
        yield start, min(end, len(text))
        start = end


def normalise(text: str) -> str:
    """NFKC of the text, in time linear in its length."""
    if text.isascii():
        return text
    if len(text) <= BLOCK_CHARACTERS:
        return unicodedata.normalize("NFKC", text)
    return "".join(unicodedata.normalize("NFKC", text[start:end]) for start, end in blocks(text))


def cut(word: str) -> str:
    """The longest beginning of ``word`` of at most ``MAX_WORD_BYTES`` bytes of UTF-8."""
    if len(word) * 4 <= MAX_WORD_BYTES:
        return word
    return word.encode()[:MAX_WORD_BYTES].decode(errors="ignore")
