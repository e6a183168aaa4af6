"""A forward's few tokens attend by ``kernels/tree_attention``, as an attention of transformers'.

A model is told once to compute attention by an implementation of ours. It is torch's own, sdpa, for
whoever calls the model; but a forward that is given a ``tree`` goes to the kernel, which reads from
the slots what is seen, copies no key head for the query heads that share it, and needs no mask. The
tree travels as an argument that transformers hands down to attention as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ....kernels import tree_attention
from .capability import Layout

NAME = "cormorant_tree"
_BEYOND = ("softcap", "s_aux", "position_bias")
"""What some models add to attention, and the kernel does not."""


class Tree(NamedTuple):
    """What the tokens of a forward see in the layers of each kind."""

    layout: Layout
    visible: Mapping[str, tree_attention.Seen]


def install(model: Any) -> bool:
    """Whether the model, which computes by sdpa, now computes by sdpa or a ``tree``."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        AttentionInterface.register(NAME, attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)
    return bool(model.config._attn_implementation == NAME)


def attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    scaling: float | None = None,
    tree: Tree | None = None,
    **more: Any,
) -> tuple[Any, None]:
    """An attention function of transformers; the result is (rows, n, heads, width).

    Raises ValueError for what the kernel does not compute.
    """
    if tree is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Any, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **more
        )
        return found
    beyond = [name for name in _BEYOND if more.get(name) is not None]
    if beyond:
        raise ValueError(f"attention with {beyond[0]} is not that of the kernel")
    visible = tree.visible[tree.layout.kind(module.layer_idx)]
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    made = tree_attention.attend(query, key, value, visible, scale=scale)
    return made.transpose(1, 2).contiguous(), None
