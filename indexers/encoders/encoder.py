"""``load_encoder``: a model's name in, ``contracts.Encoder`` out."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np

from ...contracts import Encoded
from ...errors import CormorantError, InputError
from .cache import EncodingCache
from .direct import read_plain
from .files import check_files
from .identity import identity_of
from .loading import (
    DOCUMENT_PROMPTS,
    QUERY_PROMPTS,
    check_packages,
    load_model,
    max_tokens_of,
    prompt_of,
)
from .models import find_model
from .packed import PackedEngine
from .plain import PlainEngine
from .precision import PRECISIONS, choose_precision, default_device
from .tokens import Tokenizer, check_texts
from .weights import BERT_LIKE, read_weights, why_not

TEXTS_AT_ONCE = 8192
"""Texts tokenised, sorted and (where there is a cache) committed together."""

_loaded: dict[tuple[str | None, ...], SentenceEncoder] = {}
_loading = Lock()


class Engine(Protocol):
    """What computes the vectors."""

    name: str
    dim: int

    def encode(self, texts: Sequence[str], prompt: str) -> Encoded:
        """One vector per text, the prompt put before each."""


class SentenceEncoder:
    """A loaded sentence encoder; threads may share it. Satisfies ``contracts.Encoder``."""

    def __init__(
        self,
        engine: Engine,
        *,
        identity: str,
        max_tokens: int,
        source: str,
        precision: str,
        prompts: tuple[str, str],
        cache: EncodingCache | None = None,
    ) -> None:
        self.identity = identity
        self.dim = engine.dim
        self.max_tokens = max_tokens
        self.source = source
        self.precision = precision
        self.engine = engine.name
        self.query_prompt, self.document_prompt = prompts
        self._engine = engine
        self._cache = cache
        # The packed engine only reads its weights: a query need not wait for a batch of documents.
        shared = engine.name == PackedEngine.name
        self._lock: AbstractContextManager[Any] = nullcontext() if shared else Lock()

    def __repr__(self) -> str:
        return f"SentenceEncoder({self.identity!r}, {self.precision}, {self.engine})"

    def encode_query(self, texts: Sequence[str]) -> Encoded:
        """Vectors of queries, with the model's prompt for them; see ``contracts.Encoder``."""
        return self._encode(texts, self.query_prompt)

    def encode_document(self, texts: Sequence[str]) -> Encoded:
        """Vectors of passages, with the model's prompt for them; see ``contracts.Encoder``."""
        return self._encode(texts, self.document_prompt)

    def _encode(self, texts: Sequence[str], prompt: str) -> Encoded:
        if isinstance(texts, str):
            raise InputError("texts is a list of texts, got one text")
        check_texts(texts)
        if len(texts) <= TEXTS_AT_ONCE:
            return self._encode_some(texts, prompt)
        parts = [
            self._encode_some(texts[first : first + TEXTS_AT_ONCE], prompt)
            for first in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        vectors, cut = zip(*parts, strict=True)
        return Encoded(np.concatenate(vectors), np.concatenate(cut))

    def _encode_some(self, texts: Sequence[str], prompt: str) -> Encoded:
        if self._cache is None:
            return self._compute(texts, prompt)
        return self._cache.through(texts, prompt, self.dim, self._compute)

    def _compute(self, texts: Sequence[str], prompt: str) -> Encoded:
        with self._lock:
            encoded = self._engine.encode(texts, prompt)
        finite = np.isfinite(encoded.vectors).all(axis=1)
        if not finite.all():
            text = texts[int(np.argmin(finite))]
            raise CormorantError(
                f"the model {self.identity} made a vector that is not finite of text "
                f"{int(np.argmin(finite))}, {text[:60]!r} ({self.precision}); try "
                "precision='float32'"
            )
        return encoded


def load_encoder(
    name: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> SentenceEncoder:
    """The encoder of a model (``find_model``), loaded once per process and arguments.

    ``device``: cpu, cuda, ...; None takes a GPU where torch has one. ``precision``: float32,
    bfloat16, float16 (on a GPU), or auto: the fastest whose loss is small
    (``choose_precision``). Where ``CORMORANT_ENCODING_CACHE`` names a folder, vectors are kept
    there and computed once.

    Raises:
        ModelNotFoundError, InputError: see ``find_model``.
        MissingDependencyError: sentence-transformers is not installed.
    """
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    cache_folder = os.environ.get("CORMORANT_ENCODING_CACHE") or None
    place = str(Path(name).resolve()) if name and Path(name).is_dir() else None
    key = (name, place, revision, device, precision, cache_folder)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _load(name, revision, device, precision, cache_folder)
        return _loaded[key]


def _load(
    name: str, revision: str | None, device: str | None, precision: str, cache_folder: str | None
) -> SentenceEncoder:
    files = find_model(name, revision)
    modules = check_files(files.path)
    check_packages()
    device = device or default_device()
    chosen, dtype = choose_precision(precision, device)
    plain = read_plain(modules, dtype) if device == "cpu" else None
    if plain is not None:
        engine: Engine = PackedEngine(*plain[:4])
        max_tokens = plain.tokenizer.max_tokens
        named, default = plain.prompts, plain.default_prompt
    else:
        model = load_model(files.path, device)
        max_tokens = max_tokens_of(model)
        engine = _engine(model, dtype, max_tokens)
        named, default = model.prompts, model.default_prompt_name
    prompts = (
        prompt_of(named, default, QUERY_PROMPTS),
        prompt_of(named, default, DOCUMENT_PROMPTS),
    )
    identity = identity_of(modules, {"query": prompts[0], "document": prompts[1]}, max_tokens)
    cache = None
    if cache_folder is not None:
        cache = EncodingCache(Path(cache_folder), f"{identity} {engine.name} {chosen}")
    return SentenceEncoder(
        engine,
        identity=identity,
        max_tokens=max_tokens,
        source=files.source,
        precision=chosen,
        prompts=prompts,
        cache=cache,
    )


def _engine(model: Any, dtype: Any, max_tokens: int) -> Engine:
    """The packed engine for a BERT-like model with mean or cls pooling on the CPU."""
    kinds = [type(module).__name__ for module in model]
    transformer = model[0].auto_model
    plain = (
        model.device.type != "cpu"
        or kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"])
        or model[1].pooling_mode not in ("mean", "cls")
        or not model[1].include_prompt
        or model.truncate_dim is not None
        or not getattr(model.tokenizer, "is_fast", False)
        or type(transformer).__name__ not in BERT_LIKE
        or why_not(transformer.config.to_dict()) is not None
    )
    if not plain:
        tokenizer = Tokenizer(model.tokenizer.backend_tokenizer.to_str(), max_tokens)
        if _same_tokens(model, tokenizer):
            tensors = {name: value.detach() for name, value in transformer.state_dict().items()}
            weights = read_weights(tensors, transformer.config.to_dict(), dtype)
            return PackedEngine(weights, tokenizer, model[1].pooling_mode, len(kinds) == 3)
    return PlainEngine(model, dtype, max_tokens)


def _same_tokens(model: Any, tokenizer: Tokenizer) -> bool:
    """Whether the bare tokenizer and sentence-transformers' preprocessing agree on a few texts."""
    probes = ["", "A cormorant dives.", " Ünïcode  123,\t中文 ", "word " * tokenizer.max_tokens]
    for probe in probes:
        features = model.preprocess([probe])
        if features["input_ids"][0].tolist() != tokenizer([probe]).ids.tolist():
            return False
        if "token_type_ids" in features and features["token_type_ids"].any():
            return False
    return True
