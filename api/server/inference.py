"""The encoders a request may name: those the server was given, and those on its lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from ...contracts import Encoder
from ...documents import JsonObject
from .problems import Problem


def encoder_of(name: str, given: Mapping[str, Encoder], allowed: Sequence[str]) -> Encoder:
    """The encoder of a name; loads it where that has not been done. Runs in a thread."""
    if name in given:
        return given[name]
    if name not in allowed:
        raise unknown_model(name, [*given, *allowed])
    from ...indexers.encoders.encoder import load_encoder

    return load_encoder(name)


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
