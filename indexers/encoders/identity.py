"""What a model is, whatever folder it lies in: a name made from its contents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .files import Module, read_json, weights_of
from .models import MINILM_SHA256, sha256_of

_PASSING = {"architectures", "dtype", "gradient_checkpointing", "torch_dtype", "use_cache"}
"""Keys of config.json that change no vector and differ between copies of one model."""
_POOLING = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def identity_of(modules: list[Module], prompts: Mapping[str, str], max_tokens: int) -> str:
    """A readable beginning and a digest of all that decides what a vector means.

    That is: weights, configuration, vocabulary, pooling and the modules after it, window, prompts;
    not where the files lie, nor how precisely they are computed with.
    """
    parts: list[Any] = [dict(prompts), max_tokens]
    for module in modules:
        weights = [] if module.kind == "Normalize" else weights_of(module.path)
        parts.append([module.kind, _settings(module), [sha256_of(file) for file in weights]])
    folder = modules[0].path
    parts.append(_vocabulary(folder))
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return f"{_readable(folder)}-{digest}"


def _readable(folder: Path) -> str:
    """A name from the contents: a folder may be called anything, so its name is no part of it."""
    weights = weights_of(folder)
    if len(weights) == 1 and sha256_of(weights[0]) == MINILM_SHA256:
        return "all-MiniLM-L6-v2"
    config = read_json(folder / "config.json")
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    size = f"-{layers}x{hidden}" if layers and hidden else ""
    return f"{config.get('model_type', 'model')}{size}"


def _settings(module: Module) -> Any:
    if module.kind == "Transformer":
        config = read_json(module.path / "config.json")
        lower = module.path / "sentence_bert_config.json"
        lower_case = lower.is_file() and bool(read_json(lower).get("do_lower_case"))
        passing = {key for key in config if key in _PASSING or key.startswith("_")}
        passing.add("transformers_version")
        return [{key: config[key] for key in config.keys() - passing}, lower_case]
    file = module.path / "config.json"
    config = read_json(file) if file.is_file() else {}
    if module.kind != "Pooling":
        return config
    modes = config.get("pooling_mode") or [
        mode for key, mode in _POOLING.items() if config.get(key)
    ]
    return [[modes] if isinstance(modes, str) else modes, config.get("include_prompt", True)]


def _vocabulary(folder: Path) -> Any:
    """The tokenizer without its window and padding, which are set anew when it is used."""
    file = folder / "tokenizer.json"
    if file.is_file():
        rules = {key: value for key, value in read_json(file).items() if value is not None}
        kept = json.dumps(
            {key: rules[key] for key in rules.keys() - {"truncation", "padding"}}, sort_keys=True
        )
        return hashlib.sha256(kept.encode()).hexdigest()
    names = ("vocab.txt", "vocab.json", "merges.txt", "sentencepiece.bpe.model", "spiece.model")
    return {name: sha256_of(folder / name) for name in names if (folder / name).is_file()}
