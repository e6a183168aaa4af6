"""``load_sparse_encoder``: a model's name in, weights of terms out.

Two kinds. A SPLADE-type encoder runs its model for documents and for queries. An inference-free one
runs it for documents only: a query is the distinct tokens of its text, each with its weight from a
table. Its model is loaded when the first document is encoded, never for a query.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np

from ...contracts import BoolArray, Float32Array, Int64Array
from ...errors import CormorantError, InputError
from ...vectors import SparseVectors
from .files import Module, read_json, weights_of
from .identity import _settings, _vocabulary
from .loading import DOCUMENT_PROMPTS, QUERY_PROMPTS, check_packages, prompt_of
from .models import find_model, sha256_of
from .precision import PRECISIONS, choose_precision, default_device
from .sparse_files import SparseFiles, check_adapter, find_sparse_model
from .sparse_model import MaskedEngine, vocabulary_of, window_of
from .sparse_tokens import TokenWords, Words, read_table
from .tokens import Tokenizer, Tokens, check_texts

KINDS = ("auto", "splade", "echo", "vocabulary")

_loaded: dict[tuple[str | None, ...], SparseEncoder] = {}
_loading = Lock()


class EncodedSparse(NamedTuple):
    """What texts became.

    ``vectors``: weights above 0, finite, terms ascending in each text. ``cut``: (n,) bool, the
    texts that were longer than the window and lost their end. ``words``: the distinct tokens of
    each text as far as it was read, special ones left out.
    """

    vectors: SparseVectors
    cut: BoolArray
    words: Words


class SparseEngine(Protocol):
    """What runs the model."""

    def weights(self, tokens: Tokens) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Texts' weights by batches: their places (m,) and (m, vocabulary) float32."""


