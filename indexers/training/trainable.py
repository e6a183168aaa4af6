"""sentence-transformers' sparse encoder as it is trained and saved here.

``inference_free_encoder`` puts one together; ``use_head_kernel`` makes its document part run
through ``kernels/splade_head``, forward and backward, in bfloat16 where asked. The modules keep
their classes, so what is saved is a plain sentence-transformers checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...contracts import Float32Array
from ...errors import InputError
from ...kernels import splade_head
from ..encoders.loading import _quiet
from ..encoders.sparse_files import POOLINGS


def inference_free_encoder(folder: Path, idf: Float32Array, *, activation: str, window: int) -> Any:
    """A ``SparseEncoder``: queries by a table, documents by the masked model in ``folder``.

    ``idf``: (vocabulary,) float32, the table. ``activation``: relu or log1p_relu. ``window``: how
    many tokens of a document are read.
    """
    if activation not in POOLINGS:
        raise InputError(f"is one of {', '.join(POOLINGS)}, got {activation!r}", field="activation")
    with _quiet():
        import torch
        from sentence_transformers.base.modules import Router
        from sentence_transformers.sparse_encoder import SparseEncoder
        from sentence_transformers.sparse_encoder.modules import (
            SparseStaticEmbedding,
            SpladePooling,
            Transformer,
        )

        transformer = Transformer(
            str(folder),
            transformer_task="fill-mask",
            max_seq_length=window,
            model_kwargs={"local_files_only": True, "use_safetensors": True},
        )
        table = SparseStaticEmbedding(
            transformer.tokenizer, torch.from_numpy(idf.copy()), frozen=True
        )
        router = Router.for_query_document(
            query_modules=[table],
            document_modules=[transformer, SpladePooling("max", activation_function=activation)],
        )
        return SparseEncoder(modules=[router], similarity_fn_name="dot", device="cpu")


def use_head_kernel(encoder: Any, dtype: Any) -> None:
    """Let the document part of an encoder run through the kernel; ``dtype``: of its products."""
    modules = list(encoder[0].sub_modules["document"])
    transformer, pooling = modules
    activation = POOLINGS[pooling.activation_function]

    def forward(features: dict[str, Any], **_: Any) -> dict[str, Any]:
        import torch

        model, mask = transformer.auto_model, features["attention_mask"].bool()
        half = dtype != torch.float32
        with head_taken_out(model) as head:
            with torch.autocast(mask.device.type, dtype, enabled=half):
                hidden = model(input_ids=features["input_ids"], attention_mask=mask.long()).logits
            packed = hidden[mask].to(dtype)
            starts = torch.zeros(len(mask) + 1, dtype=torch.int64, device=mask.device)
            torch.cumsum(mask.sum(1), 0, out=starts[1:])
            bias = None if head.bias is None else head.bias.float()
            features["sentence_embedding"] = splade_head.weights(
                packed, starts, head.weight.to(dtype), bias, activation
            )
        return features

    def pooled(features: dict[str, Any], **_: Any) -> dict[str, Any]:
        return features

    transformer.forward = forward
    pooling.forward = pooled


@contextmanager
def head_taken_out(model: Any) -> Iterator[Any]:
    """The linear layer of the vocabulary, while the model gives what it would multiply."""
    import torch

    head = model.get_output_embeddings()
    name = next(name for name, module in model.named_modules() if module is head)
    parent, _, leaf = name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, torch.nn.Identity())
    try:
        yield head
    finally:
        setattr(model.get_submodule(parent), leaf, head)
