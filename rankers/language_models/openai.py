"""Any endpoint that speaks OpenAI's chat completions, over HTTP.

The address and the key come from the environment alone (``CORMORANT_LLM_URL``, such as
``http://localhost:8000/v1``, and ``CORMORANT_LLM_KEY``), so that neither is ever in a pipeline, a
collection or a request. 429, 408 and 5xx, broken connections and timeouts are tried again, a
bounded number of times, after a wait that doubles or that the server asked for.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...errors import (
    ForbiddenError,
    InputError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
)
from ...stages import Completion

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
URL = "CORMORANT_LLM_URL"
KEY = "CORMORANT_LLM_KEY"
AGAIN = (408, 409, 429, 500, 502, 503, 504)
FIRST_WAIT_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 20.0
BYTES_PER_TOKEN = 3
"""Fewer than most tokenizers pack, so that an estimate of tokens is rather too high."""
LONGEST_REPLY = 1 << 24
_MAKING = Lock()


@dataclass(frozen=True, slots=True)
class OpenAIModel:
    """A model behind an OpenAI-compatible endpoint.

    ``model``: its name there. ``timeout_seconds``: of one attempt; ``retries``: attempts after the
    first. Greedy by default (``temperature`` 0), with a fixed seed.
    """

    kind: ClassVar[str] = "openai"
    model: str
    temperature: float = 0.0
    timeout_seconds: float = 60.0
    retries: int = 3

    def __post_init__(self) -> None:
        model: Any = self.model
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"is the model's name at the endpoint, got {model!r}", field="model")
        if not 0 <= self.temperature <= 2:
            raise InputError(f"is from 0 to 2, got {self.temperature!r}", field="temperature")
        if not 0 < self.timeout_seconds <= 3600:
            raise InputError(
                f"is above 0 and at most 3600, got {self.timeout_seconds!r}",
                field="timeout_seconds",
            )
        retries: Any = self.retries
        if isinstance(retries, bool) or not isinstance(retries, int) or not 0 <= retries <= 20:
            raise InputError(f"is an integer from 0 to 20, got {retries!r}", field="retries")

    def count_tokens(self, text: str) -> int:
        """An estimate, rather too high: the endpoint's tokenizer is not known here."""
        return -(-len(text.encode()) // BYTES_PER_TOKEN)

    def complete(
        self,
        prompt: str,
        max_tokens: int,
        *,
        seconds: float | None = None,
        sleep: Callable[[float], bool | None] = time.sleep,
    ) -> Completion:
        """The answer to a prompt, of at most ``max_tokens`` tokens.

        ``seconds``: no attempt and no wait goes on for longer than these, all together. ``sleep``
        waits between attempts; where it says that it was broken off (``Event.wait``), there is no
        other. So a caller can count attempts, and refuse one.

        Raises :class:`~cormorant.errors.InputError` where no endpoint is set, and
        :class:`~cormorant.errors.ServiceError` or one of its kinds when every attempt failed.
        """
        body = self.body(prompt, max_tokens)

        def once(until: float | None) -> Completion:
            end = self._end(until)
            with _MAKING:  # of threads that come first together, one makes the client
                client = _client()
            with self.answered(client, body, end) as response:
                return _read(_content(response, end), prompt)

        completion, failed = self.attempts(once, seconds, sleep)
        return completion._replace(retries=failed)

    def body(self, prompt: str, max_tokens: int) -> dict[str, Any]:
        """What is sent for a prompt."""
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": prompt}],
            "max_tokens": max_tokens,
            "temperature": self.temperature,
            "seed": 0,
        }

    def attempts(
        self,
        once: Callable[[float | None], T],
        seconds: float | None = None,
        sleep: Callable[[float], bool | None] = time.sleep,
    ) -> tuple[T, int]:
        """What ``once`` gives, and how many attempts failed before; as :meth:`complete` retries.

        ``once`` is told until when, by ``time.monotonic``, an attempt may go on.
        """
        until = None if seconds is None else time.monotonic() + seconds
        for attempt in range(self.retries + 1):
            try:
                return once(until), attempt
            except (OverloadedError, UnreachableError) as error:
                wait = FIRST_WAIT_SECONDS * 2**attempt
                asked = getattr(error, "retry_after_seconds", None)
                wait = min(LONGEST_WAIT_SECONDS, wait if asked is None else asked)
                late = until is not None and time.monotonic() + wait >= until
                if attempt == self.retries or late or sleep(wait):
                    raise
        raise AssertionError("unreachable")

    @contextmanager
    def answered(
        self,
        client: httpx2.Client,
        body: Mapping[str, Any],
        until: float | None,
        *,
        path: str = "chat/completions",
        trace: Callable[[str, Any], None] | None = None,
    ) -> Iterator[httpx2.Response]:
        """An answer of status 200, yet to be read; others raise their error."""
        import httpx2

        base = os.environ.get(URL, "").rstrip("/")
        if not base.startswith(("http://", "https://")):
            raise InputError(
                f"no endpoint is set: {URL} is its address, such as http://localhost:8000/v1",
                field="language_model",
            )
        key = os.environ.get(KEY)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        end = self._end(until)
        left = max(0.001, end - time.monotonic())
        try:
            with client.stream(
                "POST", f"{base}/{path}", json=dict(body), headers=headers, timeout=left,
                extensions=None if trace is None else {"trace": trace},
            ) as response:  # fmt: skip
                if response.status_code != 200:
                    raise _refusal(response, _content(response, end))
                yield response
        except httpx2.TimeoutException:
            raise UnreachableError(
                f"no answer from the endpoint within {round(left, 2):g} s"
            ) from None
        except httpx2.HTTPError as error:
            raise UnreachableError(f"no answer from the endpoint: {error}") from None

    def _end(self, until: float | None) -> float:
        """By ``time.monotonic``, when an attempt that begins now is over."""
        own = time.monotonic() + self.timeout_seconds
        return own if until is None else min(own, until)


