"""One query's way to the model: prompts, budgets, attempts, and a record of every reply.

The budget counts calls and tokens over everything that is done for a query, from several threads at
once: a call reserves what it may cost before it is made. What there is no budget for is not asked:
the caller hears that there is no answer, and the record says so.
"""

from __future__ import annotations

import copy
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Semaphore
from typing import Any, TypeVar

import numpy as np

from ...errors import CormorantError, InputError
from ...stages import Budget, Completion, CountsTokens, LanguageModel, ScoresNextToken
from ..concurrently import concurrently
from .parsing import Parsed, parse
from .passages import cleaned, cut
from .prompts import FIRST_TOKEN, LISTWISE, SETWISE, Template

BYTES_PER_TOKEN = 3
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
QUERY_TOKENS = 256
_TOKENS_PER_ID = 8

T = TypeVar("T")
U = TypeVar("U")


@dataclass(slots=True)
class Record:
    """What was spent on a query, and what became of the replies.

    ``calls``: attempts that failed are counted too. ``reserved``: tokens of calls under way, at the
    most; ``charged``: of those that ended, by what the model said or, if that is more, an estimate.
    """

    calls: int = 0
    reserved: int = 0
    charged: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    retries: int = 0
    repaired: int = 0
    missing: int = 0
    cut: int = 0
    problems: list[str] = field(default_factory=list)
    unasked: int = 0
    ran_out: str | None = None
    replies: list[Parsed] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Of prompts and answers, as the model said."""
        return self.prompt_tokens + self.completion_tokens


class Asker:
    """Asks about the passages of one query; safe to use from several threads.

    ``concurrency``: calls at a time; ``calls``: what they take turns by, where several queries
    share it. ``attempts``: how often a call is made whose reply cannot be used, the first time
    included. When one of the questions asked ``together`` fails, no other call is begun.
    ``unanswered``: how many questions had no answer, for want of budget or of a reply of use.
    """

    def __init__(
        self,
        model: LanguageModel,
        query: str,
        texts: Sequence[str],
        *,
        budget: Budget,
        passage_tokens: int,
        concurrency: int,
        attempts: int,
        template: Template = LISTWISE,
        calls: Semaphore | None = None,
    ) -> None:
        self.model = model
        self.count: Callable[[str], int] = (
            model.count_tokens if isinstance(model, CountsTokens) else _estimated
        )
        self._count_prompt: Callable[[str], int] = getattr(model, "count_prompt", self.count)
        self.query = cleaned(query, QUERY_TOKENS, self.count)
        self.texts = [cleaned(text, passage_tokens, self.count) for text in texts]
        self._failed = Event()
        self.budget = budget.within(Budget(cancelled=self._failed))
        self.record = Record()
        self._template = template
        self._concurrency = concurrency
        self._calls = Semaphore(concurrency) if calls is None else calls
        self._attempts = attempts
        self._lock = Lock()
        self.unanswered = 0
        self._begun = time.monotonic()
        self._takes = inspect.signature(model.complete).parameters.keys() & {"seconds", "sleep"}

    def apart(self, of: int) -> Asker:
        """The same way to the model, budget and record; ``unanswered`` counts from 0 again.

        ``of``: so many are side by side, each with its share of the threads.
        """
        other = copy.copy(self)
        other.unanswered = 0
        other._concurrency = share_of(self._concurrency, of)
        return other

    # -- questions --------------------------------------------------------------------------

    def order(
        self, places: Sequence[int], top: int, rest: Sequence[int] | None = None
    ) -> list[int] | None:
        """The passages at ``places``, best first, or None: not answered.

        Those not named are in the order of ``rest``, which is the order given unless told.
        """
        if len(places) < 2:
            return list(places)
        names = [str(number + 1) for number in range(len(places))]
        parsed = self._answered(self._template, places, names, top)
        if parsed is None:
            return None
        named = [places[place] for place in parsed.order[: parsed.named]]
        seen = set(named)
        return named + [place for place in (places if rest is None else rest) if place not in seen]

    def best(self, places: Sequence[int]) -> int | None:
        """The best of two passages or more; None: not answered."""
        names = [str(number + 1) for number in range(len(places))]
        parsed = self._answered(SETWISE, places, names, 1)
        return None if parsed is None else places[parsed.order[0]]

    def order_by_first_token(self, places: Sequence[int]) -> list[int] | None:
        """The passages by the logits of their identifiers, one step of the model for all.

        None: not answered. Raises :class:`~cormorant.errors.InputError` for a model whose logits
        cannot be read.
        """
        if not isinstance(self.model, ScoresNextToken):
            raise InputError(
                "method 'first' reads a model's logits, which this one does not give; take "
                "LocalModel(...), or another method",
                field="method",
            )
        names = list(LETTERS[: len(places)])
        texts = [self.texts[place] for place in places]
        prompt = FIRST_TOKEN.filled(self.query, names, texts, len(places))
        tokens = self._count_prompt(f"{prompt}[")
        with self._calls:
            if not self._reserve(tokens + 1):
                self._not_answered()
                return None
            scores = self.model.next_token_scores(prompt, [f"[{name}" for name in names])
        with self._lock:
            self.record.reserved -= tokens + 1
            self.record.charged += tokens + 1
            self.record.prompt_tokens += tokens
            self.record.completion_tokens += 1
        if not np.isfinite(scores).all():
            self._note("a logit is not finite")
            self._not_answered()
            return None
        return [places[place] for place in np.argsort(-scores, kind="stable").tolist()]

    def together(self, ask: Callable[[U], T], items: Sequence[U]) -> list[T]:
        """The same question of several items that do not depend on each other, concurrently."""
        return concurrently(ask, items, self._concurrency, self._failed)

    # -- one call ---------------------------------------------------------------------------

    def _answered(
        self, template: Template, places: Sequence[int], names: list[str], top: int
    ) -> Parsed | None:
        n = len(places)
        texts = [self.texts[place] for place in places]
        prompt = template.filled(self.query, names, texts, min(top, n))
        most = min(top, n) * _TOKENS_PER_ID + 16
        for _ in range(self._attempts):
            with self._calls:
                prompt = self._shortened(template, prompt, names, texts, min(top, n), most)
                asked = self._count_prompt(prompt)
                if not self._reserve(asked + most):
                    break
                completion = self._complete(prompt, most)
            parsed = parse(completion.text, n, top)
            answer = max(completion.completion_tokens, self.count(completion.text))
            with self._lock:
                self.record.reserved -= asked + most
                self.record.charged += max(completion.prompt_tokens, asked) + answer
                self._keep(completion, parsed)
            if parsed.problem is None:
                return parsed
            # The same question gets the same answer from a greedy model: say what was wrong.
            prompt = f"{prompt}\nAnswer with identifiers only, such as [2] > [1]."
        self._not_answered()
        return None

    def _shortened(
        self,
        template: Template,
        prompt: str,
        names: list[str],
        texts: list[str],
        top: int,
        most: int,
    ) -> str:
        """The prompt within what is left of the token budget: passages lose their ends."""
        left = self._left_tokens()
        if left is None or self._count_prompt(prompt) + most <= left:
            return prompt
        bare = self._count_prompt(template.filled(self.query, names, [""] * len(texts), top))
        share = (left - most - bare) // max(1, len(texts))
        if share < 1:
            return prompt  # nothing fits: the reservation fails, and the query's order is kept
        with self._lock:
            self.record.cut += 1
        return template.filled(
            self.query, names, [cut(text, share, self.count) for text in texts], top
        )

    def _complete(self, prompt: str, most: int) -> Completion:
        model: Any = self.model
        left = self._left_ms()
        told: dict[str, Any] = {}
        if left is not None and "seconds" in self._takes:
            told["seconds"] = max(left, 1.0) / 1000
        if "sleep" in self._takes:
            told["sleep"] = self._waits
        completion: Completion = model.complete(prompt, most, **told)
        return completion

    def _waits(self, seconds: float) -> bool:
        """Wait to attempt a call again, which is one call more; whether it is not to be made."""
        with self._lock:
            if self._has_no_call():
                self.record.ran_out = "calls"
                self.record.unasked += 1
                return True
            self.record.calls += 1
        cancelled = self.budget.cancelled or self._failed
        return cancelled.wait(seconds)

    def _keep(self, completion: Completion, parsed: Parsed) -> None:
        record = self.record
        record.prompt_tokens += completion.prompt_tokens
        record.completion_tokens += completion.completion_tokens
        record.retries += completion.retries
        record.replies.append(parsed)
        record.missing += parsed.missing
        if parsed.problem is not None:
            record.problems.append(parsed.problem)
        elif parsed.repaired:
            record.repaired += 1

    def _not_answered(self) -> None:
        with self._lock:
            self.unanswered += 1

    def _note(self, problem: str) -> None:
        with self._lock:
            self.record.problems.append(problem)

    def _left_tokens(self) -> int | None:
        if self.budget.tokens is None:
            return None
        return self.budget.tokens - self.record.charged - self.record.reserved

    def _has_no_call(self) -> bool:
        return self.budget.calls is not None and self.record.calls >= self.budget.calls

    def _left_ms(self) -> float | None:
        if self.budget.milliseconds is None:
            return None
        return self.budget.milliseconds - self._spent_ms()

    def _spent_ms(self) -> float:
        return (time.monotonic() - self._begun) * 1000

    def _reserve(self, tokens: int) -> bool:
        """Whether there is a call, its tokens and time left; counts the call, holds the tokens."""
        with self._lock:
            if self._failed.is_set():
                return False  # for the failure, not for want of budget
            spent = self.record
            left_tokens = self._left_tokens()
            out = None
            if self._has_no_call():
                out = "calls"
            elif left_tokens is not None and tokens > left_tokens:
                out = "tokens"
            elif self.budget.is_over(self._spent_ms()):
                out = "time"
            if out is not None:
                spent.ran_out = out
                spent.unasked += 1
                return False
            spent.calls += 1
            spent.reserved += tokens
            return True


def share_of(concurrency: int, among: int) -> int:
    """How many of so many threads each of several may use: at least one, and none is left over."""
    return -(-concurrency // among)


def _estimated(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)


def failed(error: Exception) -> str:
    """What a flag says of an error of the model's or of the way to it."""
    if isinstance(error, CormorantError):
        return str(error)
    return f"{type(error).__name__}: {error}"
