"""A model with a smaller vocabulary head: drafts need few words (VocabTrim, 2506.22694).

In small models the head is much of the work. A twin that shares every other weight with the model
computes logits for chosen tokens alone; tokens that are left out are never drafted, which costs
acceptance and never correctness.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

import numpy as np

from ....contracts import Int64Array


def frequent(texts: Iterable[Int64Array], count: int) -> tuple[int, ...]:
    """The tokens that texts use most, ascending; of equally frequent ones the lower first."""
    seen: Counter[int] = Counter()
    for tokens in texts:
        seen.update(tokens.tolist())
    ranked = sorted(seen, key=lambda token: (-seen[token], token))
    return tuple(sorted(ranked[:count]))


def trimmed(model: Any, ids: Int64Array) -> Any:
    """A twin of a model of transformers whose logits are those of ``ids`` (n,) int64, in order."""
    import torch

    head = model.get_output_embeddings()
    rows = torch.from_numpy(np.asarray(ids, np.int64)).to(head.weight.device)
    small = torch.nn.utils.skip_init(
        torch.nn.Linear, head.in_features, len(ids), bias=head.bias is not None,
        dtype=head.weight.dtype, device=head.weight.device,
    )  # fmt: skip
    small.requires_grad_(False)
    small.weight.copy_(head.weight.detach()[rows])
    if head.bias is not None:
        small.bias.copy_(head.bias.detach()[rows])
    twin = copy.copy(model)
    twin._modules = dict(model._modules)  # else the model itself would get the smaller head
    twin.set_output_embeddings(small)
    return twin
