"""What a token may attend to, as the additive mask that transformers adds to attention scores."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....contracts import BoolArray, Int64Array


def windowed(
    seen: BoolArray, query_positions: Int64Array, key_positions: Int64Array, window: int
) -> BoolArray:
    """``seen`` (rows, queries, keys) less what lies ``window`` positions back or more.

    Positions, (rows, queries) and (rows, keys), and not slots say how far back a key is.
    """
    near = key_positions[:, None, :] > query_positions[:, :, None] - window
    result: BoolArray = seen & near
    return result


def additive(seen: BoolArray, dtype: Any, device: Any) -> Any:
    """(rows, 1, queries, keys) on the device: 0 where seen, the least number elsewhere.

    Eager attention adds a mask, so one of booleans would be silently wrong there; this one is
    right for eager and sdpa alike.
    """
    import torch

    hidden = torch.from_numpy(~np.ascontiguousarray(seen)).to(device)[:, None]
    mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
    return mask.masked_fill_(hidden, torch.finfo(dtype).min)
