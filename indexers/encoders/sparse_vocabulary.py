"""Vocabulary-space bi-encoders (VDR).

A token's state is normed and multiplied with the word embeddings; ELU + 1 keeps every weight above
0; the maximum over the tokens is a vector over the whole vocabulary, which is cut to its largest
entries and the text's own tokens: v = elu1p(max_i LN(h_i) E') on top-k union bag of words. Source:
Zhou et al. 2024, "Retrieval-based disentangled representation learning with natural language
supervision" (ICLR), and its published code for elu1p and the union.

Since queries and texts share the vocabulary, a query's vector can also search texts that were never
encoded: their bags of tokens, each weighing 1 (``Sparse(documents="tokens")``); only what is
reranked is encoded. Zhou et al. 2024, "Semi-parametric retrieval via binary bag-of-tokens index",
arXiv 2405.01924, call that beta search.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from ...kernels import splade_head
from .files import Module, read_json, weights_of
from .identity import _settings, _vocabulary
from .loading import _quiet, check_packages
from .models import sha256_of
from .precision import PRECISIONS, choose_precision, default_device
from .sparse import SparseEncoder
from .sparse_model import batches, refuse_missing, vocabulary_of, window_of
from .sparse_tokens import TokenWords
from .tokens import Tokens

TOP = 768
NORMS = (("ln.weight", "ln.bias"), ("norm.weight", "norm.bias"))
"""What a checkpoint calls its last norm; without one, LN has weight 1 and bias 0."""


class VocabularyEngine:
    """Texts' tokens -> weights over the vocabulary, by a bidirectional backbone."""

    def __init__(
        self, folder: Path, device: str, dtype: Any, top: int, special: Int64Array
    ) -> None:
        import torch

        model, norm = _load(folder)
        self._model = model.to(device)
        self._norm = [part.to(device) for part in norm]
        embeddings = model.get_input_embeddings().weight.detach().to(device)
        self._weight = embeddings.to(dtype)
        self._device, self._dtype, self._top = device, dtype, top
        self._special = torch.from_numpy(special).to(device)

    def weights(self, tokens: Tokens) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Texts' weights by batches: their places (m,) and (m, vocabulary) float32."""
        offsets = np.cumsum(tokens.lengths) - tokens.lengths
        for rows in batches(tokens.lengths):
            lists = [tokens.ids[offsets[row] : offsets[row] + tokens.lengths[row]] for row in rows]
            yield rows, self._forward(lists)

    def _forward(self, lists: Sequence[Int64Array]) -> Float32Array:
        import torch

        lengths = torch.tensor([len(ids) for ids in lists])
        ids = torch.zeros((len(lists), int(lengths.max())), dtype=torch.int64)
        present = torch.zeros((len(lists), len(self._weight)), dtype=torch.bool)
        for row, own in enumerate(lists):
            ids[row, : len(own)] = torch.from_numpy(own)
            present[row, torch.from_numpy(own)] = True
        mask = torch.arange(ids.shape[1]) < lengths[:, None]
        starts = torch.zeros(len(lists) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=starts[1:])
        half = self._dtype != torch.float32
        with torch.inference_mode():
            with torch.autocast(self._device, self._dtype, enabled=half):
                states = self._model(
                    input_ids=ids.to(self._device), attention_mask=mask.long().to(self._device)
                ).last_hidden_state
            packed = torch.nn.functional.layer_norm(
                states[mask.to(self._device)].float(), (states.shape[2],), *self._norm
            )
            largest, _ = splade_head.maxima(
                packed.to(self._dtype), starts.to(self._device), self._weight, None
            )
            found = torch.nn.functional.elu(largest) + 1.0
            found[:, self._special] = 0.0
            kept = present.to(self._device)
            kept.scatter_(1, found.topk(min(self._top, found.shape[1]), dim=1).indices, True)
            kept[:, self._special] = False
        weights: Float32Array = torch.where(kept, found, 0.0).cpu().numpy()
        return weights


def load_vocabulary_encoder(
    folder: str | Path,
    *,
    top: int = TOP,
    first_term: int = 0,
    precision: str = "auto",
    device: str | None = None,
) -> SparseEncoder:
    """The vocabulary-space encoder of a backbone in ``folder`` (transformers' layout).

    ``top``: entries kept beside the text's own tokens. ``first_term``: terms below it weigh nothing
    (999 leaves out BERT's unused tokens, as the paper does), nor do special tokens.

    Raises:
        InputError: the folder does not hold such a model.
    """
    folder = Path(folder).resolve()
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    if top < 1:
        raise InputError(f"is at least 1, got {top}", field="top")
    if (folder / "modules.json").is_file():
        raise InputError(
            "is a sentence-transformers folder; give the folder of its transformer", file=folder
        )
    if not weights_of(folder):
        raise InputError("holds no model.safetensors; no other weights are loaded", file=folder)
    vocabulary_size = vocabulary_of(folder)
    words = TokenWords(folder)
    special = np.union1d(words.special, np.arange(first_term, dtype=np.int64)).astype(np.int64)
    words.special = special

    def load() -> VocabularyEngine:
        check_packages()
        on = device or default_device()
        _, dtype = choose_precision(precision, on)
        return VocabularyEngine(folder, on, dtype, top, special)

    parts: list[Any] = [
        "vocabulary",
        top,
        first_term,
        window_of(folder),
        _settings(Module("Transformer", folder)),
        [sha256_of(file) for file in weights_of(folder)],
        _vocabulary(folder),
    ]
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return SparseEncoder(
        identity=f"vocabulary-{read_json(folder / 'config.json').get('model_type')}-{digest}",
        source="folder",
        words=words,
        query_words=words,
        max_tokens=window_of(folder),
        vocabulary_size=vocabulary_size,
        idf=None,
        prompts=("", ""),
        load=load,
    )


def _load(folder: Path) -> tuple[Any, tuple[Any, Any]]:
    """The backbone, and the weight and bias of its last norm."""
    with _quiet():
        import torch
        from safetensors import SafetensorError, safe_open
        from transformers import AutoModel

        try:
            model, said = AutoModel.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError(f"cannot be loaded: {error}", file=folder) from error
        refuse_missing((key for key in said["missing_keys"] if "pooler" not in key), folder)
        hidden = model.get_input_embeddings().weight.shape[1]
        norm = (torch.ones(hidden), torch.zeros(hidden))
        for file in weights_of(folder):
            with safe_open(str(file), framework="pt") as opened:
                names = set(opened.keys())
                for weight, bias in NORMS:
                    if weight in names and bias in names:
                        norm = opened.get_tensor(weight).float(), opened.get_tensor(bias).float()
    return model.eval(), norm
