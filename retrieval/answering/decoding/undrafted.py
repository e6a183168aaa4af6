"""Models that only their own cache serves (recurrent, hybrid, biased by distance): plain decoding.

``generate`` of transformers runs the model, whatever it is, one row at a time; a row of ours
chooses each token, so that processors, draws, stop strings and all that is reported are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import copy
from typing import Any

from ....contracts import Int64Array
from .row import Row
from .sampled import Choices


def decode(
    model: Any,
    row: Row,
    between: Callable[[], None],
    on_tokens: Callable[[int, Sequence[int]], None],
) -> None:
    """Decode a row to its end; ``between`` steps something may raise."""
    import torch
    from transformers import GenerationConfig

    own = copy(model)  # with the model's own configuration, generate would penalise, ban and force
    own.generation_config = GenerationConfig()
    prompt = torch.from_numpy(row.prompt.tokens)[None].to(model.device)

    def choose(ids: Any, scores: Any) -> Any:
        between()
        best = Choices(scores.argmax(-1).tolist(), scores) if row.chooses_by_argmax else None
        new = row.verify(scores, best)
        if new:
            on_tokens(row.number, new)
        forced = torch.full_like(scores, -torch.inf)
        forced[0, new[-1] if new else 0] = 0.0
        return forced

    def ended(ids: Any, scores: Any, **_: Any) -> Any:
        return torch.tensor([row.stopped is not None], device=ids.device)

    own.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        max_new_tokens=row.limit,
        do_sample=False,
        logits_processor=[choose],
        stopping_criteria=[ended],
        pad_token_id=0,
    )


def log_likelihood(
    model: Any, prompt: Int64Array, continuation: Int64Array, between: Callable[[], None]
) -> float:
    """See :meth:`~.engine.Decoder.log_likelihood`; ``between`` steps something may raise."""
    import torch

    between()
    ids = torch.tensor([[*prompt.tolist(), *continuation.tolist()]], device=model.device)
    scores = model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)
    chosen = scores.gather(-1, ids[0, len(prompt) :, None])
    return float(chosen.double().sum())
