"""From a model's logits to what the next token is chosen by: processors, then the sampling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .types import Float64Array, Sampling


class Processing:
    """Logits processors in the order that transformers has: those given, then the warpers.

    ``sees_no_tokens``: there are none but warpers, which do the same behind any text.
    """

    def __init__(self, sampling: Sampling, processors: Sequence[Any] | None) -> None:
        warpers = _warpers(sampling)
        self._processors = [*(processors or ()), *warpers]
        self.does_nothing = not self._processors
        self.sees_no_tokens = len(self._processors) == len(warpers)

    def __call__(self, tokens: Sequence[int], logits: Any) -> Any:
        """The processed logits (vocabulary,) float32 behind the tokens of prompt and answer."""
        import torch

        scores = logits.to(torch.float32, copy=True)[None]  # some processors write in place
        if self._processors:
            ids = torch.tensor([tokens], device=logits.device)
            for processor in self._processors:
                scores = processor(ids, scores)
        return scores[0]

    def of_all(self, logits: Any) -> Any:
        """Of (rows, n, vocabulary), the same float32, by warpers alone."""
        scores = logits.flatten(0, 1).float()
        for warper in self._processors:
            scores = warper(None, scores)
        return scores.view(logits.shape)


def law(processed: Any) -> Float64Array:
    """The law (vocabulary,) float64 of processed logits."""
    scores = processed.double().cpu().numpy()
    weights = np.exp(scores - scores.max())
    result: Float64Array = weights / weights.sum()
    return result


def _warpers(sampling: Sampling) -> list[Any]:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    if sampling.temperature == 0:
        return []
    warpers: list[Any] = []
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k is not None:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p is not None and sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
