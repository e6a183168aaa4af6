"""A masked language model as a SPLADE encoder: its body, its head's weights, texts to weights.

The vocabulary's product is taken out of the model and given to ``kernels/splade_head``, so that
logits (texts, tokens, vocabulary) never exist. A probe holds this to the model's own logits when it
is loaded: a model that does more after its last product (soft caps, scales) is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError, MissingDependencyError
from ...kernels import splade_head
from .files import read_json
from .loading import _quiet, check_packages
from .sparse_files import DocumentPart
from .tokens import Tokens

BATCH_TOKENS = 4096
_NOT_A_MODEL = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)


def load_masked_model(folder: Path) -> Any:
    """A masked language model of transformers, in float32, in evaluation mode.

    Raises:
        MissingDependencyError, InputError: see ``loading.load_model``.
    """
    check_packages()
    with _quiet():
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForMaskedLM

        try:
            model, said = AutoModelForMaskedLM.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except ImportError as error:
            raise MissingDependencyError(str(error), None) from error
        except (*_NOT_A_MODEL, SafetensorError) as error:
            raise InputError(f"cannot be loaded: {error}", file=folder) from error
    missing = sorted(said["missing_keys"])
    if missing:  # they would be random numbers, and no error
        raise InputError(
            f"the weights lack {', '.join(missing[:3])}; a sparse encoder needs a trained "
            "vocabulary head (cormorant train sparse makes one)",
            file=folder,
        )
    return model.eval()


class HeadlessModel:
    """A language model whose last product, with the vocabulary, is taken out.

    ``model``: it gives, as logits, what the product would have been taken of. ``head``: the linear
    layer that was taken out, whose weight (vocabulary, dim) may be tied to the input embeddings.
    """

    def __init__(self, model: Any, file: Path | None = None) -> None:
        import torch

        head = model.get_output_embeddings()
        if head is None or getattr(head, "weight", None) is None:
            raise InputError("has no vocabulary head", file=file)
        names = [name for name, module in model.named_modules() if module is head]
        parent, _, leaf = names[0].rpartition(".")
        setattr(model.get_submodule(parent), leaf, torch.nn.Identity())
        self.model = model
        self.head = head
        self._place = (parent, leaf)

    def put_back(self) -> Any:
        """The whole model again, as transformers saves it; this object is of no use after it."""
        parent, leaf = self._place
        setattr(self.model.get_submodule(parent), leaf, self.head)
        return self.model

    @property
    def bias(self) -> Any | None:
        """The head's bias, (vocabulary,) or None."""
        return getattr(self.head, "bias", None)

    def hidden(self, ids: Any, mask: Any) -> Any:
        """What the head would multiply: ids and mask (n, length) -> (n, length, dim)."""
        return self.model(input_ids=ids, attention_mask=mask).logits


class MaskedEngine:
    """Texts' tokens -> weights of terms, by a masked language model on one device."""

    def __init__(self, part: DocumentPart, device: str, dtype: Any) -> None:

        self._headless = headless(load_masked_model(part.folder).to(device), part.folder)
        head = self._headless.head
        self.vocabulary_size = int(head.weight.shape[0])
        self.activation = part.activation
        self.dtype, self.device = dtype, device
        self._weight = head.weight.detach().to(dtype)
        bias = self._headless.bias
        self._bias = None if bias is None else bias.detach().float()

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
        for row, own in enumerate(lists):
            ids[row, : len(own)] = torch.from_numpy(own)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).to(self.device)
        starts = torch.zeros(len(lists) + 1, dtype=torch.int64)
        torch.cumsum(lengths, 0, out=starts[1:])
        half = self.dtype != torch.float32
        with torch.inference_mode(), torch.autocast(self.device, self.dtype, enabled=half):
            hidden = self._headless.hidden(ids.to(self.device), mask.long())
            packed = hidden[mask].to(self.dtype)
        with torch.inference_mode():
            found = splade_head.weights(
                packed, starts.to(self.device), self._weight, self._bias, self.activation
            )
        weights: Float32Array = found.cpu().numpy()
        return weights


def headless(model: Any, file: Path) -> HeadlessModel:
    """A model in float32 without its head, after a look that the head is a product and no more.

    Raises:
        InputError: logits that are scaled or capped afterwards, or no vocabulary head.
    """
    import torch

    with torch.inference_mode():
        probe = torch.arange(6, device=model.device)[None] % model.config.vocab_size
        mask = torch.ones_like(probe)
        expected = model(input_ids=probe, attention_mask=mask).logits[0]
        found = HeadlessModel(model, file)
        hidden = found.hidden(probe, mask)[0]
        own = torch.nn.functional.linear(hidden, found.head.weight, found.bias)
    if not torch.allclose(own, expected, rtol=1e-4, atol=1e-4):
        raise InputError(
            "does more than a product after its last hidden state (a cap or a scale on its "
            "logits), which is not known here",
            file=file,
        )
    return found


def refuse_missing(names: Iterable[str], folder: Path) -> None:
    """Raise InputError for weights that a checkpoint lacks: they would be random numbers."""
    missing = sorted(names)
    if missing:
        raise InputError(
            f"the weights lack {', '.join(missing[:3])}: they would be random numbers", file=folder
        )


def batches(lengths: Int64Array) -> Iterator[Int64Array]:
    """Texts by falling length, so many at once that their padded tokens fit a batch."""
    order = np.argsort(-lengths, kind="stable")[: np.count_nonzero(lengths)]
    first = 0
    while first < len(order):
        many = max(1, BATCH_TOKENS // int(lengths[order[first]]))
        yield order[first : first + many]
        first += many


def vocabulary_of(folder: Path) -> int:
    """How many terms a model has, from its settings."""
    size = read_json(folder / "config.json").get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise InputError(f"says no vocab_size, got {size!r}", file=folder / "config.json")
    return size


def window_of(folder: Path) -> int:
    """How many tokens of a text the model reads, from its files."""
    limits = []
    for name, key in (
        ("sentence_bert_config.json", "max_seq_length"),
        ("tokenizer_config.json", "model_max_length"),
    ):
        file = folder / name
        value = read_json(file).get(key) if file.is_file() else None
        if isinstance(value, int | float) and 0 < value < 1 << 20:
            limits.append(int(value))
    config = read_json(folder / "config.json")
    positions = config.get("max_position_embeddings")
    if isinstance(positions, int):
        before = config.get("pad_token_id") or 0
        roberta = config.get("model_type") in ("roberta", "xlm-roberta", "camembert")
        limits.append(positions - (before + 1 if roberta else 0))
    return min(limits, default=512)