class SparseEncoder:
    """A sparse encoder; threads may share it. A text's vector does not depend on its neighbours.

    ``identity``: names the weights and all else that decides what a vector means.
    ``vocabulary_size``: terms are 0 to this. ``tokens``: what they stand for. ``inference_free``:
    queries need no model. ``idf``: (vocabulary,) float32, the table of queries' weights, None where
    there is none.
    """

    def __init__(
        self,
        *,
        identity: str,
        source: str,
        words: TokenWords,
        query_words: TokenWords,
        max_tokens: int,
        vocabulary_size: int,
        idf: Float32Array | None,
        prompts: tuple[str, str],
        load: Callable[[], SparseEngine],
    ) -> None:
        """``load``: makes the engine, once, when a text must go through the model.

        ``words`` and ``query_words``: the tokenizers of documents and of inference-free queries.
        ``prompts``: what comes before a query and before a document.
        """
        self.identity = identity
        self.source = source
        self.max_tokens = max_tokens
        self.vocabulary_size = vocabulary_size
        self.tokens: Sequence[str] = words.tokens
        self.idf = idf
        self.inference_free = idf is not None
        self._words, self._query_words = words, query_words
        self._tokenizer = Tokenizer(words.rules, max_tokens)
        self._prompts = prompts
        self._load = load
        self._engine: SparseEngine | None = None
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"SparseEncoder({self.identity!r}, inference_free={self.inference_free})"

    @property
    def model_loaded(self) -> bool:
        """Whether the model is in memory; an inference-free encoder answers queries without it."""
        return self._engine is not None

    def encode_document(self, texts: Sequence[str]) -> EncodedSparse:
        """Passages, by the model."""
        return self._by_model(_checked(texts), self._prompts[1])

    def encode_query(self, texts: Sequence[str]) -> EncodedSparse:
        """Queries: by the table where the encoder is inference-free, else by the model.

        A token that the table gives no weight is left out.
        """
        if self.idf is None:
            return self._by_model(_checked(texts), self._prompts[0])
        words = self.query_tokens(texts)
        weights = self.idf[words.terms]
        return EncodedSparse(
            _kept(words.starts, words.terms, weights, weights > 0),
            np.zeros(len(texts), np.bool_),
            words,
        )

    def query_tokens(self, texts: Sequence[str]) -> Words:
        """The distinct tokens of queries, special ones left out; never loads the model."""
        prompt = self._prompts[0]
        checked = _checked(texts)
        return self._query_words([prompt + text for text in checked] if prompt else checked)

    def bags_of_tokens(self, texts: Sequence[str]) -> EncodedSparse:
        """Passages as their distinct tokens, each weighing 1, whole; never loads the model."""
        words = self._words(_checked(texts))
        ones = np.ones(len(words.terms), np.float32)
        vectors = SparseVectors(words.starts, words.terms, ones)
        return EncodedSparse(vectors, np.zeros(len(texts), np.bool_), words)

    def highlights(self, query: str, text: str) -> list[tuple[int, int]]:
        """Character spans of a text's words that a query has, ascending; never loads the model.

        Words that weigh less than a tenth of the query's heaviest ("the") are left out.
        """
        terms = self.query_tokens([query]).terms
        if self.idf is not None:
            weights = self.idf[terms]
            terms = terms[weights > 0.1 * weights.max(initial=0.0)]
        return self._query_words.spans(text, terms)

    def _by_model(self, texts: Sequence[str], prompt: str) -> EncodedSparse:
        tokens = self._tokenizer([prompt + text for text in texts] if prompt else texts)
        ends = np.cumsum(tokens.lengths)
        lists = np.split(tokens.ids, ends[:-1]) if len(texts) else []
        parts: list[tuple[Int64Array, Float32Array]] = [
            (np.zeros(0, np.int64), np.zeros(0, np.float32)) for _ in texts
        ]
        with self._lock:
            if self._engine is None:
                self._engine = self._load()
            try:
                for rows, weights in self._engine.weights(tokens):
                    for row, own in zip(rows, weights, strict=True):
                        terms = np.flatnonzero(own)
                        parts[row] = terms, own[terms]
            except ValueError as error:  # the kernel takes no states that are not finite
                raise CormorantError(
                    f"the model {self.identity} made no weights of these texts: {error}; try "
                    "precision='float32'"
                ) from error
        for row, (_, own) in enumerate(parts):
            if not np.isfinite(own).all():
                raise CormorantError(
                    f"the model {self.identity} made a weight that is not finite of text {row}, "
                    f"{texts[row][:60]!r}; try precision='float32'"
                )
        starts = np.zeros(len(texts) + 1, np.int64)
        np.cumsum([len(terms) for terms, _ in parts], out=starts[1:])
        vectors = SparseVectors(
            starts,
            np.concatenate([terms for terms, _ in parts] or [np.zeros(0, np.int64)]),
            np.concatenate([own for _, own in parts] or [np.zeros(0, np.float32)]),
        )
        return EncodedSparse(vectors, tokens.cut, self._words.distinct(lists))


def load_sparse_encoder(
    model: str,
    revision: str | None = None,
    precision: str = "auto",
    *,
    kind: str = "auto",
    adapter: str | None = None,
    device: str | None = None,
) -> SparseEncoder:
    """The sparse encoder of a folder or of a name on the hub, once per process and arguments.

    ``kind``: ``splade`` (its queries inference-free where the folder says so), ``echo``: a causal
    model that reads a text twice, with a LoRA ``adapter`` (a folder or a name) perhaps;
    ``vocabulary``: a backbone whose word embeddings are the head (VDR); ``auto`` is echo for a
    causal model and splade for all else. ``device``: cpu, cuda, ...; None takes a GPU where torch
    has one. ``precision``: see ``load_encoder``. The model itself is loaded when something needs
    it.

    Raises:
        ModelNotFoundError, InputError: see ``find_sparse_model``.
    """
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    if kind not in KINDS:
        raise InputError(f"is one of {', '.join(KINDS)}, got {kind!r}", field="encoder")
    place = str(Path(model).resolve()) if model and Path(model).is_dir() else None
    key = (model, place, revision, kind, adapter, device, precision)
    with _loading:
        if key not in _loaded:
            _loaded[key] = _of_kind(model, revision, kind, adapter, device, precision)
        return _loaded[key]


