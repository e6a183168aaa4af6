"""The decoder: drafts, one forward of the target a step for all rows, and what stands of them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import numpy as np

from ....contracts import Int64Array
from ....errors import DeadlineError, InputError
from . import sampled, undrafted
from .cache import Slots
from .capability import NotInSlotsError
from .experience import Experience
from .pace import Pace
from .policy import Adaptive, Always, Read, Sizing, Step, Unread
from .processing import Processing
from .row import Ending, Row
from .sampled import Choices
from .target import Target, agreed
from .trees import depths_and_ancestors
from .types import Budget, Draft, Drafter, Generation, Passage, Prompt, Sampling, Tools

_ROOM = 256
"""Tokens beyond a prompt that the cache holds before it grows."""
AT_ONCE = ("cuda",)
"""Devices where one call verifies what all rows have sampled; elsewhere each walks by itself."""
_REMEMBERED = 64
"""Sets of drafters of which a decoder remembers what it has seen of them."""
_ENOUGH = 80
"""Tokens that let whatever grows with a text grow once."""
_PATIENCE = 0.05
"""Seconds between two looks at whether an answer that waits is still wanted."""


class Decoder:
    """A causal language model of transformers and its tokenizer, decoded with drafts.

    Texts come out the same with any drafters and with none, alone and in a batch: exactly in
    float32, but for ties within its rounding. Safe to use from several threads, one at a time.
    The processors of the model's own generation configuration are applied where they are given.
    ``sizing`` makes the policy of a batch; None: :class:`~.policy.Adaptive`.

    ``undrafted``: why nothing is drafted for this model, which is then decoded plainly and row by
    row (a recurrent or hybrid one, say); None: it is drafted for. Raises
    :class:`~cormorant.errors.InputError` for a model that is not causal.
    """

    def __init__(
        self, model: Any, tokenizer: Any, *, sizing: Callable[[], Sizing] | None = None
    ) -> None:
        import torch

        if model.config.is_encoder_decoder:
            raise InputError(
                f"{type(model).__name__} is an encoder and a decoder: use a causal language model",
                field="model",
            )
        self._model = model
        self._tokenizer = tokenizer
        self._pace = Pace()
        self._experiences: OrderedDict[tuple[Drafter, ...], Experience] = OrderedDict()
        self._sizing = sizing
        self._lock = Lock()
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        config = model.config.get_text_config(decoder=True)
        self._context = int(getattr(config, "max_position_embeddings", None) or 1 << 30)
        ends = model.generation_config.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [] if ends is None else [ends])
        self._special = frozenset(tokenizer.all_special_ids) - self._ends
        self.undrafted: str | None = None
        self._target: Target | None = None
        with torch.inference_mode():
            try:
                self._target = agreed(model)
            except NotInSlotsError as refused:
                self.undrafted = str(refused)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        drafters: Sequence[Drafter] = (),
        *,
        processors: Sequence[Any] | None = None,
        on_tokens: Callable[[int, Sequence[int]], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        deadline: float | None = None,
    ) -> list[Generation]:
        """One text for each prompt, decoded together; each ends on its own.

        ``processors``: logits processors of transformers. ``on_tokens``: told (row, tokens) as they
        are committed. ``cancelled``: asked before each forward, and while another thread decodes;
        once true, what is there is returned. ``deadline``: by ``time.monotonic()``.

        Raises :class:`~cormorant.errors.InputError` for a prompt that is empty, has a token that
        the model does not know, or leaves no room for an answer, and
        :class:`~cormorant.errors.DeadlineError` once the deadline has passed.
        """
        import torch

        for prompt in prompts:
            self._check(prompt.tokens)

        between = _between(cancelled, deadline)
        processing = Processing(sampling, processors)
        rows = [
            Row(number, prompt, sampling, self._ending(prompt, sampling), processing)
            for number, prompt in enumerate(prompts)
        ]
        tell = on_tokens or (lambda row, tokens: None)
        off, moving_share = self.undrafted is not None, 0.0
        with suppress(_CancelledError), self._turn(between), torch.inference_mode():  # rows tell
            if self._target is None:
                for row in rows:
                    undrafted.decode(self._model, row, between, tell)
            elif rows:
                tools = Tools(self._vocabulary, self._special, self._ends, sampling.seed, {})
                known = self._experience(tuple(drafters))
                for row in rows:
                    row.drafted_by(drafters, tools, known)
                sizing = self._sized(drafters, known)
                batch = _Batch(self._target, rows, sampling, processing, sizing, tell)
                moving_share = batch.run(between)
                off = sizing.off
        return [row.generation(moving_share, bool(drafters) and off) for row in rows]

    def log_likelihood(
        self,
        prompts: Sequence[Prompt],
        continuations: Sequence[Int64Array],
        *,
        cancelled: Callable[[], bool] | None = None,
    ) -> list[float] | None:
        """The log-probability of each continuation behind its prompt, at temperature 1.

        ``cancelled``: as ``generate`` has it; once true, the result is None.

        Raises :class:`~cormorant.errors.InputError` as ``generate`` does.
        """
        import torch

        if len(prompts) != len(continuations):
            raise InputError(
                f"{len(prompts)} prompts have {len(continuations)} continuations: give one each",
                field="continuations",
            )
        for prompt, continuation in zip(prompts, continuations, strict=True):
            self._check(np.concatenate([prompt.tokens, continuation[:-1]]))
        if not any(map(len, continuations)):
            return [0.0] * len(prompts)
        starts = [prompt.tokens for prompt in prompts]
        between = _between(cancelled)
        with suppress(_CancelledError), self._turn(between), torch.inference_mode():
            if self._target is not None:
                return self._target.log_likelihood(starts, continuations, between)
            pairs = zip(starts, continuations, strict=True)
            return [undrafted.log_likelihood(self._model, *pair, between) for pair in pairs]
        return None

    def _experience(self, drafters: tuple[Drafter, ...]) -> Experience:
        """Of drafters with the same settings; the last few that were asked for are remembered."""
        if drafters not in self._experiences:
            self._warm(drafters)
            self._experiences[drafters] = Experience()
            if len(self._experiences) > _REMEMBERED:
                self._experiences.popitem(last=False)
        self._experiences.move_to_end(drafters)
        return self._experiences[drafters]

    def _warm(self, drafters: Sequence[Drafter]) -> None:
        """Let them compile and load what they do once: no text's account is to bear that."""
        prompt = Prompt(np.array([0, 1, 0], np.int64), (Passage("", 0, 2),))
        tools = Tools(self._vocabulary, frozenset(), frozenset(), 0, {})
        for drafter in drafters:
            drafting = drafter.begin(prompt, tools)
            drafting.commit([0] * _ENOUGH, None)
            drafting.propose(Budget(2, 2))

    def _sized(self, drafters: Sequence[Drafter], known: Experience) -> Sizing:
        if self._sizing is not None:
            return self._sizing()
        return Adaptive(self._pace, known) if drafters else Always(Budget(0, 0))

    @contextmanager
    def _turn(self, between: Callable[[], None]) -> Iterator[None]:
        """Wait for the model, asking meanwhile whether it is still wanted."""
        while not self._lock.acquire(timeout=_PATIENCE):
            between()
        try:
            yield
        finally:
            self._lock.release()

    def _ending(self, prompt: Prompt, sampling: Sampling) -> Ending:
        limit = min(sampling.max_tokens, self._context - len(prompt.tokens))
        return Ending(limit, self._ends, sampling.stop, self._tokenizer)

    def _check(self, tokens: Int64Array) -> None:
        if len(tokens) == 0:
            raise InputError("has no tokens", field="prompt")
        if tokens.min() < 0 or tokens.max() >= self._vocabulary:
            raise InputError(
                f"has a token beyond the model's {self._vocabulary:,}; it was made with another "
                "tokenizer",
                field="prompt",
            )
        if len(tokens) >= self._context:
            raise InputError(
                f"takes {len(tokens):,} tokens, and the model reads {self._context:,} with its "
                "answer",
                field="prompt",
            )


