"""What a user writes to ask for a dense index."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError
from ..spann.settings import Spann

if TYPE_CHECKING:
    from .index import DenseIndex

DEFAULT_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
SIMILARITIES = ("cosine", "dot")
QUANTIZERS = ("none", "fp16", "sq8", "sq6", "sq4", "pq")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")
MAX_DIM = 65_536
ANN_ROWS = 50_000
MAX_M = 512


@dataclass(frozen=True, slots=True)
class HNSW:
    """Search a hierarchical navigable small-world graph (FAISS's IndexHNSWFlat).

    ``m`` links a vector, found with a list of ``ef_construction`` candidates; a search keeps
    ``ef_search`` (or k, where that is more). Malkov and Yashunin, TPAMI 2020.
    """

    kind: ClassVar[str] = "hnsw"
    m: int = 32
    ef_construction: int = 200
    ef_search: int = 64

    def __post_init__(self) -> None:
        _check_int("m", self.m, 2, MAX_M)
        _check_int("ef_construction", self.ef_construction, 1, 100_000)
        _check_int("ef_search", self.ef_search, 1, 100_000)


@dataclass(frozen=True, slots=True)
class IVF:
    """Search the ``probes`` nearest of ``lists`` inverted lists (FAISS's IndexIVF).

    ``lists`` None: four times the square root of a segment's rows; ``probes`` None: a sixteenth of
    the lists, at least one. ``quantizer`` says how the lists hold vectors: ``none`` (float32),
    ``fp16``, ``sq8``, ``sq6``, ``sq4`` (scalar), or ``pq`` with ``pq_bytes`` bytes a vector
    (product quantisation: Jégou, Douze and Schmid, TPAMI 2011); the best ``refine`` times k of a
    quantised search get their true scores, and the best k of these are the answer.
    """

    kind: ClassVar[str] = "ivf"
    lists: int | None = None
    probes: int | None = None
    quantizer: str = "none"
    pq_bytes: int = 48
    refine: int = 4

    def __post_init__(self) -> None:
        if self.lists is not None:
            _check_int("lists", self.lists, 1, 1_000_000)
        if self.probes is not None:
            _check_int("probes", self.probes, 1, 1_000_000)
        if self.quantizer not in QUANTIZERS:
            raise InputError(
                f"is one of {', '.join(QUANTIZERS)}, got {self.quantizer!r}", field="quantizer"
            )
        _check_int("pq_bytes", self.pq_bytes, 1, 4096)
        _check_int("refine", self.refine, 1, 1000)


@dataclass(frozen=True, slots=True)
class Dense:
    """A dense index: each passage one vector of ``model``, ranked by similarity to the query's.

    ``model`` is a sentence-transformers model: a name on the hub, or a folder; ``revision`` pins
    it. ``model=None`` takes ready vectors only. ``dim`` cuts vectors off (Matryoshka models), or
    states the size of ready ones. ``similarity``: ``cosine`` (vectors are normalised), or ``dot``.
    ``ann`` None searches exactly; :class:`HNSW` and :class:`IVF` do not, and serve segments of
    ``ann_rows`` rows or more; smaller ones are searched exactly anyhow. ``ann=Spann(...)`` leaves
    the vectors on disk, with that one's settings (``list_rows`` in place of ``ann_rows``). A score
    is the same whichever it is. ``precision`` is what the model computes in: ``auto`` is bfloat16
    where the hardware has it, else float32.
    """

    kind: ClassVar[str] = "dense"
    model: str | None = DEFAULT_MODEL
    revision: str | None = None
    dim: int | None = None
    similarity: str = "cosine"
    ann: HNSW | IVF | Spann | None = None
    ann_rows: int = ANN_ROWS
    precision: str = "auto"

    def __post_init__(self) -> None:
        model: Any = self.model
        if model is not None and not (isinstance(model, str) and model.strip()):
            raise InputError(f"is a model's name or folder, got {model!r}", field="model")
        if self.dim is not None:
            _check_int("dim", self.dim, 1, MAX_DIM)
        if self.similarity not in SIMILARITIES:
            raise InputError(
                f"is one of {', '.join(SIMILARITIES)}, got {self.similarity!r}", field="similarity"
            )
        if self.ann is not None and not isinstance(self.ann, HNSW | IVF | Spann):
            raise InputError(
                f"is HNSW(...), IVF(...), Spann(...) or None, got {self.ann!r}", field="ann"
            )
        _check_int("ann_rows", self.ann_rows, 256, 1 << 40)
        if self.precision not in PRECISIONS:
            raise InputError(
                f"is one of {', '.join(PRECISIONS)}, got {self.precision!r}", field="precision"
            )

        if isinstance(self.ann, Spann):
            self._on_disk(self.ann)

    def _on_disk(self, spann: Spann) -> Spann:
        """The same index with its vectors on disk.

        Raises :class:`~cormorant.errors.InputError` for what is not for the two of them to say.
        """
        if self.ann_rows != ANN_ROWS:
            raise InputError("is for HNSW and IVF; Spann has list_rows", field="ann_rows")
        names = ("model", "revision", "dim", "similarity", "precision")
        spann.without("is Dense's to say, not its Spann's", *names)
        return replace(spann, **{name: getattr(self, name) for name in names})

    def index(self) -> DenseIndex:
        """The index these settings describe; loads no model and no FAISS."""
        if isinstance(self.ann, Spann):
            from ..spann.index import SpannIndex

            return SpannIndex(self._on_disk(self.ann))
        from .index import DenseIndex

        return DenseIndex(self)


def _check_int(name: str, value: Any, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"is an integer from {low} to {high}, got {value!r}", field=name)
