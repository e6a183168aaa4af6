"""The target model over the slots: a prefill of packed prompts, and forwards over drafts.

A draft is verified by the kernel of :mod:`.attention` where the model lets it; prompts, longer than
the kernel takes, and models that attend in a way of their own get masks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ....contracts import BoolArray, Int64Array
from ....kernels import tree_attention
from ....kernels.tree_attention import MOST_NODES, bits
from . import attention
from .attention import Tree
from .cache import Slots
from .capability import Layout, NotInSlotsError, agree, layout
from .masks import additive, windowed
from .packing import Packed, pack, seen

_CHUNK = 512
"""Columns of a prefill that are computed at once: it bounds the mask, and what a cancel waits."""


def agreed(model: Any) -> Target:
    """A target that computes what the model does, by the kernel if it can.

    Raises :class:`~.capability.NotInSlotsError` for a model that cannot be decoded in slots.
    """
    masked = Target(model)
    if attention.install(model):
        target = Target(model, by_kernel=True)
        try:
            agree(target, model)
        except NotInSlotsError:
            model.set_attn_implementation("sdpa")
        else:
            return target
    agree(masked, model)
    return masked


class Target:
    """A causal language model of transformers, with what its masks look like.

    ``by_kernel``: drafts attend by the kernel, which the model has been told of.
    """

    def __init__(self, model: Any, *, by_kernel: bool = False) -> None:
        self.layout: Layout = layout(model)
        self.by_kernel = by_kernel
        self._model = model

    def verify(self, slots: Slots, tokens: Int64Array, ancestors: BoolArray) -> Any:
        """Logits (rows, n, vocabulary), for tokens (rows, n) whose slots are set.

        They see what the slots hold, and of each other their ``ancestors`` (rows, n, n).
        """
        import torch

        alone = tokens.shape[1] == 1 and self._model.device.type == "cpu"  # sdpa is faster there
        if not self.by_kernel or alone or tokens.shape[1] > MOST_NODES:
            return self.forward(slots, tokens, slots.seen(ancestors))

        def placed(array: Any) -> Any:
            return torch.from_numpy(array).to(self._model.device)

        held, own = placed(slots.holds()), placed(bits(ancestors))
        positions = placed(slots.positions[: slots.rows, : slots.used])
        query_positions = placed(slots.writing_positions)
        visible = {
            kind: tree_attention.seen(
                held, own, window=window, positions=positions, query_positions=query_positions
            )
            for kind, window in self.layout.windows.items()
        }
        # no mask of transformers' making: one of four dimensions is handed down, and not read
        unread = torch.full((1, 1, 1, 1), torch.nan, device=self._model.device)
        masks = dict.fromkeys(visible, unread)
        return self._logits(slots, tokens, masks, tree=Tree(self.layout, visible))

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
        positions = slots.writing_positions
        keys = slots.positions[: slots.rows, : slots.used]
        masks = {
            kind: additive(
                attends if window is None else windowed(attends, positions, keys, window),
                model.dtype,
                model.device,
            )
            for kind, window in self.layout.windows.items()
        }
        if columns is None:
            return self._logits(slots, tokens, masks)
        if not self.layout.keeps_logits:
            return self._logits(slots, tokens, masks)[:, list(columns)]
        wanted = torch.tensor(columns, device=model.device)
        return self._logits(slots, tokens, masks, logits_to_keep=wanted)

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
        slots.moving_seconds += filling.moving_seconds
        return slots, last

    def log_likelihood(
        self,
        prompts: Sequence[Int64Array],
        continuations: Sequence[Int64Array],
        between: Callable[[], None],
    ) -> list[float]:
        """See :meth:`~.engine.Decoder.log_likelihood`; one continuation at least is not empty."""
        import torch

        width = max(map(len, continuations))
        tokens = np.zeros((len(prompts), width), np.int64)
        for row, continuation in enumerate(continuations):
            tokens[row, : len(continuation)] = continuation
        slots, first = self.prefill(prompts, width, between)
        between()
        slots.reserve(np.array([[len(prompt)] for prompt in prompts]) + np.arange(width))
        chain = np.broadcast_to(np.tri(width, dtype=np.bool_), (len(prompts), width, width))
        rest = self.verify(slots, tokens, chain)
        logits = torch.cat([torch.stack(first)[:, None], rest[:, :-1]], dim=1).float()
        ids = torch.from_numpy(tokens).to(logits.device)
        scores = logits.gather(-1, ids[..., None])[..., 0] - logits.logsumexp(-1)
        return [
            float(scores[row, : len(continuation)].double().sum())
            for row, continuation in enumerate(continuations)
        ]

    def _logits(
        self, slots: Slots, tokens: Int64Array, masks: Mapping[str, Any], **more: Any
    ) -> Any:
        import torch

        model = self._model
        return model(
            input_ids=torch.from_numpy(tokens).to(model.device),
            position_ids=torch.from_numpy(slots.writing_positions).to(model.device),
            attention_mask=next(iter(masks.values())) if len(masks) == 1 else masks,
            past_key_values=slots.cache,
            use_cache=True,
            **more,
        ).logits

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
