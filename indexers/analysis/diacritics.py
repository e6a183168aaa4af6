"""Words without the accents above and below their letters."""

from __future__ import annotations

import re
import unicodedata

_MARKS = re.compile("[\u0300-\u036f]+")
"""The block of combining diacritical marks, for Latin, Greek and Cyrillic letters; the marks that
are vowels or voicing in other scripts stand in the blocks of those scripts."""


def without_diacritics(words: list[str]) -> list[str]:
    """The words without diacritics, in the same order: ``Ẹ̀kọ́`` -> ``Eko``."""
    joined = "\n".join(words)
    if joined.isascii():
        return words
    return unicodedata.normalize("NFC", _MARKS.sub("", unicodedata.normalize("NFD", joined))).split(
        "\n"
    )
