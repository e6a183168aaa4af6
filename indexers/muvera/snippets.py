"""Something like a query out of a text, for what learns from queries.

A proxy that is trained on the tokens of documents guesses worse than one trained on those of
queries, where a model encodes the two apart. No one knows the queries that will come; so of some
texts a few words in a row are encoded as a query is.
"""

from __future__ import annotations

import zlib

EVERY = 8
"""One text in so many, by its checksum: whichever batch it comes in."""
WORDS = 12


def snippet(text: str) -> str:
    """Some words in a row; empty for most texts."""
    drawn = zlib.crc32(text.encode("utf-8"))
    if drawn % EVERY:
        return ""
    words = text.split()
    first = drawn // EVERY % max(1, len(words) - WORDS + 1)
    return " ".join(words[first : first + WORDS])
