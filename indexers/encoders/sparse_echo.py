"""Decoder-only language models as sparse encoders: the text twice, the second copy pooled.

A causal model's first tokens have seen nothing of what follows. Given the text twice, each token of
the second copy has seen all of it (Springer et al. 2024, "Repetition improves language model
embeddings"); its vocabulary head then makes weights as a masked model's does (Doshi et al. 2024,
"Mistral-SPLADE", arXiv 2408.11119). Any causal model of transformers, with a LoRA adapter of peft
where there is one.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError, MissingDependencyError
from ...kernels import splade_head
from .files import Module, read_json, weights_of
from .identity import _settings, _vocabulary
from .loading import _quiet, check_packages
from .models import sha256_of
from .precision import PRECISIONS, choose_precision, default_device
from .sparse import SparseEncoder
from .sparse_files import check_adapter
from .sparse_model import batches, headless, refuse_missing, vocabulary_of, window_of
from .sparse_tokens import TokenWords
from .tokens import Tokens

_NOT_A_MODEL = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)


class EchoEngine:
    """Texts' tokens -> weights, by a causal model that reads them twice."""

    def __init__(
        self,
        folder: Path,
        adapter: Path | None,
        device: str,
        dtype: Any,
        activation: str,
        begin: int | None,
    ) -> None:
        self._headless = headless(_load_causal(folder, adapter).to(device), folder)
        self._headless.model.to(dtype)
        self._headless.head.to(dtype)
        self._device, self._dtype, self._activation = device, dtype, activation
        self._begin = begin
        self._weight = self._headless.head.weight.detach()
        bias = self._headless.bias
        self._bias = None if bias is None else bias.detach().float()

    def weights(self, tokens: Tokens) -> Iterator[tuple[Int64Array, Float32Array]]:
        """Texts' weights by batches: their places (m,) and (m, vocabulary) float32."""
        offsets = np.cumsum(tokens.lengths) - tokens.lengths
        for rows in batches(2 * tokens.lengths):
            lists = [tokens.ids[offsets[row] : offsets[row] + tokens.lengths[row]] for row in rows]
            yield rows, self._forward(lists)

    def _forward(self, lists: list[Int64Array]) -> Float32Array:
        import torch

        before = 0 if self._begin is None else 1
        lengths = torch.tensor([len(ids) for ids in lists])
        ids = torch.zeros((len(lists), before + 2 * int(lengths.max())), dtype=torch.int64)
        if self._begin is not None:
            ids[:, 0] = self._begin
        for row, own in enumerate(lists):
            ids[row, before : before + 2 * len(own)] = torch.from_numpy(np.concatenate([own, own]))
        place = torch.arange(ids.shape[1])
        seconds = (place >= before + lengths[:, None]) & (place < before + 2 * lengths[:, None])
        mask = place < before + 2 * lengths[:, None]
        starts = torch.zeros(len(lists) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=starts[1:])
        with torch.inference_mode():
            hidden = self._headless.hidden(ids.to(self._device), mask.long().to(self._device))
            packed = hidden[seconds.to(self._device)].to(self._dtype)
            found = splade_head.weights(
                packed, starts.to(self._device), self._weight, self._bias, self._activation
            )
        weights: Float32Array = found.cpu().numpy()
        return weights


def load_echo_encoder(
    folder: str | Path,
    adapter: str | Path | None = None,
    *,
    max_tokens: int | None = None,
    activation: str = "log1p",
    precision: str = "auto",
    device: str | None = None,
) -> SparseEncoder:
    """The sparse encoder of a causal model in ``folder`` (transformers' layout, safetensors).

    ``adapter``: the folder of a LoRA adapter that peft saved. ``max_tokens``: of a text, each copy;
    None takes half the model's window. Documents and queries are both encoded by the model.

    Raises:
        InputError: the folders do not hold such a model, or weights that are not safetensors.
        MissingDependencyError: an adapter without peft.
    """
    folder = Path(folder).resolve()
    place = None if adapter is None else Path(adapter).resolve()
    if activation not in splade_head.ACTIVATIONS:
        raise InputError(f"is one of {', '.join(splade_head.ACTIVATIONS)}", field="activation")
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    if not weights_of(folder):
        raise InputError("holds no model.safetensors; no other weights are loaded", file=folder)
    if place is not None:
        check_adapter(place)
    config = read_json(folder / "config.json")
    begin = config.get("bos_token_id")
    window = max_tokens or (window_of(folder) - 1) // 2
    if not 1 <= window <= (window_of(folder) - 1) // 2:
        raise InputError(
            f"is from 1 to {(window_of(folder) - 1) // 2} (the text is read twice), got {window}",
            field="max_tokens",
        )
    words = TokenWords(folder, specials=False)

    def load() -> EchoEngine:
        check_packages()
        on = device or default_device()
        _, dtype = choose_precision(precision, on)
        return EchoEngine(folder, place, on, dtype, activation, begin)

    return SparseEncoder(
        identity=_identity(folder, place, window, activation),
        source="folder",
        words=words,
        query_words=words,
        max_tokens=window,
        vocabulary_size=vocabulary_of(folder),
        idf=None,
        prompts=("", ""),
        load=load,
    )


def _load_causal(folder: Path, adapter: Path | None) -> Any:
    with _quiet():
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM

        try:
            model, said = AutoModelForCausalLM.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (*_NOT_A_MODEL, SafetensorError) as error:
            raise InputError(f"cannot be loaded: {error}", file=folder) from error
        refuse_missing(said["missing_keys"], folder)
        if adapter is None:
            return model.eval()
        try:
            import peft
        except ModuleNotFoundError:
            raise MissingDependencyError("peft", "train") from None
        try:
            with warnings.catch_warnings():
                # peft asks transformers for a name that is about to go.
                warnings.simplefilter("ignore", FutureWarning)
                warnings.filterwarnings("error", "Found missing adapter keys")
                adapted = peft.PeftModel.from_pretrained(model, str(adapter), local_files_only=True)
        except (*_NOT_A_MODEL, SafetensorError, UserWarning) as error:
            raise InputError(f"cannot be loaded: {error}", file=adapter) from error
        return adapted.merge_and_unload().eval()


def _identity(folder: Path, adapter: Path | None, window: int, activation: str) -> str:
    parts: list[Any] = [
        "echo",
        window,
        activation,
        _settings(Module("Transformer", folder)),
        [sha256_of(file) for file in weights_of(folder)],
        _vocabulary(folder),
    ]
    if adapter is not None:
        parts.append(sha256_of(adapter / "adapter_model.safetensors"))
        parts.append(read_json(adapter / "adapter_config.json"))
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]
    return f"echo-{read_json(folder / 'config.json').get('model_type', 'model')}-{digest}"
