"""sentence-transformers' own forward pass, for what ``packed`` does not run: any model, any GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...contracts import BoolArray, Encoded
from .tokens import Tokenizer

BATCH_TEXTS = 32


class PlainEngine:
    """A SentenceTransformer. The transformer computes in ``dtype``, what follows in float32."""

    name = "sentence-transformers"

    def __init__(self, model: Any, dtype: Any, max_tokens: int) -> None:
        import torch

        self.dim = int(model.get_embedding_dimension())
        self._model = model
        self._tokenizer: Tokenizer | None = None
        if getattr(model.tokenizer, "is_fast", False):
            self._tokenizer = Tokenizer(model.tokenizer.backend_tokenizer.to_str(), max_tokens)
        self._max_tokens = max_tokens
        if dtype != torch.float32:
            model[0].to(dtype)
            model[0].register_forward_hook(_widen)

    def encode(self, texts: Sequence[str], prompt: str) -> Encoded:
        """One vector per text, the prompt put before each."""
        cut = self._cut([prompt + text for text in texts])
        if len(texts) == 0:
            return Encoded(np.zeros((0, self.dim), np.float32), cut)
        vectors = self._model.encode(
            list(texts), prompt=prompt, batch_size=BATCH_TEXTS, show_progress_bar=False
        )
        return Encoded(np.ascontiguousarray(vectors, np.float32), cut)

    def _cut(self, texts: list[str]) -> BoolArray:
        if self._tokenizer is not None:
            return self._tokenizer(texts).cut
        encode = self._model.tokenizer
        lengths = [len(encode(text, truncation=False)["input_ids"]) for text in texts]
        return np.array(lengths, np.int64) > self._max_tokens


def _widen(module: Any, inputs: Any, features: dict[str, Any]) -> dict[str, Any]:
    """Pooling and all after it in float32: a mean rounded to 16 bits would be the largest error."""
    return features | {"token_embeddings": features["token_embeddings"].float()}
