"""A vocabulary head for a backbone that has none: tied to its input embeddings, and useful at once.

A random head over 30,000 terms fires everywhere or nowhere, and training spends its first hours, or
its life, on that. This one starts as an exact-match engine. Its transform is the ridge regression
from the backbone's hidden states to the whitened embedding of the token each belongs to, so the
tied product is largest at the token itself and next at its neighbours. Each term's bias is set from
the logits that the term has in texts without it, so that a text fires its own tokens and about as
many others as asked; one scale brings a text's own tokens to logits of about 2.

BERT's head is dense -> GELU -> layer norm -> product. GELU is linear enough far to the right, so
the dense layer works at an offset, which the norm takes away again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...errors import InputError
from ...kernels import splade_head
from ..encoders.loading import _quiet

SAMPLE_TEXTS = 512
SAMPLE_TOKENS = 96
OWN_LOGIT = 2.0
"""What the median token of a text gets for itself, above its bias."""
_OFFSET = 3.0
_SPREAD = 0.7
_RIDGE = 1e-2


def tie_head(folder: Path, tokenizer: Any, texts: Sequence[str], *, active: int = 150) -> Any:
    """A ``BertForMaskedLM`` over the backbone in ``folder``, its head made as above.

    ``tokenizer``: the backbone's, of transformers. ``texts``: some hundreds like those it will
    encode. ``active``: terms that a text fires beside its own, about.

    Raises:
        InputError: not a BERT, or too few texts (fewer than 32).
    """
    import torch
    from transformers import AutoConfig, BertForMaskedLM, BertModel

    config = AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if config.model_type != "bert":
        raise InputError(
            f"a head is tied to BERT backbones, this is a {config.model_type}; give a checkpoint "
            "that has a vocabulary head",
            file=folder,
        )
    if len(texts) < 32:
        raise InputError(f"needs 32 texts or more to set the head by, got {len(texts)}")
    config.tie_word_embeddings = True
    with _quiet():
        backbone = BertModel.from_pretrained(
            str(folder),
            local_files_only=True,
            use_safetensors=True,
            dtype=torch.float32,
            add_pooling_layer=False,
        )
        model = BertForMaskedLM(config)
        model.bert = backbone
        model.tie_weights()
    model.eval()
    step = max(1, len(texts) // SAMPLE_TEXTS)
    with torch.no_grad():
        hidden, ids, starts = _states(model, tokenizer, list(texts)[::step][:SAMPLE_TEXTS])
        words = ~torch.isin(ids, torch.tensor(sorted(set(tokenizer.all_special_ids))))
        _set_transform(model, hidden[words], ids[words])
        _set_bias(model, hidden, ids, words, starts, active)
    return model


def _states(model: Any, tokenizer: Any, texts: Sequence[str]) -> tuple[Any, Any, Any]:
    """The backbone's states of the texts' tokens, special ones too, packed; their ids; starts."""
    import torch

    states, numbers, lengths = [], [], []
    for first in range(0, len(texts), 32):
        batch = tokenizer(
            list(texts[first : first + 32]),
            truncation=True,
            max_length=SAMPLE_TOKENS,
            padding=True,
            return_tensors="pt",
        )
        found = model.bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state
        own = batch["attention_mask"].bool()
        states.append(found[own])
        numbers.append(batch["input_ids"][own])
        lengths.append(own.sum(1))
    starts = torch.zeros(sum(map(len, lengths)) + 1, dtype=torch.int64)
    torch.cumsum(torch.cat(lengths), 0, out=starts[1:])
    return torch.cat(states), torch.cat(numbers), starts


def _set_transform(model: Any, hidden: Any, ids: Any) -> None:
    """Ridge regression: a state -> the whitened embedding of its token (see the top)."""
    import torch

    embeddings = model.get_input_embeddings().weight.double()
    centred = embeddings - embeddings.mean(0)
    covariance = centred.T @ centred / len(centred)
    eye = torch.eye(len(covariance), dtype=torch.float64)
    ridge = _RIDGE * covariance.diagonal().mean() * eye
    whitened = torch.nn.functional.normalize(
        torch.linalg.solve(covariance + ridge, centred[ids].T).T, dim=1
    )
    states = hidden.double()
    middle, target = states.mean(0), whitened.mean(0)
    states, whitened = states - middle, whitened - target
    gram = states.T @ states / len(states)
    gram = gram + _RIDGE * gram.diagonal().mean() * eye
    matrix = torch.linalg.solve(gram, states.T @ whitened / len(states)).T
    spread = (states @ matrix.T).std()
    transform = model.cls.predictions.transform
    transform.dense.weight.copy_((matrix * (_SPREAD / spread)).float())
    transform.dense.bias.copy_((_OFFSET - (matrix @ middle) * (_SPREAD / spread)).float())
    transform.LayerNorm.weight.fill_(1.0)
    transform.LayerNorm.bias.zero_()


def _set_bias(model: Any, hidden: Any, ids: Any, words: Any, starts: Any, active: int) -> None:
    """Per term, mean + c deviations of its largest logits in texts without it; c by bisection.

    ``words``: which tokens are no special ones. Those are pooled like the others, so their logits
    count here; but nobody wants them fired for themselves.
    """
    import torch

    predictions = model.cls.predictions
    head = model.get_output_embeddings()
    transformed = predictions.transform(hidden)
    largest, _ = splade_head.maxima(transformed, starts, head.weight.detach(), None)
    texts = torch.repeat_interleave(torch.arange(len(starts) - 1), starts.diff())
    present = torch.zeros_like(largest, dtype=torch.bool)
    present[texts, ids] = True
    others = torch.where(present, torch.nan, largest)
    others = others[starts.diff() > 0]
    mean = others.nanmean(0)
    deviation = (others - mean).square().nanmean(0).sqrt()
    common = others.isnan().sum(0) > 0.9 * len(others)  # in nearly every text: no background seen
    mean[common], deviation[common] = mean[~common].mean(), deviation[~common].mean()
    low, high = 0.0, 20.0
    for _ in range(30):
        middle = (low + high) / 2
        fired = (others > mean + middle * deviation).sum(1).double().mean()
        low, high = (middle, high) if fired > active else (low, middle)
    threshold = mean + high * deviation
    own = ((transformed * head.weight[ids]).sum(1) - threshold[ids])[words]
    scale = OWN_LOGIT / max(float(own.median()), 1e-3)
    predictions.transform.LayerNorm.weight.mul_(scale)
    head.bias.copy_(-threshold * scale)
