"""What a user writes to ask for a multi-vector index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError
from ..spann.settings import Spann

if TYPE_CHECKING:
    from .index import MuveraIndex

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
STORAGES = ("float32", "float16", "int8", "residual2", "residual4")
PROXIES = ("fde", "lemur", "auto")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
CODES = ("int8", "pq")
MOST_NUMBERS = 1 << 18
"""Numbers in an encoding: where encodings are compared, those of 8,192 passages are in memory."""
MOST_BEFORE = 1 << 24
"""Numbers before the final projection, whose matrices are kept: 12 bytes for each of them."""
MOST_FEATURES = 1 << 13
"""Of LEMUR: its least squares are solved with a few matrices of so many rows and columns."""


@dataclass(frozen=True, slots=True)
class Muvera:
    """A multi-vector index: each passage a vector for each of its tokens, ranked by MaxSim.

    ``model``: a late-interaction model of sentence-transformers or PyLate, or any other encoder,
    whose last hidden states then are the token vectors; a name on the hub (``revision`` pins it),
    or a folder. None takes ready vectors only. ``storage``: what the vectors of documents are kept
    in, ``float32``, ``float16``, ``int8``, or ``residual4`` and ``residual2``, codes of 4 or 2 bits
    a number (``kernels/residual``); MaxSim is exact on what is kept.

    Segments of ``proxy_rows`` rows or more find candidates by a proxy, one vector a passage, before
    the exact scores; smaller ones are searched exhaustively. The proxy ``fde`` is a fixed
    dimensional encoding (Dhulipala et al., "MUVERA", 2024): ``r_reps`` repetitions of 2^``k_sim``
    cells of ``d_proj`` numbers, projected to ``d_final`` (None: not at all). ``fill``: whether a
    document's empty cells take its nearest token, as published; None: whichever needs fewer
    candidates, by measurement on the first segment that has a proxy, and again once it has grown
    eightfold. ``centre``: whether the mean of a segment's tokens is taken from each before they are
    encoded; None: measured likewise.
    ``codes``: what encodings are kept in, a byte a number (``int8``), or a byte for 8 numbers
    (``pq``, product codes, trained when a segment is written). The proxy ``lemur`` is a small
    network of ``features`` features (Jaasaari et al., "LEMUR", 2026), trained when a segment is
    written; ``auto`` is whichever of the two needs fewer candidates on samples.

    ``target_recall``: a query's candidates are scored in the proxy's order until nothing new has
    come among its k best for long enough; how long finds this share of the exhaustive top k is
    measured on samples when a segment is written. None searches exhaustively. ``candidates``:
    exactly so many instead. ``ann=Spann(...)``: candidates come out of short lists of the proxy's
    vectors, on disk but for that one's ``memory``; how many lists are read is measured as well.
    ``carve``: a query's tokens whose cosine is this or more are scored as
    one ("MUVERA", section 3.2: 0.7), an approximation of the scores; None leaves queries whole.
    ``precision``: what the model computes in, as in ``Dense``.
    """

    kind: ClassVar[str] = "muvera"
    model: str | None = DEFAULT_MODEL
    revision: str | None = None
    k_sim: int = 3
    r_reps: int = 20
    d_proj: int | None = 16
    d_final: int | None = None
    fill: bool | None = None
    centre: bool | None = False
    storage: str = "float16"
    target_recall: float | None = 0.95
    proxy: str = "fde"
    candidates: int | None = None
    proxy_rows: int = 2048
    precision: str = "auto"
    features: int = 2048
    carve: float | None = None
    ann: Spann | None = None
    codes: str = "int8"

    def __post_init__(self) -> None:
        model: Any = self.model
        if model is not None and not (isinstance(model, str) and model.strip()):
            raise InputError(f"is a model's name or folder, got {model!r}", field="model")
        self._check_sizes()
        for name, value, known in (
            ("storage", self.storage, STORAGES),
            ("proxy", self.proxy, PROXIES),
            ("precision", self.precision, PRECISIONS),
            ("codes", self.codes, CODES),
        ):
            if value not in known:
                raise InputError(f"is one of {', '.join(known)}, got {value!r}", field=name)
        for name, chosen in (("fill", self.fill), ("centre", self.centre)):
            if chosen is not None and not isinstance(chosen, bool):
                raise InputError(f"is True, False or None, got {chosen!r}", field=name)
        target: Any = self.target_recall
        number = isinstance(target, int | float) and not isinstance(target, bool)
        if target is not None and not (number and 0 < target <= 1):
            raise InputError(
                f"is a number above 0, at most 1, or None; got {target!r}", field="target_recall"
            )
        carve: Any = self.carve
        number = isinstance(carve, int | float) and not isinstance(carve, bool)
        if carve is not None and not (number and 0 < carve <= 1):
            raise InputError(
                f"is a cosine above 0, at most 1, or None; got {carve!r}", field="carve"
            )

        if self.codes == "pq":
            self._check_product_codes()
        if self.ann is not None:
            self._check_ann(self.ann)

    def _check_sizes(self) -> None:
        for name, low, high in (
            ("k_sim", 0, 10),
            ("r_reps", 1, 1000),
            ("d_proj", 1, 4096),
            ("d_final", 1, 1 << 16),
            ("candidates", 1, 1 << 40),
            ("proxy_rows", 256, 1 << 40),
            ("features", 16, MOST_FEATURES),
        ):
            value = getattr(self, name)
            if value is not None or name not in ("d_proj", "d_final", "candidates"):
                _check_int(name, value, low, high)
        if self.d_proj is not None:
            self.check_width(self.d_proj)

    def check_width(self, width: int) -> None:
        """Refuse encodings of too many numbers, where a cell has so many."""
        full = self.r_reps * width << self.k_sim
        what = f"{self.r_reps} repetitions of {1 << self.k_sim} cells of {width} are {full:,}"
        if self.d_final is None and full > MOST_NUMBERS:
            raise InputError(
                f"{what} numbers a passage, more than {MOST_NUMBERS:,}: lower k_sim, r_reps or "
                "d_proj, or set d_final",
                field="r_reps",
            )
        if full > MOST_BEFORE:
            raise InputError(
                f"{what} numbers before the final projection, more than {MOST_BEFORE:,}: lower "
                "k_sim, r_reps or d_proj",
                field="r_reps",
            )

    def _check_product_codes(self) -> None:
        if self.proxy != "fde":
            raise InputError(
                f"'pq' keeps fixed dimensional encodings; proxy={self.proxy!r} may be LEMUR, whose "
                "vectors are a byte a number",
                field="codes",
            )
        if self.ann is not None:
            raise InputError(
                "'pq' leaves ann nothing to do: its lists have short codes of their own, made of "
                "a byte a number",
                field="codes",
            )

    def _check_ann(self, ann: Any) -> None:
        if not isinstance(ann, Spann):
            raise InputError(f"is Spann(...) or None, got {ann!r}", field="ann")
        if self.target_recall is None:
            raise InputError(
                "target_recall=None scores every document: there are no candidates to find",
                field="ann",
            )
        ann.without("is Muvera's to say, not its Spann's", "model", "revision", "precision")
        ann.without("is the proxy's", "dim", "similarity")
        ann.without("Muvera has proxy_rows", "list_rows")
        ann.without("is not kept by a Muvera, which builds more than lists", "build_memory")
        ann.without("is measured for Muvera's target_recall", "target_recall", "eps2", "postings")

    @property
    def spann(self) -> Spann | None:
        """Settings of the lists of the proxy's vectors; None where there are none."""
        return None if self.ann is None else replace(self.ann, similarity="dot")

    @property
    def learns(self) -> bool:
        """Whether the proxy may be one that is trained on tokens of queries."""
        return self.proxy != "fde"

    @property
    def fitted(self) -> bool:
        """Whether the proxy may be what the documents of a segment taught, or chose by trial."""
        tried = self.fill is None or self.centre is not False
        return self.learns or self.codes == "pq" or tried

    def index(self) -> MuveraIndex:
        """The index these settings describe; loads no model."""
        from .index import MuveraIndex

        return MuveraIndex(self)


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"is an integer from {low} to {high}, got {value!r}", field=name)
