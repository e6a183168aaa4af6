"""``load_token_encoder``: a model's name in, a vector for each token out.

Two kinds: models trained for late interaction (ColBERT and its kin), through sentence-transformers;
and the last hidden states of any other encoder, which need no training of their own.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ...contracts import EncodedTokens
from ...errors import CormorantError, InputError
from ...vectors import TokenVectors
from .direct import read_plain
from .files import read_json
from .identity import identity_of
from .loading import DOCUMENT_PROMPTS, QUERY_PROMPTS, check_packages, load_model, prompt_of
from .pieces import Piece
from .precision import PRECISIONS, choose_precision, default_device
from .token_cache import TokenCache
from .token_files import STANFORD, TokenFiles, find_token_model
from .token_models import HiddenStates, LateModel
from .token_packed import PackedTokens
from .tokens import check_texts

TEXTS_AT_ONCE = 1024
"""Texts tokenised, sorted and (where there is a cache) committed together."""
_CONFIGS = ("sentence_bert_config.json", "config_sentence_transformers.json", STANFORD)
_PASSING = ("__version__", "model_type")

_loaded: dict[tuple[str | None, ...], TokenVectorEncoder] = {}
_loading = Lock()

Encode = Callable[[Sequence[str]], EncodedTokens]
Pieces = Callable[[str], list[Piece]]


class _Ready(NamedTuple):
    """A loaded model: what encodes and reads queries and documents, and what is known of it."""

    encode_query: Encode
    encode_document: Encode
    query_pieces: Pieces
    document_pieces: Pieces
    name: str
    dim: int
    max_tokens: int
    query_tokens: int
    prompts: dict[str, str]
    shared: bool


class TokenVectorEncoder:
    """A loaded token encoder; threads may share it. Satisfies ``contracts.TokenEncoder``.

    A text's vectors do not depend on the texts beside it, beyond what rounding does in a batch.
    ``query_tokens``: the window of queries, where it is another one.
    """

    def __init__(
        self, ready: _Ready, *, identity: str, source: str, precision: str, cache: TokenCache | None
    ) -> None:
        self.identity = identity
        self.dim = ready.dim
        self.max_tokens = ready.max_tokens
        self.query_tokens = ready.query_tokens
        self.source = source
        self.precision = precision
        self.engine = ready.name
        self._ready = ready
        self._cache = cache
        self._lock: AbstractContextManager[Any] = nullcontext() if ready.shared else Lock()

    def __repr__(self) -> str:
        return f"TokenVectorEncoder({self.identity!r}, {self.precision}, {self.engine})"

    def encode_query(self, texts: Sequence[str]) -> EncodedTokens:
        """Vectors of queries' tokens; see ``contracts.TokenEncoder``."""
        return self._encode(texts, "query", self._ready.encode_query)

    def encode_document(self, texts: Sequence[str]) -> EncodedTokens:
        """Vectors of passages' tokens; see ``contracts.TokenEncoder``."""
        return self._encode(texts, "document", self._ready.encode_document)

    def query_pieces(self, text: str) -> list[Piece]:
        """What each vector of a query stands for, in the order of ``encode_query``."""
        return self._pieces(text, self._ready.query_pieces)

    def document_pieces(self, text: str) -> list[Piece]:
        """What each vector of a passage stands for, in the order of ``encode_document``."""
        return self._pieces(text, self._ready.document_pieces)

    def _pieces(self, text: str, read: Pieces) -> list[Piece]:
        check_texts([text])
        with self._lock:
            return read(text)

    def _encode(self, texts: Sequence[str], kind: str, encode: Encode) -> EncodedTokens:
        if isinstance(texts, str):
            raise InputError("texts is a list of texts, got one text")
        check_texts(texts)
        parts = []
        for first in range(0, max(len(texts), 1), TEXTS_AT_ONCE):
            some = texts[first : first + TEXTS_AT_ONCE]
            if self._cache is None:
                parts.append(self._compute(some, encode))
            else:
                parts.append(
                    self._cache.tokens_through(
                        some, kind, self.dim, lambda missing: self._compute(missing, encode)
                    )
                )
        return parts[0] if len(parts) == 1 else _joined(parts)

    def _compute(self, texts: Sequence[str], encode: Encode) -> EncodedTokens:
        with self._lock:
            encoded = encode(texts)
        finite = np.isfinite(encoded.vectors.vectors).all(axis=1)
        if not finite.all():
            token = int(np.argmin(finite))
            number = int(np.searchsorted(encoded.vectors.starts, token, side="right")) - 1
            raise CormorantError(
                f"the model {self.identity} made a vector that is not finite of text {number}, "
                f"{texts[number][:60]!r} ({self.precision}); try precision='float32'"
            )
        return encoded


