"""Queries rewritten by a language model: many short questions, within what each query may spend.

A query's calls and tokens are its own, the time is that of all. What there is no budget for is not
asked, and the record says so; what fails is raised, or leaves its query as it was.
"""

from __future__ import annotations

import inspect
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event, Lock
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..errors import InputError
from ..stages import Budget, Completion, CountsTokens, LanguageModel
from .concurrently import concurrently
from .listwise.asking import BYTES_PER_TOKEN, Record, failed


class Rewritten(NamedTuple):
    """What became of each query, what was spent on each, and what a result says of it."""

    queries: list[Any]
    records: list[Record]
    flags: tuple[str, ...]


@runtime_checkable
class Rewrites(Protocol):
    """A reformulation or a feedback that spends: it takes a budget, and says what became of it."""

    def rewrite(self, asked: Any, budget: Budget) -> Rewritten:
        """As ``reformulate(asked)`` or ``expand(asked)``.

        ``budget`` is each query's own, except for the milliseconds, which all queries share.
        """


class Question(NamedTuple):
    """The number of the query that it is about, and what makes the prompt."""

    query: int
    prompt: Callable[[], str]


class Questions:
    """Questions about some queries, each asked once; ``records`` say what was spent on each query.

    ``failures``: of each query what its first failed call raised, where that is kept.
    """

    def __init__(self, model: LanguageModel, n_queries: int, budget: Budget, on_error: str) -> None:
        self.records = [Record() for _ in range(n_queries)]
        self.failures: list[str | None] = [None] * n_queries
        self._model: Any = model
        self._on_error = on_error
        self._count: Callable[[str], int] = (
            model.count_tokens if isinstance(model, CountsTokens) else _estimated
        )
        self._count_prompt: Callable[[str], int] = getattr(model, "count_prompt", self._count)
        self._failed = Event()
        self._budget = budget.within(Budget(cancelled=self._failed))
        self._cancelled = self._budget.cancelled or self._failed
        self._begun = time.monotonic()
        self._lock = Lock()
        self._takes = inspect.signature(model.complete).parameters.keys() & {"seconds", "sleep"}

    def answers(
        self, questions: Sequence[Question], max_tokens: int, concurrency: int
    ) -> list[str | None]:
        """The answer to each; None where it was not asked, or failed and that is kept.

        Raises :class:`~cormorant.errors.InputError` of a model in any case.
        """

        def ask(question: Question) -> str | None:
            return self._answer(question, max_tokens)

        return concurrently(ask, questions, concurrency, self._failed)

    def flags(self, kind: str) -> tuple[str, ...]:
        """What a result says of failures and of a budget that ran out."""
        flags = [
            f"{kind}: {count} queries stayed as they were: {failure}"
            for failure, count in Counter(one for one in self.failures if one).items()
        ]
        out = Counter(record.ran_out for record in self.records if record.ran_out)
        for what, count in sorted(out.items()):
            unasked = sum(record.unasked for record in self.records if record.ran_out == what)
            flags.append(
                f"{kind}: the budget of {what} ran out for {count} queries; {unasked} questions "
                "were not answered"
            )
        return tuple(flags)

    def _answer(self, question: Question, max_tokens: int) -> str | None:
        number, prompt = question.query, question.prompt()
        tokens = self._count_prompt(prompt) + max_tokens
        if not self._reserve(number, tokens):
            return None
        record = self.records[number]
        try:
            completion = self._complete(number, prompt, max_tokens)
        except InputError:
            raise  # settings that cannot work: no query is worth keeping over them
        except Exception as error:
            with self._lock:
                record.reserved -= tokens
                if self._is_over():  # broken off, which is no failure of the model's
                    record.ran_out, record.unasked = "time", record.unasked + 1
                    return None
                if self._on_error == "raise":
                    raise
                self.failures[number] = self.failures[number] or failed(error)
            return None
        asked, answer = tokens - max_tokens, self._count(completion.text)
        with self._lock:
            record.reserved -= tokens
            record.charged += max(completion.prompt_tokens, asked)
            record.charged += max(completion.completion_tokens, answer)
            record.prompt_tokens += completion.prompt_tokens
            record.completion_tokens += completion.completion_tokens
            record.retries += completion.retries
        return completion.text

    def _complete(self, number: int, prompt: str, max_tokens: int) -> Completion:
        """The completion, asked for no longer than there is time and somebody waits for it."""
        told: dict[str, Any] = {}
        budget = self._budget
        if budget.milliseconds is not None and "seconds" in self._takes:
            told["seconds"] = max(budget.milliseconds - self._spent_ms(), 1.0) / 1000
        if "sleep" in self._takes:
            told["sleep"] = partial(self._waits, number)
        completion: Completion = self._model.complete(prompt, max_tokens, **told)
        return completion

    def _waits(self, number: int, seconds: float) -> bool:
        """Wait to attempt a call again, which is one call more; whether it is not to be made."""
        with self._lock:
            record = self.records[number]
            if self._has_no_call(record):
                record.ran_out, record.unasked = "calls", record.unasked + 1
                return True
            record.calls += 1
        return self._cancelled.wait(seconds)

    def _reserve(self, number: int, tokens: int) -> bool:
        """Whether a query has a call, its tokens and time left; counts the call, holds these."""
        with self._lock:
            record, budget = self.records[number], self._budget
            if self._failed.is_set() or self.failures[number] is not None:
                return False  # for the failure, not for want of budget
            held = record.charged + record.reserved
            out = None
            if self._has_no_call(record):
                out = "calls"
            elif budget.tokens is not None and held + tokens > budget.tokens:
                out = "tokens"
            elif self._is_over():
                out = "time"
            if out is not None:
                record.ran_out, record.unasked = out, record.unasked + 1
                return False
            record.calls += 1
            record.reserved += tokens
            return True

    def _has_no_call(self, record: Record) -> bool:
        return self._budget.calls is not None and record.calls >= self._budget.calls

    def _is_over(self) -> bool:
        return self._budget.is_over(self._spent_ms())

    def _spent_ms(self) -> float:
        return (time.monotonic() - self._begun) * 1000


def _estimated(text: str) -> int:
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
