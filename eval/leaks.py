"""Queries to learn from that are queries to check on, too: the same words, another id."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping


def apart(queries: Mapping[str, str], held_out: Iterable[str]) -> list[str]:
    """The ids of the queries (id -> text) whose text is none of ``held_out``.

    Texts are the same where they differ in capitals, white space and Unicode's ways to write a
    letter only.
    """
    known = {_plain(text) for text in held_out}
    return [query for query, text in queries.items() if _plain(text) not in known]


def _plain(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())
