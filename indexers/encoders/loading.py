"""From a model's files to sentence-transformers' object, quietly, offline, safetensors only."""

from __future__ import annotations

import importlib.metadata
import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import InputError, MissingDependencyError
from .files import weights_of
from .weights import BERT_LIKE

LEAST_TRANSFORMERS = (5, 3)
QUERY_PROMPTS = ("query",)
DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_NOT_A_MODEL = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)


def load_model(folder: Path, device: str | None) -> Any:
    """The model in float32 on a device (None: what sentence-transformers would take).

    Raises:
        MissingDependencyError: sentence-transformers or a new enough transformers is absent.
        InputError: the files do not make a model.
    """
    check_packages()
    with _quiet():
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import SentenceTransformer

        try:
            model = SentenceTransformer(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        except (*_NOT_A_MODEL, SafetensorError) as error:
            raise InputError(f"cannot be loaded: {error}", file=folder) from error
    _check_complete(model[0].auto_model, folder)
    return model.eval()


def prompt_of(prompts: Mapping[str, str], default: str | None, names: tuple[str, ...]) -> str:
    """The prompt that sentence-transformers' encode_query or encode_document would put first."""
    for name in (*names, default):
        if name is not None and prompts.get(name) is not None:
            return str(prompts[name])
    return ""


def max_tokens_of(model: Any) -> int:
    """The window; a tokenizer that knows none says an astronomical number."""
    window = model.max_seq_length
    return int(window) if window is not None and window < 1 << 20 else 512


def _check_complete(transformer: Any, folder: Path) -> None:
    """Weights that the files lack would be random numbers, and no error; for what we know best."""
    if type(transformer).__name__ not in BERT_LIKE:
        return
    from safetensors import safe_open

    stored: set[str] = set()
    for file in weights_of(folder):
        with safe_open(str(file), framework="pt") as opened:
            stored |= {_modern(name) for name in opened.keys()}  # noqa: SIM118 - it is no dict
    for name, _ in transformer.named_parameters():
        if not name.startswith("pooler.") and not any(
            f"{prefix}{name}" in stored for prefix in ("", f"{transformer.base_model_prefix}.")
        ):
            raise InputError(f"the weights lack {name}", file=folder)


def _modern(name: str) -> str:
    return name.replace(".gamma", ".weight").replace(".beta", ".bias")


def check_packages() -> None:
    """Raise MissingDependencyError where a package is absent, or too old to be safe."""
    for package in ("torch", "sentence-transformers", "transformers"):
        try:
            version = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependencyError(package, None) from None
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
    if numbers < LEAST_TRANSFORMERS:
        least = ".".join(map(str, LEAST_TRANSFORMERS))
        raise MissingDependencyError(f"transformers>={least}", None)


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bar over the weights and no notes about keys; errors are raised all the same."""
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    logger = logging.getLogger("transformers")
    level = logger.level
    transformers_logging.disable_progress_bar()
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", category=FutureWarning, module="sentence_transformers"
            )
            warnings.filterwarnings("ignore", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
        if bars:
            transformers_logging.enable_progress_bar()