@lru_cache(maxsize=1)
def _client() -> httpx2.Client:
    import httpx2

    return httpx2.Client(follow_redirects=False)


def _content(response: httpx2.Response, end: float) -> bytes:
    """The whole body, read until ``end``: the HTTP library's limit is of each piece alone."""
    pieces, size = [], 0
    for piece in response.iter_bytes():
        pieces.append(piece)
        size += len(piece)
        if size > LONGEST_REPLY:
            raise ServiceError(f"the endpoint's answer is longer than {LONGEST_REPLY:,} bytes")
        if time.monotonic() > end:
            raise UnreachableError("the endpoint's answer did not end in time")
    return b"".join(pieces)


def _shown(content: bytes) -> str:
    return repr(content[:200].decode(errors="replace"))


def _refusal(response: httpx2.Response, content: bytes) -> ServiceError:
    status = response.status_code
    said = f"the endpoint answered {status}: {_shown(content)}"
    if status == 401:
        return UnauthorizedError(f"{said}; {KEY} is the key")
    if status == 403:
        return ForbiddenError(said)
    if status in AGAIN:
        return OverloadedError(
            said, retry_after_seconds=_seconds(response.headers.get("retry-after"))
        )
    return ServiceError(said)


def _seconds(text: str | None) -> float | None:
    """The seconds of a Retry-After header; None for a date, which nobody here needs."""
    try:
        return max(0.0, float(text)) if text is not None else None
    except ValueError:
        return None


def _read(content: bytes, prompt: str) -> Completion:
    """The completion; what the endpoint says is checked, and its usage estimated if it lacks."""
    try:
        value = json.loads(content)
        choice = value["choices"][0]
        text = choice["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        said = _shown(content)
        raise ServiceError(f"the endpoint's answer is no chat completion: {said}") from None
    if text is None:
        text = ""
    if not isinstance(text, str):
        raise ServiceError(f"the endpoint's answer is no text: {text!r:.200}")
    usage = value.get("usage") if isinstance(value.get("usage"), dict) else {}
    finish = choice.get("finish_reason")
    return Completion(
        text,
        count_of(usage.get("prompt_tokens"), prompt),
        count_of(usage.get("completion_tokens"), text),
        "length" if finish == "length" else "stop",
    )


def count_of(given: Any, text: str) -> int:
    """A number of tokens that an endpoint gave, or, where it did not, an estimate."""
    if isinstance(given, int) and not isinstance(given, bool) and given >= 0:
        return given
    return -(-len(text.encode()) // BYTES_PER_TOKEN)
