"""Passages as they go into a prompt: data, never instructions, and nothing that looks like an id.

What a passage may not bring: control and formatting characters (which hide text from people and
not from models), anything in square brackets that could be read as an identifier, and the words
that delimit passages. None of this stops a passage from asking to be ranked first; that gain is
bounded afterwards, by fusing with the first stage.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

HIDDEN = ("Cc", "Cf", "Co", "Cs", "Cn")
BRACKETED = re.compile(r"\[\s*([^\[\]\s]{1,8})\s*\]")
DELIMITER = re.compile(r"<\s*(/?)\s*(passages?|query|think)\b[^>]{0,40}>", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
CHARACTERS_PER_TOKEN = 8
"""No tokenizer in use packs more on average; so a text is cut before it is counted."""


def cleaned(text: str, max_tokens: int, count: Callable[[str], int]) -> str:
    """One line of at most ``max_tokens`` tokens by ``count``, which holds no identifier.

    Compatibility forms are folded first (NFKC), so that full-width brackets and digits are seen for
    what they are.
    """
    text = unicodedata.normalize("NFKC", text[: 4 * CHARACTERS_PER_TOKEN * max_tokens])
    text = "".join(" " if unicodedata.category(char) in HIDDEN else char for char in text)
    text = _SPACE.sub(" ", text).strip()
    while (safer := BRACKETED.sub(r"(\1)", DELIMITER.sub(" ", text))) != text:
        text = safer  # brackets inside brackets come to light one layer at a time
    return cut(text, max_tokens, count)


def cut(text: str, max_tokens: int, count: Callable[[str], int]) -> str:
    """The longest run of first words that takes at most ``max_tokens`` tokens."""
    text = text[: CHARACTERS_PER_TOKEN * max_tokens]
    if count(text) <= max_tokens:
        return text
    words = text.split(" ")
    low, high = 0, len(words)
    while low < high:
        middle = (low + high + 1) // 2
        if count(" ".join(words[:middle])) <= max_tokens:
            low = middle
        else:
            high = middle - 1
    return " ".join(words[:low])
