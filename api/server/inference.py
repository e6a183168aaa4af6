"""The models a request may name: those the server was given, and those on its lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from threading import Lock
from typing import Any

import numpy as np

from ...contracts import Encoder, Float32Array
from ...documents import JsonObject
from ...errors import MissingDependencyError, ModelNotFoundError
from ...stages import PairScorer
from .problems import Problem


class CrossEncoderScorer:
    """A sentence-transformers cross-encoder: (query, passage) -> a score from 0 to 1.

    Loaded when it is first used; threads take turns. A model that brings code of its own, or
    weights that are not safetensors, is not loaded.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._lock = Lock()
        self._model: Any = None

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """(n,) float32, higher is better."""
        with self._lock:
            if self._model is None:
                self._model = self._load()
            # Sorted by length inside; batches change nothing but the time.
            scores = self._model.predict(list(pairs), show_progress_bar=False)
        return np.asarray(scores, np.float32)

    def _load(self) -> Any:
        try:
            from sentence_transformers import CrossEncoder
        except ImportError:
            raise MissingDependencyError("sentence-transformers", None) from None
        try:
            return CrossEncoder(
                self.name, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
        except OSError as error:
            raise ModelNotFoundError(self.name, [str(error).partition("\n")[0]]) from error


def encoder_of(name: str, given: Mapping[str, Encoder], allowed: Sequence[str]) -> Encoder:
    """The encoder of a name; loads it where that has not been done. Runs in a thread."""
    if name in given:
        return given[name]
    if name not in allowed:
        raise unknown_model(name, [*given, *allowed])
    from ...indexers.encoders.encoder import load_encoder

    return load_encoder(name)


def score_together(
    scorer: PairScorer, name: str, requests: Sequence[Sequence[tuple[str, str]]]
) -> list[Float32Array]:
    """The scores of several requests' pairs, scored as one batch. Runs in a thread."""
    pairs = [pair for request in requests for pair in request]
    scores = np.asarray(scorer.score_pairs(pairs), np.float32)
    if scores.shape != (len(pairs),) or not np.isfinite(scores).all():
        raise RuntimeError(f"{name} gave scores of shape {scores.shape}, or none finite")
    return np.split(scores, np.cumsum([len(request) for request in requests])[:-1])


def encode_together(
    load: Callable[[], Encoder], input_type: str, requests: Sequence[Sequence[str]]
) -> list[JsonObject]:
    """The vectors of several requests' texts, encoded as one batch. Runs in a thread."""
    encoder = load()
    texts = [text for request in requests for text in request]
    encode = encoder.encode_query if input_type == "query" else encoder.encode_document
    vectors = np.zeros((0, encoder.dim), np.float32)
    cut = np.zeros(0, np.bool_)
    if texts:
        vectors, cut = encode(texts)
    ends = np.cumsum([len(request) for request in requests])[:-1]
    return [
        {"dim": encoder.dim, "vectors": own.tolist(), "cut": own_cut.tolist()}
        for own, own_cut in zip(np.split(vectors, ends), np.split(cut, ends), strict=True)
    ]


def unknown_model(name: str, there: Sequence[str]) -> Problem:
    """The problem of a model that is not on the list."""
    listed = ", ".join(there) or "none"
    return Problem(
        "unknown_name",
        f"{name!r:.100} is not a model of this server; there are: {listed}",
        status=422,
        field="model",
    )
