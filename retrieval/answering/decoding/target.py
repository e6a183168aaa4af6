"""The target model over the slots: a prefill of packed prompts, and forwards over drafts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ....contracts import BoolArray, Int64Array
from .cache import Slots
from .capability import Layout, layout
from .masks import additive, windowed
from .packing import Packed, pack, seen

_CHUNK = 512
"""Columns of a prefill that are computed at once: it bounds the mask, and what a cancel waits."""


class Target:
    """A causal language model of transformers, with what its masks look like."""

    def __init__(self, model: Any) -> None:
        self.layout: Layout = layout(model)
        self._model = model

    def forward(
        self,
        slots: Slots,
        tokens: Int64Array,
        attends: BoolArray,
        columns: Sequence[int] | None = None,
    ) -> Any:
        """Logits (rows, n or len(columns), vocabulary), for tokens (rows, n) whose slots are set.

        ``attends``: (rows, n, slots in use). ``columns``: the tokens whose logits are wanted.
        """
        import torch

        model = self._model
        device = model.device
        positions = np.take_along_axis(slots.positions[: slots.rows], slots.writing, axis=1)
        keys = slots.positions[: slots.rows, : slots.used]
        masks = {
            kind: additive(
                attends if window is None else windowed(attends, positions, keys, window),
                model.dtype,
                device,
            )
            for kind, window in self.layout.windows.items()
        }
        wanted = {}
        if columns is not None and self.layout.keeps_logits:
            wanted = {"logits_to_keep": torch.tensor(columns, device=device)}
        logits = model(
            input_ids=torch.from_numpy(tokens).to(device),
            position_ids=torch.from_numpy(positions).to(device),
            attention_mask=next(iter(masks.values())) if len(masks) == 1 else masks,
            past_key_values=slots.cache,
            use_cache=True,
            **wanted,
        ).logits
        if columns is not None and not wanted:
            logits = logits[:, list(columns)]
        return logits

    def prefill(
        self, prompts: Sequence[Int64Array], room: int, between: Callable[[], None]
    ) -> tuple[Slots, list[Any]]:
        """The prompts' cache, with room for as many tokens each, and their last logits.

        ``between`` is called before each part of the work, and may raise to end it.
        """
        packed = pack(prompts)
        alone = len(prompts) == 1
        bins, columns = packed.tokens.shape
        filling = Slots(bins, packed.shared + columns + (room if alone else 0))
        if packed.shared:
            first = pack([prompts[0][: packed.shared]])
            beginning = Slots(1, packed.shared)
            self._fill(beginning, first, between)
            for number in range(bins):
                filling.copy(number, beginning, 0, 0, packed.shared)
        last = self._fill(filling, packed, between)
        if alone:
            return filling, last
        slots = Slots(len(prompts), max(map(len, prompts)) + room)
        for row, (place, prompt) in enumerate(zip(packed.places, prompts, strict=True)):
            slots.copy(row, filling, place.bin, 0, packed.shared)
            own = len(prompt) - packed.shared
            slots.copy(row, filling, place.bin, packed.shared + place.column, own)
        return slots, last

    def log_likelihood(
        self, prompts: Sequence[Int64Array], continuations: Sequence[Int64Array]
    ) -> list[float]:
        """See :meth:`~.engine.Decoder.log_likelihood`; one continuation at least is not empty."""
        import torch

        width = max(map(len, continuations))
        tokens = np.zeros((len(prompts), width), np.int64)
        for row, continuation in enumerate(continuations):
            tokens[row, : len(continuation)] = continuation
        slots, first = self.prefill(prompts, width, lambda: None)
        slots.reserve(np.array([[len(prompt)] for prompt in prompts]) + np.arange(width))
        chain = np.broadcast_to(np.tri(width, dtype=np.bool_), (len(prompts), width, width))
        rest = self.forward(slots, tokens, slots.seen(chain))
        logits = torch.cat([torch.stack(first)[:, None], rest[:, :-1]], dim=1).float()
        ids = torch.from_numpy(tokens).to(logits.device)
        scores = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
        return [
            float(scores[row, : len(continuation)].double().sum())
            for row, continuation in enumerate(continuations)
        ]

    def _fill(self, slots: Slots, packed: Packed, between: Callable[[], None]) -> list[Any]:
        """Compute all columns; the logits (vocabulary,) of each prompt's last token."""
        ends = {}
        for row, place in enumerate(packed.places):
            own = int((packed.segments[place.bin] == row).sum())
            ends[row] = (place.bin, place.column + own - 1)
        last: list[Any] = [None] * len(ends)
        for begin in range(0, packed.tokens.shape[1], _CHUNK):
            between()
            end = min(begin + _CHUNK, packed.tokens.shape[1])
            here = {row: at for row, at in ends.items() if begin <= at[1] < end}
            columns = sorted({column - begin for _, column in here.values()}) or [0]
            slots.reserve(packed.positions[:, begin:end])
            attends = seen(packed, begin, end)
            logits = self.forward(slots, packed.tokens[:, begin:end], attends, columns)
            for row, (number, column) in here.items():
                last[row] = logits[number, columns.index(column - begin)]
            for number in range(len(packed.tokens)):
                slots.keep(number, range(end - begin))
        return last
