"""Which models are decoded in slots, with drafts: those whose masks can be made here.

What a mask must look like is read from the configuration. Whether that is all there is to a model
(no recurrent state, no bias by distance, no attention of its own) is then not believed but tried,
by :func:`agree`: a few tokens through the slots and a tree, against the model's own forward.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ....errors import InputError

if TYPE_CHECKING:
    from .target import Target

_ATTENTION = ("sdpa", "eager", "cormorant_tree")
_TOLERANCES = {"float32": 1e-3, "float64": 1e-3, "bfloat16": 6e-2, "float16": 2e-2}
"""Of the largest logit; a wrong mask or position is wrong by a multiple of it."""


class NotInSlotsError(InputError):
    """A model cannot be decoded in slots; says which one and why."""


class Layout(NamedTuple):
    """The kinds of layers with the window of each (None: all that came before), by their names.

    ``layers``: the kind of each layer, or the one kind of all. ``keeps_logits``: the model can be
    told which tokens' logits are wanted.
    """

    windows: dict[str, int | None]
    layers: tuple[str, ...]
    keeps_logits: bool

    def kind(self, layer: int) -> str:
        """Of a layer, by its number."""
        return self.layers[layer if len(self.layers) > 1 else 0]


def layout(model: Any) -> Layout:
    """What a model's masks look like; raises :class:`NotInSlotsError`."""
    config = model.config.get_text_config(decoder=True)
    parameters = inspect.signature(model.forward).parameters
    missing = [
        needed
        for needed in ("position_ids", "attention_mask", "past_key_values")
        if needed not in parameters
    ]
    if missing:
        raise _refusal(model, f"takes no {missing[0]}")
    attention = model.config._attn_implementation
    if attention not in _ATTENTION:
        raise _refusal(model, f"computes attention by {attention!r}, and not by sdpa or eager")
    if _turns_by_length(config):
        raise _refusal(model, "turns positions by how long the text is (longrope)")
    layers = tuple(getattr(config, "layer_types", None) or _kinds(model, config))
    kinds = sorted(set(layers))
    others = [kind for kind in kinds if kind not in ("full_attention", "sliding_attention")]
    if others:
        raise _refusal(model, f"has layers of the kind {others[0]}")
    window = getattr(config, "sliding_window", None)
    windows = {kind: window if kind == "sliding_attention" else None for kind in kinds}
    return Layout(windows, layers, "logits_to_keep" in parameters)


def _kinds(model: Any, config: Any) -> list[str]:
    """Of a model whose configuration does not list them: one kind for all layers."""
    module = sys.modules[type(model).__module__]
    slides = hasattr(module, "create_sliding_window_causal_mask")
    windowed = slides and getattr(config, "sliding_window", None) is not None
    return ["sliding_attention" if windowed else "full_attention"]


def _turns_by_length(config: Any) -> bool:
    """Whether one long text of a batch, or a draft, changes what all tokens of a forward get.

    The trial of :func:`agree` is too short to notice.
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = (rope, *(of for of in rope.values() if isinstance(of, Mapping)))
    return any(of.get("rope_type") == "longrope" for of in kinds)


def _refusal(model: Any, what: str) -> NotInSlotsError:
    return NotInSlotsError(f"{type(model).__name__} ({model.config.model_type}) {what}")


def agree(target: Target, model: Any) -> None:
    """Try a prompt of four tokens and a tree of four, two of them siblings.

    Raises :class:`NotInSlotsError` where the logits are not the model's own.
    """
    import torch

    from .trees import depths_and_ancestors
    from .types import Draft

    vocabulary = model.get_input_embeddings().weight.shape[0]
    ids = (np.arange(8, dtype=np.int64) * 7919 + 11) % vocabulary
    parents = np.array([-1, 0, -1])
    draft = Draft(ids[5:], parents, ("probe",) * 3, (None,) * 3)
    try:
        slots, _ = target.prefill([ids[:4]], 4, lambda: None)
        depths, ancestors = depths_and_ancestors(draft, 4)
        slots.reserve(4 + depths[None])
        ours = target.verify(slots, ids[None, 4:], ancestors[None])[0]
        paths = [[0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4, 7]]
        theirs = [model(torch.from_numpy(ids[None, path]).to(model.device)) for path in paths]
    except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise _refusal(model, f"cannot be given masks and slots ({error})") from error
    for node, own in zip((2, 3), theirs, strict=True):
        wanted = own.logits[0, -1].float()
        away = float((ours[node].float() - wanted).abs().max())
        allowed = _TOLERANCES[str(model.dtype).removeprefix("torch.")]
        if not away <= allowed * float(wanted.abs().max()):
            raise _refusal(model, "computes something else when its cache is given in slots")
