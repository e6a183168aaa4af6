"""A plain BERT encoder straight from its files, without the seconds of importing transformers.

Only where every file says what the packed engine does anyhow: BERT, one safetensors file, a
tokenizer.json, mean or cls pooling. Whatever is unusual is None, and goes through
sentence-transformers, which knows; a test holds the two ways to the same vectors, bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError
from .files import Module, read_json, weights_of
from .tokens import Tokenizer
from .weights import Weights, read_weights, why_not

_LAYOUTS = (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
_USUAL: dict[str, Any] = {
    "do_lower_case": False,
    "transformer_task": "feature-extraction",
    "modality_config": {"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
    "module_output_name": "token_embeddings",
}
"""What sentence_bert_config.json says of a plain encoder, beside its window."""
_POOLINGS = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


class Plain(NamedTuple):
    """What the files say: prompts as sentence-transformers has them, by name."""

    weights: Weights
    tokenizer: Tokenizer
    pooling: str
    normalize: bool
    prompts: Mapping[str, str]
    default_prompt: str | None


def read_plain(modules: list[Module], dtype: Any) -> Plain | None:
    """The encoder of a checked folder's modules; None where it is not plain."""
    kinds = [module.kind for module in modules]
    folder = modules[0].path
    pooling = _pooling(modules[1].path) if kinds in _LAYOUTS else None
    config = read_json(folder / "config.json")
    tokenizer = _tokenizer(folder, config)
    files = weights_of(folder)
    if pooling is None or tokenizer is None or len(files) != 1 or why_not(config) is not None:
        return None
    if config["model_type"] != "bert" or (folder / "adapter_config.json").exists():
        return None
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = {name: tensor.float() for name, tensor in load_file(files[0]).items()}
    except SafetensorError as error:
        raise InputError(f"cannot be loaded: {error}", file=files[0]) from error
    if any(name not in tensors for name in _names(config["num_hidden_layers"])):
        return None
    said = _optional(folder / "config_sentence_transformers.json")
    return Plain(
        weights=read_weights(tensors, config, dtype),
        tokenizer=tokenizer,
        pooling=pooling,
        normalize=len(kinds) == 3,
        prompts=said.get("prompts") or {},
        default_prompt=said.get("default_prompt_name"),
    )


def _pooling(folder: Path) -> str | None:
    config = _optional(folder / "config.json")
    if not config.get("include_prompt", True):
        return None
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else [_POOLINGS.get(key) for key in _on(config)]
    return modes[0] if len(modes) == 1 and modes[0] in _POOLINGS.values() else None


def _on(config: Mapping[str, Any]) -> list[str]:
    return [key for key, value in config.items() if key.startswith("pooling_mode_") and value]


def _tokenizer(folder: Path, config: Mapping[str, Any]) -> Tokenizer | None:
    """The tokenizer with the model's window; None where several files differ about it."""
    window = _optional(folder / "sentence_bert_config.json")
    said = _optional(folder / "tokenizer_config.json")
    file = folder / "tokenizer.json"
    tokens = window.get("max_seq_length") or said.get("model_max_length")
    known = {"max_seq_length": tokens, **_USUAL}
    unusual = any(key not in known or known[key] != value for key, value in window.items())
    if not window or unusual or not isinstance(tokens, int) or not file.is_file():
        return None
    longest = min(config.get("max_position_embeddings", 0), said.get("model_max_length", tokens))
    if not 2 < tokens <= longest or said.get("add_prefix_space"):
        return None
    text = file.read_text(encoding="utf-8")
    normalizer = read_json(file).get("normalizer") or {}
    agreed = normalizer.get("type") == "BertNormalizer" and all(
        said.get(name, normalizer.get(own)) == normalizer.get(own)
        for name, own in (
            ("do_lower_case", "lowercase"),
            ("strip_accents", "strip_accents"),
            ("tokenize_chinese_chars", "handle_chinese_chars"),
        )
    )
    return Tokenizer(text, tokens) if agreed else None


def _optional(file: Path) -> Mapping[str, Any]:
    value = read_json(file) if file.is_file() else {}
    return value if isinstance(value, dict) else {}


def _names(layers: int) -> list[str]:
    """Every weight of a BERT with so many layers."""
    parts = ["embeddings.LayerNorm"]
    for number in range(layers):
        layer = f"encoder.layer.{number}"
        parts += [f"{layer}.attention.self.{name}" for name in ("query", "key", "value")]
        parts += [f"{layer}.attention.output.dense", f"{layer}.attention.output.LayerNorm"]
        parts += [f"{layer}.intermediate.dense", f"{layer}.output.dense"]
        parts += [f"{layer}.output.LayerNorm"]
    names = [f"{part}.{kind}" for part in parts for kind in ("weight", "bias")]
    tables = ("word_embeddings", "position_embeddings", "token_type_embeddings")
    return names + [f"embeddings.{table}.weight" for table in tables]