class _CancelledError(Exception):
    """The caller wants no more."""


def _between(
    cancelled: Callable[[], bool] | None, deadline: float | None = None
) -> Callable[[], None]:
    """What is called between two parts of the work, and ends it when it is not wanted any more."""

    def look() -> None:
        if deadline is not None and time.monotonic() >= deadline:
            raise DeadlineError("the answer's time was over; allow more, or ask for fewer tokens")
        if cancelled is not None and cancelled():
            raise _CancelledError

    return look


class _Batch:
    """The rows that are not finished, in the order that the cache holds them."""

    def __init__(
        self,
        target: Target,
        rows: Sequence[Row],
        sampling: Sampling,
        processing: Processing,
        sizing: Sizing,
        on_tokens: Callable[[int, Sequence[int]], None],
    ) -> None:
        self._sampling = sampling
        self._processing = processing
        self._sizing = sizing
        self._target = target
        self._rows = list(rows)
        self._on_tokens = on_tokens

    def run(self, between: Callable[[], None]) -> float:
        """Decode until every row has ended; the share of the time that moving the cache took."""
        began = time.perf_counter()
        starts = [row.prompt.tokens for row in self._rows]
        slots, first = self._target.prefill(starts, _ROOM, between)
        self._sizing.begin(time.perf_counter() - began)
        new = []
        for row, logits in zip(self._rows, first, strict=True):
            alone = logits[None]
            best = Choices(alone.argmax(-1).tolist(), alone) if row.chooses_by_argmax else None
            new.append(row.verify(alone, best))
        self._report(new)
        self._drop_ended(slots)
        while self._rows:
            between()
            self._step(slots)
        return slots.moving_seconds / (time.perf_counter() - began)

    def _step(self, slots: Slots) -> None:
        began = time.perf_counter()
        drafts, drafting = self._drafts()
        drafted = time.perf_counter()
        logits = self._forward(slots, drafts)
        choices = self._choices(logits, drafts)
        new = []
        for place, row in enumerate(self._rows):
            new.append(row.verify(logits[place, : 1 + len(drafts[place])], choices[place]))
            slots.keep(place, [0, *(node + 1 for node in row.accepted_nodes)])
        took = time.perf_counter() - drafted
        tokens = sum(map(len, new)) + sum(row.stopped == "end" for row in self._rows)
        passed = drafted - began - drafting.beginning - drafting.telling
        nodes = max(map(len, drafts))
        self._sizing.learn(Step(len(new), nodes, tokens, passed, took, drafting))
        self._report(new)
        self._drop_ended(slots)

    def _drafts(self) -> tuple[list[Draft], Read]:
        """What each row drafts for the next step, and what its drafters had to read for that."""
        size = Budget(0, 0)
        unread = Unread(0, 0)
        if not self._sizing.rests:
            unread = Unread(*map(sum, zip(*(row.unread for row in self._rows), strict=True)))
            size = self._sizing.budget([row.acceptance.best() for row in self._rows], unread)
        if size.nodes == 0:
            return [row.rest() for row in self._rows], Read()
        began = time.perf_counter()
        for row in self._rows:
            row.begin()
        begun = time.perf_counter()
        for row in self._rows:
            row.tell()
        told = time.perf_counter()
        nodes = self._sizing.cut([row.propose(size) for row in self._rows])
        return [row.cut(nodes) for row in self._rows], Read(unread, begun - began, told - begun)

    def _forward(self, slots: Slots, drafts: Sequence[Draft]) -> Any:
        """Logits (rows, 1 + nodes, vocabulary) of each row's last token and draft."""
        width = 1 + max(map(len, drafts))
        tokens = np.zeros((len(drafts), width), np.int64)
        shapes = [depths_and_ancestors(draft, width) for draft in drafts]
        for place, (row, draft) in enumerate(zip(self._rows, drafts, strict=True)):
            tokens[place, 0] = row.tokens[-1]
            tokens[place, 1 : 1 + len(draft)] = draft.tokens
        positions = np.array([[row.position] for row in self._rows])
        slots.reserve(positions + np.stack([depths for depths, _ in shapes]))
        return self._target.verify(slots, tokens, np.stack([ancestors for _, ancestors in shapes]))

    def _choices(self, logits: Any, drafts: Sequence[Draft]) -> Sequence[Choices | None]:
        """What each row chooses at its nodes, where that can be said for all at once."""
        if self._rows[0].chooses_by_argmax:
            return [Choices(*of) for of in zip(logits.argmax(-1).tolist(), logits, strict=True)]
        if logits.device.type in AT_ONCE and self._processing.sees_no_tokens:
            positions = [len(row.tokens) for row in self._rows]
            return sampled.choices(logits, drafts, positions, self._sampling, self._processing)
        return [None] * len(drafts)

    def _report(self, new: Sequence[Sequence[int]]) -> None:
        for row, tokens in zip(self._rows, new, strict=True):
            if tokens:
                self._on_tokens(row.number, tokens)

    def _drop_ended(self, slots: Slots) -> None:
        for place in reversed(range(len(self._rows))):
            if self._rows[place].stopped is not None:
                slots.drop(place)
                self._rows[place] = self._rows[-1]
                self._rows.pop()
