"""A chat completion as it is written: server-sent events, which another thread may cut off.

An attempt that fails before the first event is made again, as for a whole answer; what fails after
it is an error, since part of the text has been handed out.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import ServiceError, UnreachableError
from ...stages import Completion
from .openai import LONGEST_REPLY, OpenAIModel, count_of

if TYPE_CHECKING:
    import httpx2


class Told(NamedTuple):
    """What an endpoint told of an answer in the end.

    ``log_probability``: the sum of the tokens' logarithms, where it gave them. ``accepted`` and
    ``rejected``: tokens of the prediction that it was sent, where it says so. ``first_options``:
    the log-probabilities of what might have been the first token, where they were asked for.
    """

    completion: Completion
    log_probability: float | None
    accepted: int | None
    rejected: int | None
    first_options: dict[str, float]


def stream(
    model: OpenAIModel,
    prompt: str,
    max_tokens: int,
    more: Mapping[str, Any],
    *,
    seconds: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    breaking_off: Callable[[Callable[[], None]], AbstractContextManager[None]] = (
        lambda cut: nullcontext()
    ),
) -> Generator[str, None, Told]:
    """Pieces of the answer to a prompt. ``more`` is added to the request's body.

    ``breaking_off(cut)`` is entered around the whole: who calls ``cut`` within ends the connection,
    and the generator with :class:`~cormorant.errors.UnreachableError`.

    Raises what :meth:`OpenAIModel.complete` raises, and :class:`~cormorant.errors.UnreachableError`
    where the endpoint stalls for ``timeout_seconds`` or breaks off.
    """
    import httpx2

    body = {
        **model.body(prompt, max_tokens), **more,
        "stream": True, "stream_options": {"include_usage": True},
    }  # fmt: skip
    line = _Line()
    # A connection of its own: one that is cut is used by nobody else.
    with httpx2.Client(follow_redirects=False) as client, breaking_off(line.cut):

        def once(until: float | None) -> Generator[str, None, Told]:
            answered = model.answered(client, body, until, trace=line.trace)
            pieces = _pieces(answered, prompt)
            next(pieces)  # the first event is there
            return pieces

        pieces, failed = model.attempts(once, seconds, sleep)
        told = yield from pieces
        return told._replace(completion=told.completion._replace(retries=failed))


def _pieces(
    answered: AbstractContextManager[httpx2.Response], prompt: str
) -> Generator[str, None, Told]:
    """An empty piece when the first event has come, then the text's."""
    with answered as response:
        events = _events(response)
        first = list(islice(events, 1))
        yield ""
        return (yield from _read(chain(first, events), prompt))


class _Line:
    """A connection's socket, known as soon as there is one."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._cut = False

    def trace(self, event: str, info: Any) -> None:
        """Hear of what the HTTP library does (httpcore's trace extension)."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cut:
                self.cut()

    def cut(self) -> None:
        """End the connection: whoever waits for it to say something waits no more."""
        self._cut = True
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                self._socket = None  # it has ended by itself


def _events(response: httpx2.Response) -> Iterator[Any]:
    """The JSON of each event; ends at ``[DONE]``."""
    received = 0
    for line in response.iter_lines():
        received += len(line)
        if received > LONGEST_REPLY:
            raise ServiceError(f"the endpoint's answer is longer than {LONGEST_REPLY:,} bytes")
        if not line.startswith("data:"):
            continue  # a comment that keeps the connection, or an event's name
        data = line.removeprefix("data:").strip()
        if data == "[DONE]":
            return
        try:
            value = json.loads(data)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise ServiceError(f"the endpoint's answer is no chat completion: {data[:200]!r}")
        if value.get("error"):
            said = value["error"]
            said = said.get("message", said) if isinstance(said, dict) else said
            raise ServiceError(f"the endpoint failed in the middle: {said!s:.200}")
        yield value


def _read(events: Iterator[Any], prompt: str) -> Generator[str, None, Told]:
    pieces: list[str] = []
    logarithms: list[float] = []
    options: dict[str, float] = {}
    usage: dict[str, Any] = {}
    finish = None
    for value in events:
        usage = value["usage"] if isinstance(value.get("usage"), dict) else usage
        for choice in value.get("choices") or ():
            delta = choice.get("delta") if isinstance(choice, dict) else None
            content = delta.get("content") if isinstance(delta, dict) else None
            if content is not None and not isinstance(content, str):
                raise ServiceError(f"the endpoint's answer is no text: {content!r:.200}")
            tokens = _tokens(choice)
            options = options or _options(tokens[0]) if tokens else options
            logarithms += [float(token["logprob"]) for token in tokens]
            finish = (choice.get("finish_reason") if isinstance(choice, dict) else None) or finish
            if content:
                pieces.append(content)
                yield content
    if finish is None:
        raise UnreachableError("the endpoint broke off in the middle of its answer")
    text = "".join(pieces)
    details = usage.get("completion_tokens_details")
    details = details if isinstance(details, dict) else {}
    completion = Completion(
        text,
        count_of(usage.get("prompt_tokens"), prompt),
        count_of(usage.get("completion_tokens"), text),
        "length" if finish == "length" else "stop",
    )
    return Told(
        completion,
        sum(logarithms) if logarithms else None,
        _whole(details.get("accepted_prediction_tokens")),
        _whole(details.get("rejected_prediction_tokens")),
        options,
    )


def _tokens(choice: Any) -> list[dict[str, Any]]:
    """What an event says of its tokens' log-probabilities."""
    given = choice.get("logprobs") if isinstance(choice, dict) else None
    tokens = given.get("content") if isinstance(given, dict) else None
    return [token for token in tokens or () if _has_logarithm(token)]


def _has_logarithm(token: Any) -> bool:
    return isinstance(token, dict) and isinstance(token.get("logprob"), int | float)


def _options(token: dict[str, Any]) -> dict[str, float]:
    listed = token.get("top_logprobs")
    return {
        str(option.get("token")): float(option["logprob"])
        for option in (listed if isinstance(listed, list) else ())
        if _has_logarithm(option)
    }


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
