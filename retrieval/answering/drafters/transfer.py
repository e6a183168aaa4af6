"""RAPID's knowledge transfer: LOSSY, another law than the target's, and never a default.

The draft model on the shortened prompt may know better than the target on the whole one, so the
target's logits z are moved towards it (2502.20330, section 3.3)::

    z - eta * 1[q >= 0.1 max q] * (softmax(z) - q)

with the draft's law q. RAPID's own rejection step then samples from neither that law nor the
target's; here it is a logits processor, so that the text has exactly the law that is written above,
drafted or not. An answer made with it must say so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ....contracts import Int64Array
from ....errors import InputError
from ....rankers.checks import check_integer, check_number
from ....rankers.language_models.local import LocalModel
from ..decoding.types import Float64Array, Prompt
from .model import shortened
from .reader import Reader

PLAUSIBLE = 0.1


def transferred(target: Float64Array, draft: Float64Array, eta: float) -> Float64Array:
    """The target's logits (vocabulary,), moved towards the law of the draft's logits."""
    p, q = (np.exp(logits - logits.max()) for logits in (target, draft))
    p, q = p / p.sum(), q / q.sum()
    moved: Float64Array = target - eta * (q >= PLAUSIBLE * q.max()) * (p - q)
    return moved


@dataclass(frozen=True, slots=True)
class KnowledgeTransfer:
    """Lossy: the answer's law is moved towards that of a model on the shortened prompt.

    ``model``: has the target's vocabulary exactly. ``eta``: how far; RAPID takes 5 to 10.
    ``context_tokens``: of the prompt that the model reads.
    """

    kind: ClassVar[str] = "lossy_knowledge_transfer"
    model: LocalModel
    eta: float = 5.0
    context_tokens: int = 1024

    def __post_init__(self) -> None:
        check_number("eta", self.eta, 0, 100)
        check_integer("context_tokens", self.context_tokens, 16, 1 << 22)

    def processor(self, prompts: Sequence[Prompt]) -> Any:
        """The logits processor of these prompts' answers, one row at a time.

        It is called with (ids (1, n), scores (1, vocabulary)) and knows a prompt by its tokens.
        """
        return _Processor(self, self.model.loaded().model, prompts)


class _Processor:
    def __init__(self, settings: KnowledgeTransfer, model: Any, prompts: Sequence[Prompt]) -> None:
        self._eta = settings.eta
        longest_first = sorted(prompts, key=lambda prompt: -len(prompt.tokens))
        self._rows = [_Row(model, prompt, settings.context_tokens) for prompt in longest_first]

    def __call__(self, ids: Any, scores: Any) -> Any:
        import torch

        text = ids[0].cpu().numpy()
        row = next((row for row in self._rows if row.begins(text)), None)
        if row is None:
            raise InputError("is none of those the processor was made for", field="prompt")
        draft = row.logits(text)
        if len(draft) != scores.shape[1]:
            raise InputError(
                f"the model has {len(draft):,} tokens and the target {scores.shape[1]:,}: "
                "knowledge is transferred between models of one vocabulary",
                field="model",
            )
        moved = transferred(scores[0].double().cpu().numpy(), draft, self._eta)
        return torch.from_numpy(moved).to(scores)[None]


class _Row:
    """What the model has read of one prompt's answer."""

    def __init__(self, model: Any, prompt: Prompt, context_tokens: int) -> None:
        self._model = model
        self._prompt = prompt.tokens
        self._short = shortened(prompt, context_tokens)
        self._reader = Reader(model)
        self._answer: Int64Array | None = None
        self._logits: Float64Array = np.zeros(0)

    def begins(self, text: Int64Array) -> bool:
        """Whether a text is an answer to this prompt."""
        return np.array_equal(text[: len(self._prompt)], self._prompt)

    def logits(self, text: Int64Array) -> Float64Array:
        """After the answer so far; where a text goes back, it is read anew."""
        answer, read = text[len(self._prompt) :], self._answer
        if read is not None and np.array_equal(answer[: len(read)], read):
            new = answer[len(read) :]
        else:
            self._reader = Reader(self._model)
            new = np.concatenate([self._short, answer])
        if len(new):
            self._logits = self._reader.read(new)
        self._answer = answer
        return self._logits
