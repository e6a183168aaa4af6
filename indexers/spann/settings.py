"""What a user writes to ask for a disk-hybrid vector index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError

if TYPE_CHECKING:
    from .index import SpannIndex

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SIMILARITIES = ("cosine", "dot", "l2")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
MAX_DIM = 65_472
LEAST_BUILD_MEMORY = 256 << 20
"""Bytes that a build is given at least."""


@dataclass(frozen=True, slots=True)
class Spann:
    """A vector index whose vectors stay on disk (Chen et al., "SPANN", NeurIPS 2021).

    ``model``, ``revision``, ``dim`` and ``precision`` are as in ``Dense``. ``similarity``:
    ``cosine``, ``dot``, or ``l2``, whose score is minus the squared distance: a float32, so that
    vectors less than 1e-15 apart are not told from each other.

    Segments of ``list_rows`` rows or more are clustered into lists of about ``posting`` vectors,
    kept as codes of ``bits`` bits a number (1 to 4; None: as many as ``memory`` has room for). A
    vector stands in up to ``replicas`` lists: in those whose centroid is not farther than
    ``1 + eps1`` times its nearest (the relative-neighbourhood rule leaves out most). ``memory``:
    what a segment may keep in memory, as a share of its vectors' bytes; lists that do not fit are
    read from disk. Centroids, tables and four bytes a vector are kept even where that is more: 1%
    at 384 numbers, 19% at 8. Vectors given as float16 or int8 are kept so, unless for a cosine.

    A search reads lists not farther than ``1 + eps2`` times the nearest, ``postings`` at most, and
    scores the likeliest rows exactly. None: as much as finds ``target_recall`` of the true
    neighbours on samples, measured when a segment is written.

    ``build_memory``: bytes that writing a segment may take, beside the pages of its files; None: as
    many as it needs. So that it is kept, no segment is made larger than they allow for, and a
    search asks several.
    """

    kind: ClassVar[str] = "spann"
    model: str | None = DEFAULT_MODEL
    revision: str | None = None
    dim: int | None = None
    similarity: str = "cosine"
    target_recall: float = 0.95
    bits: int | None = None
    memory: float = 0.1
    posting: int = 64
    replicas: int = 8
    eps1: float = 10.0
    eps2: float | None = None
    postings: int | None = None
    list_rows: int = 8192
    build_memory: int | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        model: Any = self.model
        if model is not None and not (isinstance(model, str) and model.strip()):
            raise InputError(f"is a model's name or folder, got {model!r}", field="model")
        if self.dim is not None:
            _check_int("dim", self.dim, 1, MAX_DIM)
        for name, value, known in (
            ("similarity", self.similarity, SIMILARITIES),
            ("precision", self.precision, PRECISIONS),
        ):
            if value not in known:
                raise InputError(f"is one of {', '.join(known)}, got {value!r}", field=name)
        if self.bits is not None:
            from ...kernels.rabitq.layout import MAX_BITS

            _check_int("bits", self.bits, 1, MAX_BITS)
        if self.postings is not None:
            _check_int("postings", self.postings, 1, 1 << 30)
        if self.build_memory is not None:
            _check_int("build_memory", self.build_memory, LEAST_BUILD_MEMORY, 1 << 50)
        _check_int("posting", self.posting, 8, 4096)
        _check_int("replicas", self.replicas, 1, 16)
        _check_int("list_rows", self.list_rows, 256, 1 << 40)
        _check_number("target_recall", self.target_recall, 0.01, 1.0)
        _check_number("memory", self.memory, 0.0, 10.0)
        _check_number("eps1", self.eps1, 0.0, 1e9)
        if self.eps2 is not None:
            _check_number("eps2", self.eps2, 0.0, float("inf"))

    def without(self, why: str, *names: str) -> None:
        """Refuse fields that have no meaning where these settings are a part of another index's.

        Raises :class:`~cormorant.errors.InputError` with the reason for one that is given.
        """
        usual = Spann()
        for name in names:
            if getattr(self, name) != getattr(usual, name):
                raise InputError(f"{why}; got {getattr(self, name)!r}", field=name)

    def index(self) -> SpannIndex:
        """The index these settings describe; loads no model."""
        from .index import SpannIndex

        return SpannIndex(self)


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"is an integer from {low} to {high}, got {value!r}", field=name)


def _check_number(name: str, value: Any, low: float, high: float) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not low <= value <= high:  # NaN fails too
        raise InputError(f"is a number from {low:g} to {high:g}, got {value!r}", field=name)
