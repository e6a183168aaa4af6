"""Token vectors by sentence-transformers' own forward pass: what ``token_packed`` does not run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import BoolArray, EncodedTokens, Float32Array
from ...errors import InputError
from ...vectors import TokenVectors
from .loading import _NOT_A_MODEL, _quiet, max_tokens_of
from .pieces import Piece, read_pieces
from .plain import BATCH_TEXTS, _widen


class HiddenStates:
    """A SentenceTransformer's transformer alone: its last hidden states, of length 1."""

    name = "sentence-transformers"

    def __init__(self, model: Any, dtype: Any) -> None:
        import torch

        self.max_tokens = max_tokens_of(model)
        self.dim = int(model[0].get_embedding_dimension())
        self._model = model
        self._dtype = dtype
        if dtype != torch.float32:
            model[0].to(dtype)
            model[0].register_forward_hook(_widen)
        around = model.tokenizer("", add_special_tokens=True)["input_ids"]
        self._around = torch.tensor(sorted(set(around)), device=model.device)

    def encode_tokens(self, texts: Sequence[str], prompt: str) -> EncodedTokens:
        """The vectors of each text's tokens, the prompt put before each text."""
        import torch

        whole = [prompt + text for text in texts]
        parts: list[Float32Array] = [np.zeros((0, self.dim), np.float32) for _ in whole]
        order = sorted(range(len(whole)), key=lambda row: -len(whole[row]))
        for first in range(0, len(order), BATCH_TEXTS):
            rows = order[first : first + BATCH_TEXTS]
            features = self._model.preprocess([whole[row] for row in rows])
            features = {
                name: value.to(self._model.device) if hasattr(value, "to") else value
                for name, value in features.items()
            }
            with torch.inference_mode():
                states = self._model[0](dict(features))["token_embeddings"].float()
                states = torch.nn.functional.normalize(states, dim=-1)
                kept = features["attention_mask"].bool()
                kept &= ~torch.isin(features["input_ids"], self._around)
            for row, own, mask in zip(rows, states, kept, strict=True):
                parts[row] = own[mask].cpu().numpy()
        return _gathered(parts, self.dim, too_long(self._model.tokenizer, whole, self.max_tokens))

    def pieces(self, text: str, prompt: str) -> list[Piece]:
        """What each of a text's vectors stands for, the prompt put before it."""
        tokenizer = self._model.tokenizer
        ids = self._model.preprocess([prompt + text])["input_ids"][0].cpu()
        kept = ~np.isin(ids.numpy(), self._around.cpu().numpy())
        return read_pieces(tokenizer, ids.tolist(), kept, prompt, text, self.max_tokens)


class LateModel:
    """A MultiVectorEncoder of sentence-transformers, which also reads PyLate's and Stanford's.

    Its own modules mark queries and documents apart, project, leave tokens of its skip list out,
    pad queries with tokens that count, and normalise.
    """

    name = "sentence-transformers"

    def __init__(self, folder: Path, device: str, dtype: Any) -> None:
        import torch
        from sentence_transformers.multi_vector_encoder.modules import MultiVectorMask

        model = self._model = _load(folder, device)
        self._masks = [module for module in model if isinstance(module, MultiVectorMask)]
        self.dim = int(model.get_embedding_dimension())
        transformer = model[0]
        longest = max_tokens_of(model)
        expansion = transformer.query_expansion
        said = expansion.get("length") if expansion else transformer.query_length
        self.query_tokens = int(said or longest)
        self.max_tokens = int(transformer.document_length or longest)
        self._means = model.similarity_fn_name == "meanmaxsim"
        if dtype != torch.float32:
            transformer.to(dtype)
            transformer.register_forward_hook(_widen)

    @property
    def prompts(self) -> dict[str, str]:
        """What is put before queries and documents."""
        return {name: text or "" for name, text in self._model.prompts.items()}

    def encode_query(self, texts: Sequence[str]) -> EncodedTokens:
        """Queries. Where the model means MaxSims over a query's tokens, they are scaled to that."""
        encoded = self._encode(self._model.encode_query, "query", texts, self.query_tokens)
        if not self._means:
            return encoded
        lengths = np.diff(encoded.vectors.starts)
        scales = (1 / np.maximum(lengths, 1)).astype(np.float32)
        scaled = encoded.vectors.vectors * np.repeat(scales, lengths)[:, None]
        return EncodedTokens(TokenVectors(encoded.vectors.starts, scaled), encoded.cut)

    def encode_document(self, texts: Sequence[str]) -> EncodedTokens:
        """Passages."""
        return self._encode(self._model.encode_document, "document", texts, self.max_tokens)

    def query_pieces(self, text: str) -> list[Piece]:
        """What each of a query's vectors stands for; tokens that pad it out are named."""
        return self._pieces("query", text, self.query_tokens)

    def document_pieces(self, text: str) -> list[Piece]:
        """What each of a passage's vectors stands for, those of the skip list left out."""
        return self._pieces("document", text, self.max_tokens)

    def _pieces(self, kind: str, text: str, window: int) -> list[Piece]:
        prompt = self.prompts.get(kind, "")
        features = self._model.preprocess([text], prompt=prompt, task=kind)
        ids = features["input_ids"][0].tolist()
        for mask in self._masks:
            features = mask(features, task=kind)
        kept = features["attention_mask"][0].bool().cpu().numpy()
        return read_pieces(self._model.tokenizer, ids, kept, prompt, text, window)

    def _encode(self, run: Any, kind: str, texts: Sequence[str], window: int) -> EncodedTokens:
        whole = [self.prompts.get(kind, "") + text for text in texts]
        cut = too_long(self._model.tokenizer, whole, window)
        parts: list[Float32Array] = []
        if texts:
            parts = run(
                list(texts), batch_size=BATCH_TEXTS, show_progress_bar=False, convert_to_numpy=True
            )
        return _gathered(parts, self.dim, cut)


def too_long(tokenizer: Any, texts: Sequence[str], window: int) -> BoolArray:
    """Which texts have more tokens than the window: (n,) bool; for one thread at a time."""
    if not texts:
        return np.zeros(0, np.bool_)
    tokens = tokenizer(
        list(texts),
        truncation=False,
        padding=False,
        return_attention_mask=False,
        return_token_type_ids=False,
        verbose=False,
    )
    return np.array([len(ids) for ids in tokens["input_ids"]], np.int64) > window


def _load(folder: Path, device: str) -> Any:
    with _quiet():
        import torch
        from safetensors import SafetensorError
        from sentence_transformers import MultiVectorEncoder

        try:
            model = MultiVectorEncoder(
                str(folder),
                device=device,
                local_files_only=True,
                trust_remote_code=False,
                model_kwargs={"use_safetensors": True, "dtype": torch.float32},
            )
        except (*_NOT_A_MODEL, SafetensorError) as error:
            raise InputError(f"cannot be loaded: {error}", file=folder) from error
    return model.eval()


def _gathered(parts: Sequence[Float32Array], dim: int, cut: BoolArray) -> EncodedTokens:
    starts = np.zeros(len(parts) + 1, np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    vectors = np.concatenate([np.zeros((0, dim), np.float32), *parts])
    return EncodedTokens(TokenVectors(starts, vectors.astype(np.float32, copy=False)), cut)
