"""A cross-encoder's last layer that begins as late interaction between the two texts it read.

A backbone that made sentence vectors knows nothing of pairs, but its tokens' states already match:
with query and passage read together, the best matches of the query's tokens among the passage's
order passages nearly as well as the sentence vectors do. So the score is

    scale * sum over query tokens of importance * max over passage tokens of cosine  +  w . mean

where importances (a softmax over the query's tokens) begin equal and ``w``, over the mean of all
states, begins at 0. Maximum similarity: Khattab and Zaharia, "ColBERT", SIGIR 2020, equation 3;
here the states have seen the other text.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

FIRST_SCALE = 20.0
"""Cosines of one query's passages differ by some hundredths, logits should by about one."""


@functools.cache
def token_match_class() -> Any:
    """The module; made when first used, so that torch is not imported with this one."""
    import torch
    from sentence_transformers.base.modules import Module
    from torch.nn import Linear, Parameter, functional

    class TokenMatch(Module):  # type: ignore[misc]
        """States of tokens (n, tokens, size) -> ``scores`` (n, 1) float32."""

        config_keys = ["size", "separator"]  # noqa: RUF012 - as sentence-transformers has it

        def __init__(self, size: int, separator: int) -> None:
            """``separator``: the token that ends the query."""
            super().__init__()
            self.size, self.separator = size, separator
            self.importance, self.whole = Linear(size, 1), Linear(size, 1)
            for layer in (self.importance, self.whole):
                torch.nn.init.zeros_(layer.weight)
                torch.nn.init.zeros_(layer.bias)
            self.scale = Parameter(torch.tensor(math.log(FIRST_SCALE)))

        def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
            """In float32 whatever the backbone computes in: bfloat16 would make ties."""
            states = features["token_embeddings"]
            with torch.autocast(states.device.type, enabled=False):
                states = states.float()
                there = features["attention_mask"] > 0
                ends = features["input_ids"] == self.separator
                passage = (ends.cumsum(1) - ends.long() > 0) & there
                query = ~passage & there
                longest = int(query.sum(1).max())  # queries stand first: the rest need no products
                directions = functional.normalize(states, dim=2)
                cosines = directions[:, :longest] @ directions.transpose(1, 2)
                best = cosines.masked_fill(~passage[:, None], -1.0).amax(2)
                logits = self.importance(states[:, :longest])[:, :, 0]
                weights = logits.masked_fill(~query[:, :longest], -torch.inf).softmax(1)
                mean = (states * there[..., None]).sum(1) / there.sum(1, keepdim=True)
                match = self.scale.exp() * (weights * best).sum(1, keepdim=True)
                features["scores"] = match + self.whole(mean)
            return features

        def save(self, output_path: str, *args: Any, **kwargs: Any) -> None:
            """Settings as JSON, weights as safetensors."""
            self.save_config(output_path)
            self.save_torch_weights(output_path, safe_serialization=True)

    return TokenMatch


NAME = "cormorant.rankers.token_match.TokenMatch"
"""As ``modules.json`` has it."""


def load_token_match(folder: Path) -> Any:
    """The layer that was saved in a folder.

    Raises OSError, ValueError, KeyError, TypeError or RuntimeError for what is no such layer.
    """
    import json

    from safetensors.torch import load_file

    settings = json.loads((folder / "config.json").read_text())
    module = token_match_class()(settings["size"], settings["separator"])
    module.load_state_dict(load_file(folder / "model.safetensors"))
    return module
