"""What ``cormorant bench drafting`` measures: a batch of prompts in, texts and their cost out."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ...contracts import Float32Array
from ...retrieval.answering.decoding.engine import Decoder
from ...retrieval.answering.decoding.types import (
    Budget,
    Draft,
    Drafter,
    Drafting,
    Prompt,
    Sampling,
    Tools,
)

MAX_TOKENS = 96


class Done(NamedTuple):
    """Texts as tokens (the end token left out), what was emitted in all, forwards and seconds.

    ``emitted``: tokens, end tokens included. ``forwards``: of the target, summed over the rows that
    took part in them. ``realigning``: the share of the time that went into moving the cache;
    ``beyond_plain``: texts that took more forwards than they have tokens; None for other systems.
    """

    texts: list[tuple[int, ...]]
    emitted: int
    forwards: int
    seconds: float
    realigning: float | None = None
    beyond_plain: int | None = None


System = Callable[[Sequence[Prompt]], Done]


def ours(decoder: Decoder, drafters: Sequence[Drafter]) -> System:
    """Cormorant's decoder with these drafters."""

    def run(batch: Sequence[Prompt]) -> Done:
        began = time.perf_counter()
        made = decoder.generate(batch, Sampling(max_tokens=MAX_TOKENS), drafters)
        seconds = time.perf_counter() - began
        statistics = [row.statistics for row in made]
        return Done(
            [row.tokens for row in made],
            sum(one.plain_forwards for one in statistics),
            sum(one.forwards for one in statistics),
            seconds,
            max(one.realignment_share for one in statistics),
            sum(one.forwards > one.plain_forwards for one in statistics),
        )

    return run


def transformers_batch(model: Any, tokenizer: Any) -> System:
    """Plain ``generate`` of transformers over a padded batch."""

    def run(batch: Sequence[Prompt]) -> Done:
        import torch

        width = max(len(prompt.tokens) for prompt in batch)
        ids = torch.full((len(batch), width), padding_of(tokenizer))
        mask = torch.zeros_like(ids)
        for row, prompt in enumerate(batch):
            ids[row, width - len(prompt.tokens) :] = torch.from_numpy(prompt.tokens)
            mask[row, width - len(prompt.tokens) :] = 1
        return _generated(model, tokenizer, ids, mask, {})

    return run


def transformers_rows(model: Any, tokenizer: Any, settings: dict[str, Any]) -> System:
    """``generate`` row by row, as its drafting takes no batch."""

    def run(batch: Sequence[Prompt]) -> Done:
        import torch

        alone = []
        for prompt in batch:
            ids = torch.from_numpy(prompt.tokens)[None]
            alone.append(_generated(model, tokenizer, ids, torch.ones_like(ids), settings))
        return Done(
            [text for one in alone for text in one.texts],
            sum(one.emitted for one in alone),
            sum(one.forwards for one in alone),
            sum(one.seconds for one in alone),
        )

    return run


def _generated(model: Any, tokenizer: Any, ids: Any, mask: Any, settings: dict[str, Any]) -> Done:
    forwards = 0

    def count(*_: Any) -> None:
        nonlocal forwards
        forwards += 1

    hook = model.register_forward_pre_hook(count)
    began = time.perf_counter()
    try:
        made = model.generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            max_new_tokens=MAX_TOKENS,
            do_sample=False,
            pad_token_id=padding_of(tokenizer),
            **settings,
        )
    finally:
        hook.remove()
    seconds = time.perf_counter() - began
    ends = model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    texts, emitted = [], 0
    for row in made[:, ids.shape[1] :].tolist():
        stop = next((place for place, token in enumerate(row) if token in ends), len(row))
        texts.append(tuple(row[:stop]))
        emitted += min(stop + 1, len(row))
    # of a batch every row takes part until its own end
    return Done(texts, emitted, emitted if len(texts) > 1 else forwards, seconds)


def padding_of(tokenizer: Any) -> int:
    """The token that fills a batch; the end token where a tokenizer has no other."""
    token = tokenizer.pad_token_id
    return int(tokenizer.eos_token_id if token is None else token)


def assistant_of(model: Any, given: Any | None) -> Any:
    """The model that assists; a copy of the target where there is no smaller one."""
    return copy.deepcopy(model) if given is None else given


@dataclass(frozen=True, slots=True)
class NeverRight:
    """Drafts as much as it may, and never what comes: what drafting costs that does not pay."""

    kind: ClassVar[str] = "never_right"
    wrong: int

    def begin(self, prompt: Prompt, tools: Tools) -> _Wrong:
        """One token again and again."""
        return _Wrong(self.wrong)


@dataclass(frozen=True, slots=True)
class Misled:
    """Drafts by a drafter that has read another prompt: real work, and little that comes."""

    kind: ClassVar[str] = "misled"
    drafter: Drafter
    other: Prompt = field(compare=False)

    def begin(self, prompt: Prompt, tools: Tools) -> Drafting:
        """What the drafter makes of the other prompt."""
        return self.drafter.begin(self.other, tools)


@dataclass
class _Wrong:
    wrong: int
    wants_logits: bool = field(default=False, init=False)

    def propose(self, budget: Budget) -> Draft:
        n = min(budget)
        return Draft(
            np.full(n, self.wrong), np.arange(-1, n - 1), ("never_right",) * n, (None,) * n
        )

    def commit(self, tokens: Sequence[int], logits: Float32Array | None) -> None:
        """Nothing is learnt."""
