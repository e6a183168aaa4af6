"""What a user writes to ask for a BM25 index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import InputError

if TYPE_CHECKING:
    from .index import BM25Index

VARIANTS = ("lucene", "okapi", "bm25l", "bm25+")


@dataclass(frozen=True, slots=True)
class BM25:
    """A BM25 index.

    ``language`` chooses stemmer and stop words ("none": neither). ``k1`` is how soon repeats of a
    term stop counting, ``b`` how much long documents are held back. ``variant``: ``lucene``, or
    ``okapi``, ``bm25l``, ``bm25+`` as rank-bm25's BM25Okapi, BM25L and BM25Plus score them, with
    their ``delta`` and ``epsilon``.

    Sources: Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009; Kamphuis et al.,
    "Which BM25 do you mean?", ECIR 2020; Lv and Zhai, "When documents are very long, BM25 fails!"
    (BM25L, SIGIR 2011) and "Lower-bounding term frequency normalization" (BM25+, CIKM 2011).
    """

    kind: ClassVar[str] = "bm25"
    language: str = "en"
    k1: float = 1.2
    b: float = 0.75
    variant: str = "lucene"

    def __post_init__(self) -> None:
        if not _is_number(self.k1) or not 0.0 <= self.k1 <= 1000.0:
            raise InputError(f"is from 0 to 1000, got {self.k1!r}", field="k1")
        if not _is_number(self.b) or not 0.0 <= self.b <= 1.0:
            raise InputError(f"is from 0 to 1, got {self.b!r}", field="b")
        if self.variant not in VARIANTS:
            raise InputError(
                f"is one of {', '.join(VARIANTS)}, got {self.variant!r}", field="variant"
            )

    def index(self) -> BM25Index:
        """The index these settings describe."""
        from .index import BM25Index

        return BM25Index(self)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