def _of_kind(
    model: str,
    revision: str | None,
    kind: str,
    adapter: str | None,
    device: str | None,
    precision: str,
) -> SparseEncoder:
    if kind != "splade":
        folder = find_model(model, revision, _check_any, owner="").path
        causal = _is_causal(folder)
        if kind == "auto":
            kind = "echo" if causal else "splade"
        elif causal != (kind == "echo"):
            raise InputError(
                f"is {kind!r}, and {model!r} is {'' if causal else 'not '}a causal language model",
                field="encoder",
            )
    if adapter is not None and kind != "echo":
        raise InputError(
            "a LoRA adapter goes with a causal model (encoder='echo')", field="adapter"
        )
    if kind == "echo":
        from .sparse_echo import load_echo_encoder

        weights = None if adapter is None else find_model(adapter, None, check_adapter, owner="")
        return load_echo_encoder(
            folder, None if weights is None else weights.path, precision=precision, device=device
        )
    if kind == "vocabulary":
        from .sparse_vocabulary import load_vocabulary_encoder

        return load_vocabulary_encoder(folder, precision=precision, device=device)
    return _open(find_sparse_model(model, revision), device, precision)


def _check_any(folder: Path) -> None:
    """Raise InputError for a folder without a transformer's settings."""
    if not any((folder / name).is_file() for name in ("config.json", "modules.json")):
        if (folder / "adapter_config.json").is_file():
            raise InputError(
                "holds a LoRA adapter; give the model that it adapts, and this as adapter=",
                file=folder,
            )
        raise InputError("holds neither modules.json nor config.json", file=folder)


def _is_causal(folder: Path) -> bool:
    if (folder / "modules.json").is_file():
        return False
    made_for = read_json(folder / "config.json").get("architectures") or ()
    return any(str(name).endswith(("ForCausalLM", "LMHeadModel")) for name in made_for)


def _open(files: SparseFiles, device: str | None, precision: str) -> SparseEncoder:
    folder = files.document.folder
    words = TokenWords(folder)
    query_words = words if files.query is None else TokenWords(files.query.folder)
    vocabulary_size = vocabulary_of(folder)
    idf = None
    if files.query is not None:
        idf = read_table(files.query, query_words)
        if len(idf) < vocabulary_size:  # a model's vocabulary may be padded beyond its tokens
            idf = np.pad(idf, (0, vocabulary_size - len(idf)))
        if len(idf) != vocabulary_size or query_words.tokens != words.tokens:
            raise InputError(
                f"has {len(idf):,} weights for a model of {vocabulary_size:,} terms, or another "
                "tokenizer than the model",
                file=files.query.weights,
            )
    prompts = (
        prompt_of(files.prompts, files.default_prompt, QUERY_PROMPTS),
        prompt_of(files.prompts, files.default_prompt, DOCUMENT_PROMPTS),
    )
    window = window_of(folder)

    def load() -> SparseEngine:
        check_packages()
        on = device or default_device()
        _, dtype = choose_precision(precision, on)
        return MaskedEngine(files.document, on, dtype)

    return SparseEncoder(
        identity=_identity(files, prompts, window),
        source=files.source,
        words=words,
        query_words=query_words,
        max_tokens=window,
        vocabulary_size=vocabulary_size,
        idf=idf,
        prompts=prompts,
        load=load,
    )


def _identity(files: SparseFiles, prompts: tuple[str, str], window: int) -> str:
    """A readable beginning and a digest of all that decides what a vector means."""
    folder = files.document.folder
    parts: list[Any] = [
        prompts,
        window,
        files.document.activation,
        _settings(Module("Transformer", folder)),
        [sha256_of(file) for file in weights_of(folder)],
        _vocabulary(folder),
    ]
    if files.query is not None:
        parts += [sha256_of(files.query.weights), _vocabulary(files.query.folder)]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    config = read_json(folder / "config.json")
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    size = f"-{layers}x{hidden}" if layers and hidden else ""
    return f"sparse-{config.get('model_type', 'model')}{size}-{digest}"


def _checked(texts: Sequence[str]) -> Sequence[str]:
    if isinstance(texts, str):
        raise InputError("texts is a list of texts, got one text")
    check_texts(texts)
    return texts


def _kept(
    starts: Int64Array, terms: Int64Array, weights: Float32Array, keep: BoolArray
) -> SparseVectors:
    """The places that ``keep`` marks."""
    ends = np.concatenate([[0], np.cumsum(keep)]).astype(np.int64)
    return SparseVectors(ends[starts], terms[keep], weights[keep])
