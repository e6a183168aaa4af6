"""The slow twin of a collection with a dense index: vectors in a dict, scores in float64."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from toys import ToyDense

import cormorant as cm

Vectors = Mapping[str, np.ndarray]


def unit(vector: np.ndarray) -> np.ndarray:
    """Of length 1."""
    return vector / np.linalg.norm(vector.astype(np.float64))


def text_vector(settings: ToyDense, document: cm.Document | str) -> np.ndarray:
    """What the toy encoder makes of a document or a query."""
    text = document if isinstance(document, str) else f"{document.title} {document.text}"
    encoded = settings.index().encoder.encode_query([text])
    return unit(encoded.vectors[0]).astype(np.float32)


def text_vectors(settings: ToyDense, documents: Mapping[str, cm.Document]) -> dict:
    """The vector of every document."""
    return {name: text_vector(settings, document) for name, document in documents.items()}


def dense_scores(vectors: Vectors, query: np.ndarray) -> dict[str, float]:
    """Inner products, rounded once."""
    asked = query.astype(np.float64)
    return {
        name: float(np.float32(asked @ vector.astype(np.float64)))
        for name, vector in vectors.items()
    }


def convex_scores(lexical: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """Equal shares of both, normalised between the least a score can be and the best."""
    result = dict.fromkeys(dense, 0.0)
    for scores, lowest in ((lexical, 0.0), (dense, -1.0)):
        highest = max(scores.values(), default=lowest)
        for name, score in scores.items():
            if highest > lowest:
                result[name] += 0.5 * (score - lowest) / (highest - lowest)
    return result


def rrf_scores(lexical: Mapping[str, float], dense: Mapping[str, float]) -> dict[str, float]:
    """The sum of 1 / (60 + rank); equal scores share the best of their ranks."""
    result = dict.fromkeys([*dense, *lexical], 0.0)
    for scores in (lexical, dense):
        for name, score in scores.items():
            result[name] += 1 / (61 + sum(other > score for other in scores.values()))
    return result