def load_token_encoder(
    name: str,
    *,
    revision: str | None = None,
    device: str | None = None,
    precision: str = "auto",
) -> TokenVectorEncoder:
    """The token encoder of a model (``find_token_model``), once per process and arguments.

    ``device``, ``precision`` and the cache of ``CORMORANT_ENCODING_CACHE`` are those of
    ``load_encoder``.

    Raises:
        ModelNotFoundError, InputError: see ``find_token_model``.
        MissingDependencyError: sentence-transformers is not installed.
    """
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    cache_folder = os.environ.get("CORMORANT_ENCODING_CACHE") or None
    place = str(Path(name).resolve()) if name and Path(name).is_dir() else None
    key = (name, place, revision, device, precision, cache_folder)
    with _loading:
        if key not in _loaded:
            files = find_token_model(name, revision)
            _loaded[key] = _load(files, device or default_device(), precision, cache_folder)
        return _loaded[key]


def _load(
    files: TokenFiles, device: str, precision: str, cache_folder: str | None
) -> TokenVectorEncoder:
    check_packages()
    chosen, dtype = choose_precision(precision, device)
    ready = _late(files, device, dtype) if files.late else _states(files, device, dtype)
    identity = _identity(files, ready)
    cache = None
    if cache_folder is not None:
        cache = TokenCache(Path(cache_folder), f"{identity} {ready.name} {chosen}")
    return TokenVectorEncoder(
        ready, identity=identity, source=files.source, precision=chosen, cache=cache
    )


def _late(files: TokenFiles, device: str, dtype: Any) -> _Ready:
    model = LateModel(files.path, device, dtype)
    return _Ready(
        model.encode_query,
        model.encode_document,
        model.query_pieces,
        model.document_pieces,
        model.name,
        model.dim,
        model.max_tokens,
        model.query_tokens,
        model.prompts,
        shared=False,
    )


def _states(files: TokenFiles, device: str, dtype: Any) -> _Ready:
    """Hidden states, by the packed engine where the model is a plain BERT on the CPU."""
    plain = read_plain(list(files.modules), dtype) if device == "cpu" else None
    engine: PackedTokens | HiddenStates
    if plain is not None:
        engine, window = PackedTokens(plain.weights, plain.tokenizer), plain.tokenizer.max_tokens
        named, default = plain.prompts, plain.default_prompt
    else:
        model = load_model(files.path, device)
        engine = HiddenStates(model, dtype)
        window, named, default = engine.max_tokens, model.prompts, model.default_prompt_name
    query = prompt_of(named, default, QUERY_PROMPTS)
    document = prompt_of(named, default, DOCUMENT_PROMPTS)
    return _Ready(
        lambda texts: engine.encode_tokens(texts, query),
        lambda texts: engine.encode_tokens(texts, document),
        lambda text: engine.pieces(text, query),
        lambda text: engine.pieces(text, document),
        engine.name,
        engine.dim,
        window,
        window,
        {"query": query, "document": document},
        shared=plain is not None,
    )


def _identity(files: TokenFiles, ready: _Ready) -> str:
    """A readable beginning and a digest of all that decides what a token's vector means."""
    modules = list(files.modules if files.late else files.modules[:1])
    base = identity_of(modules, ready.prompts, ready.max_tokens)
    if not files.late:
        return f"{base}-tokens"
    parts: list[Any] = [base, ready.query_tokens]
    folders = dict.fromkeys([files.path, *(module.path for module in modules)])
    for folder in folders:
        for file in (folder / name for name in (*_CONFIGS, "config.json")):
            said = read_json(file) if file.is_file() else {}
            if file.name != "config.json" or folder != modules[0].path:
                parts.append({name: said[name] for name in said if name not in _PASSING})
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return f"late-{base.rpartition('-')[0]}-{digest}"


def _joined(parts: Sequence[EncodedTokens]) -> EncodedTokens:
    lengths = [np.diff(part.vectors.starts) for part in parts]
    starts = np.zeros(sum(map(len, lengths)) + 1, np.int64)
    np.cumsum(np.concatenate(lengths), out=starts[1:])
    vectors = np.concatenate([part.vectors.vectors for part in parts])
    cut = np.concatenate([part.cut for part in parts])
    return EncodedTokens(TokenVectors(starts, vectors), cut)
