"""What a user writes to ask for a sparse index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InputError

if TYPE_CHECKING:
    from .index import SparseIndex

PRECISIONS = ("auto", "float32", "bfloat16", "float16")
IDF = ("model", "collection")
ENCODERS = ("auto", "splade", "echo", "vocabulary")
DOCUMENTS = ("model", "tokens")


@dataclass(frozen=True, slots=True)
class Sparse:
    """A sparse index: each passage some weighted terms, ranked by the inner product.

    ``model`` is a sparse encoder: a name on the hub, or a folder; ``revision`` pins it.
    ``model=None`` takes ready vectors only, of numbered terms or of tokens. ``encoder`` says what
    kind it is: ``splade`` (its queries inference-free where the folder says so), ``echo`` (a causal
    model that reads a text twice, with a LoRA ``adapter`` perhaps), ``vocabulary`` (VDR), or
    ``auto``: echo for a causal model, else splade. ``documents="tokens"`` encodes no document: each
    is the set of its tokens, and the queries alone go through the model; rerank by ``Reencode``
    (beta search). ``idf``: an
    inference-free encoder weighs the tokens of a query by the ``model``'s own table, or by how rare
    they are in the ``collection`` as it is now. ``target_recall`` None searches exactly; 0.95
    searches large segments with the least effort that found 95 of 100 true hits on samples.
    ``precision`` is what the model computes in: ``auto`` is bfloat16 where the hardware has it,
    else float32.

    Sources: Formal et al., "SPLADE v2", 2021; Geng et al., "Towards competitive search relevance
    for inference-free learned sparse retrievers", 2024.
    """

    kind: ClassVar[str] = "sparse"
    model: str | None = None
    revision: str | None = None
    encoder: str = "auto"
    adapter: str | None = None
    documents: str = "model"
    idf: str = "model"
    target_recall: float | None = None
    precision: str = "auto"

    def __post_init__(self) -> None:
        model: Any = self.model
        if model is not None and not (isinstance(model, str) and model.strip()):
            raise InputError(f"is a model's name or folder, got {model!r}", field="model")
        if self.encoder not in ENCODERS:
            raise InputError(
                f"is one of {', '.join(ENCODERS)}, got {self.encoder!r}", field="encoder"
            )
        adapter: Any = self.adapter
        if adapter is not None and not (isinstance(adapter, str) and adapter.strip()):
            raise InputError(f"is an adapter's name or folder, got {adapter!r}", field="adapter")
        if adapter is not None and (model is None or self.encoder not in ("auto", "echo")):
            raise InputError("goes with a causal model (encoder='echo')", field="adapter")
        if self.documents not in DOCUMENTS:
            raise InputError(
                f"is one of {', '.join(DOCUMENTS)}, got {self.documents!r}", field="documents"
            )
        if self.documents == "tokens" and (model is None or self.idf == "collection"):
            raise InputError(
                "'tokens' takes a model's tokenizer for documents and its weights for queries: "
                "give a model, and idf='model'",
                field="documents",
            )
        if self.idf not in IDF:
            raise InputError(f"is one of {', '.join(IDF)}, got {self.idf!r}", field="idf")
        if self.idf == "collection" and model is None:
            raise InputError(
                "'collection' weighs the tokens that a model's tokenizer finds: give a model",
                field="idf",
            )
        target: Any = self.target_recall
        if target is not None and (
            isinstance(target, bool)
            or not isinstance(target, int | float)
            or not 0.5 <= target <= 1.0
        ):
            raise InputError(
                f"is None (exact) or from 0.5 to 1, got {target!r}", field="target_recall"
            )
        if self.precision not in PRECISIONS:
            raise InputError(
                f"is one of {', '.join(PRECISIONS)}, got {self.precision!r}", field="precision"
            )

    def index(self) -> SparseIndex:
        """The index these settings describe; loads no model."""
        from .index import SparseIndex

        return SparseIndex(self)
