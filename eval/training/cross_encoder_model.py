"""A new cross-encoder from a sentence encoder: its own layers, and one that begins as a matcher.

A score that is read from the first token, as BERT's classifiers do, has to be grown: a sentence
encoder's first token was trained for nothing. The layer of :mod:`cormorant.rankers.token_match`
reads what such an encoder has, so that training begins from an order and not from noise.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import InputError
from ...rankers.token_match import token_match_class

HEAD = "1."
"""Before the names of the new layer's parameters."""


def new_cross_encoder(folder: Path, window: int, dropout: float, layers: int | None = None) -> Any:
    """sentence-transformers' ``CrossEncoder`` around a backbone; pairs of ``window`` tokens.

    ``layers``: how many of the backbone's are kept, at even distances from the first. The word
    embeddings are frozen: half of a small model's weights, of which a collection's judgements touch
    few.

    Raises :class:`~cormorant.errors.InputError` for a backbone that cannot be read, has fewer
    layers, or is one whose layers cannot be left out.
    """
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from transformers import AutoConfig

    local = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(str(folder), **local)
        names = ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout")
        transformer = Transformer(
            str(folder),
            max_seq_length=window,
            model_kwargs={**local, "use_safetensors": True, "dtype": torch.float32},
            processor_kwargs=dict(local),
            config_kwargs={
                **local,
                "num_labels": 1,
                **{name: dropout for name in names if hasattr(config, name)},
            },
        )
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as a backbone: {error}", file=folder) from error
    separator = transformer.tokenizer.sep_token_id
    if separator is None:
        raise InputError("has no separator between two texts, so it reads no pairs", file=folder)
    if layers is not None:
        _shorten(transformer.model, layers)
    head = token_match_class()(transformer.get_embedding_dimension(), separator)
    model = CrossEncoder(modules=[transformer, head], device="cpu")
    transformer.model.get_input_embeddings().requires_grad_(False)
    return model


def _shorten(backbone: Any, layers: int) -> None:
    """Keep layers at even distances: neighbours do much the same (DistilBERT, 2019)."""
    from torch.nn import ModuleList

    there = backbone.config.num_hidden_layers
    if layers > there:
        raise InputError(f"is at most {there} for this backbone, got {layers}", field="layers")
    by_layer = [
        name
        for name, value in backbone.config.to_dict().items()
        if isinstance(value, list | tuple) and len(value) == there
    ]
    if layers < there and by_layer:
        raise InputError(
            f"this backbone's configuration says of each layer what it is ({by_layer[0]}), so none "
            "can be left out",
            field="layers",
        )
    stacks = [
        (owner, name)
        for owner in backbone.modules()
        for name, child in owner.named_children()
        if isinstance(child, ModuleList) and len(child) == there
    ]
    if len(stacks) != 1:
        raise InputError("this backbone's layers do not stand in one list", field="layers")
    owner, name = stacks[0]
    old = getattr(owner, name)
    setattr(owner, name, ModuleList([old[number * there // layers] for number in range(layers)]))
    backbone.config.num_hidden_layers = layers


def parts(model: Any, rate: float, head_rate: float) -> list[dict[str, Any]]:
    """What an optimiser is to learn: the backbone, and the new layer, which learns faster."""
    groups: dict[bool, list[Any]] = {False: [], True: []}
    for name, value in model.named_parameters():
        if value.requires_grad:
            groups[name.startswith(HEAD)].append(value)
    return [
        {"params": groups[False], "lr": rate},
        {"params": groups[True], "lr": head_rate * rate},
    ]
