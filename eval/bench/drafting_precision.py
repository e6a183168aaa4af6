"""In bfloat16: how many drafted texts part from plain ones, and how often rounding is why."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from ...documents import JsonObject
from ...retrieval.answering.decoding.engine import Decoder
from ...retrieval.answering.decoding.types import Drafter, Prompt, Sampling
from ..divergence import first_divergence


def in_bfloat16(
    model: Any,
    tokenizer: Any,
    batches: Sequence[Sequence[Prompt]],
    drafters: Sequence[Drafter],
    sampling: Sampling,
) -> JsonObject:
    """Batches with drafts against each prompt alone without, by a copy of the model."""
    import torch

    low = copy.deepcopy(model).to(torch.bfloat16)
    full = copy.deepcopy(low).float()
    decoder = Decoder(low, tokenizer)
    parted = []
    for batch in batches:
        drafted = decoder.generate(batch, sampling, drafters)
        for prompt, other in zip(batch, drafted, strict=True):
            [plain] = decoder.generate([prompt], sampling)
            parted.append(first_divergence(low, full, prompt.tokens, plain, other))
    found = [one for one in parted if one is not None]
    return {
        "texts": len(parted),
        "parted": len(found),
        "certified": sum(one.certified for one in found),
        "largest_margin": max((one.margin for one in found), default=0.0),
        "least_bound": min((one.bound for one in found), default=0.0),
    }
