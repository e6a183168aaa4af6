"""Endpoints over real HTTP: retries, limits, lies; and a tiny model on this machine."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from threading import Barrier, Event, Thread
from typing import Any

import numpy as np
import pytest
from language_models import by_number, ordered

import cormorant as cm
from cormorant.errors import (
    ForbiddenError,
    ModelNotFoundError,
    OverloadedError,
    ServiceError,
    UnauthorizedError,
    UnreachableError,
)
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import local, openai
from cormorant.rankers.language_models.local import LocalModel
from cormorant.rankers.language_models.openai import KEY, URL, OpenAIModel
from cormorant.rankers.listwise.settings import Listwise
from cormorant.stages import Budget


class Scenario(Endpoint):
    """Gives the replies listed, one a request, then answers as usual."""

    def __init__(self, *replies: Any) -> None:
        super().__init__(lambda prompt: ordered(prompt, by_number), None)
        self.replies = list(replies)

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        usual = super().reply(body)
        return self.replies.pop(0) if self.replies else usual


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that were waited, none of them in truth."""
    waited: list[float] = []
    monkeypatch.setattr(OpenAIModel.complete, "__kwdefaults__", {
        **(OpenAIModel.complete.__kwdefaults__ or {}), "sleep": waited.append
    })  # fmt: skip
    return waited


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Serves a scenario, and sets the environment for it."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def serve(*replies: Any) -> Scenario:
            scenario = Scenario(*replies)
            stack.enter_context(serving(scenario))
            monkeypatch.setenv(URL, scenario.url)
            return scenario

        yield serve
    openai._client().close()
    openai._client.cache_clear()


def test_an_answer_and_its_usage(served: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY, "secret-key")
    scenario = served()
    completion = OpenAIModel("m").complete("[1] worth 3\n[2] worth 5", 20)
    assert completion.text == "[2] > [1]"
    assert (completion.prompt_tokens, completion.completion_tokens) == (5, 3)
    request = scenario.requests[0]
    assert request["authorization"] == "Bearer secret-key"
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("m", 20, 0.0)


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_busy_endpoint_is_asked_again_with_longer_waits(
    served: Any, waits: list[float], status: int
) -> None:
    scenario = served((status, {}, b"busy"), (status, {}, b"busy"))
    completion = OpenAIModel("m").complete("[1] worth 3\n[2] worth 5", 20)
    assert completion.retries == 2
    assert waits == [0.5, 1.0]
    assert len(scenario.requests) == 3


def test_retries_have_an_end(served: Any, waits: list[float]) -> None:
    scenario = served(*[(429, {}, b"busy")] * 9)
    with pytest.raises(OverloadedError, match="429"):
        OpenAIModel("m", retries=2).complete("x", 5)
    assert len(scenario.requests) == 3
    assert len(waits) == 2


def test_there_is_no_other_attempt_for_one_who_went(served: Any) -> None:
    scenario = served(*[(503, {}, b"busy")] * 9)
    gone = Event()
    gone.set()
    with pytest.raises(OverloadedError, match="503"):
        OpenAIModel("m").complete("x", 5, sleep=gone.wait)
    assert len(scenario.requests) == 1


def test_a_stage_that_was_cancelled_makes_no_other_attempt(served: Any) -> None:
    gone = Event()

    class Busy(Scenario):
        def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
            super().reply(body)
            gone.set()
            return 503, {}, b"busy"

    with serving(Busy()) as busy, pytest.MonkeyPatch.context() as patch:
        patch.setenv(URL, busy.url)
        with pytest.raises(OverloadedError, match="503"):
            Listwise(OpenAIModel("m")).judge("q", ["a 1", "a 2"], Budget(cancelled=gone))
    assert len(busy.requests) == 1


def test_threads_that_come_first_together_load_a_model_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    together, loads = Barrier(4), []

    @lru_cache(maxsize=2)
    def load(*which: Any) -> str:
        loads.append(which)
        time.sleep(0.2)
        return "loaded"

    def loaded(_: int) -> Any:
        together.wait(60)
        return LocalModel("m").loaded()

    monkeypatch.setattr(local, "_load", load)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(loaded, range(4))) == ["loaded"] * 4
    assert loads == [("m", None, "float32")]


def test_the_wait_that_a_server_asks_for_is_kept_within_bounds(
    served: Any, waits: list[float]
) -> None:
    served((429, {"retry-after": "7"}, b""), (429, {"retry-after": "9999"}, b""))
    OpenAIModel("m").complete("[1] a 1", 5)
    assert waits == [7.0, 20.0]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, UnauthorizedError), (403, ForbiddenError), (404, ServiceError), (302, ServiceError)],
)
def test_what_a_retry_cannot_mend_is_not_retried(
    served: Any, waits: list[float], status: int, error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv(KEY, "secret-key")
    scenario = served((status, {"location": "http://127.0.0.1:9/"}, b"no"))
    with pytest.raises(error) as caught:
        OpenAIModel("m").complete("x", 5)
    assert len(scenario.requests) == 1
    assert "secret-key" not in str(caught.value)
    assert waits == []


@pytest.mark.parametrize(
    "body",
    [
        b"not json", b"[]", b"{}", b'{"choices": []}', b'{"choices": [{"message": {}}]}',
        b'{"choices": [{"message": {"content": 5}}]}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_an_answer_of_another_form_is_an_error(served: Any, body: bytes) -> None:
    served((200, {}, body))
    with pytest.raises(ServiceError, match="endpoint's answer"):
        OpenAIModel("m").complete("x", 5)


def test_usage_that_is_missing_or_wrong_is_estimated(served: Any) -> None:
    reply = {"choices": [{"message": {"content": "abcdef"}, "finish_reason": "length"}]}
    served((200, {}, json.dumps({**reply, "usage": {"prompt_tokens": -4}}).encode()))
    completion = OpenAIModel("m").complete("x" * 30, 5)
    assert (completion.prompt_tokens, completion.completion_tokens) == (10, 2)
    assert completion.finish == "length"


def test_no_content_is_an_empty_answer(served: Any) -> None:
    served((200, {}, b'{"choices": [{"message": {"content": null}}], "usage": null}'))
    assert OpenAIModel("m").complete("x", 5).text == ""


def test_an_endpoint_that_is_down(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    with pytest.raises(UnreachableError):
        OpenAIModel("m", retries=1).complete("x", 5)
    assert waits == [0.5]


def test_an_endpoint_that_is_slow(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    slow = Endpoint(lambda prompt: time.sleep(2.0) or "[1]", None)  # type: ignore[func-returns-value]
    with serving(slow):
        monkeypatch.setenv(URL, slow.url)
        with pytest.raises(UnreachableError, match="within 0.05 s"):
            OpenAIModel("m", timeout_seconds=0.05, retries=1).complete("x", 5)
        assert len(waits) == 1
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            OpenAIModel("m", retries=5).complete("x", 5, seconds=0.1)
        assert time.monotonic() - began < 1.5


def test_an_endpoint_that_never_ends_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A byte now and then: no single wait is too long."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
                for _ in range(500):
                    connection.sendall(b" ")
                    time.sleep(0.01)

        dripping = Thread(target=drip)
        dripping.start()
        monkeypatch.setenv(URL, f"http://127.0.0.1:{listening.getsockname()[1]}/v1")
        began = time.monotonic()
        with pytest.raises(UnreachableError, match="did not end in time"):
            OpenAIModel("m", timeout_seconds=0.2, retries=0).complete("x", 5)
        assert time.monotonic() - began < 2.0
        dripping.join()


@pytest.mark.parametrize("url", [None, "", "file:///etc/passwd", "localhost:8000"])
def test_an_address_that_is_not_set(monkeypatch: pytest.MonkeyPatch, url: str | None) -> None:
    monkeypatch.delenv(URL, raising=False)
    if url is not None:
        monkeypatch.setenv(URL, url)
    with pytest.raises(cm.InputError, match=URL):
        OpenAIModel("m").complete("x", 5)


@pytest.mark.parametrize(
    ("field", "value"),
    [("model", " "), ("temperature", 3.0), ("timeout_seconds", 0.0), ("retries", 99)],
)
def test_settings_that_make_no_sense(field: str, value: object) -> None:
    with pytest.raises(cm.InputError, match=field):
        OpenAIModel(**{"model": "m", field: value})  # type: ignore[arg-type]


def test_listwise_over_http_as_a_json_pipeline(served: Any, tmp_path: Path) -> None:
    scenario = served((429, {"retry-after": "0"}, b""))
    with cm.Collection.create(tmp_path / "c.cm", {"bm25": cm.BM25()}) as made:
        made.add(cm.Document(id=str(n), text=f"passage worth {n}") for n in range(9))
        stage = Listwise(OpenAIModel("m"), prior_weight=0.0)
        value = cm.Pipeline(["bm25"], rerank=[stage]).as_json()
        assert value["rerank"][0]["language_model"] == {"kind": "openai", "model": "m"}
        result = made.search("passage", k=9, pipeline=value)
        assert result.ids == [str(n) for n in range(8, -1, -1)]
        assert len(scenario.requests) == 2


def test_an_endpoint_that_is_down_keeps_the_order_where_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(URL, "http://127.0.0.1:9/v1")
    stage = Listwise(OpenAIModel("m", retries=0), on_error="keep")
    judged = stage.judge("q", ["worth 1", "worth 2"])
    assert judged.order == (0, 1)
    assert "no answer from the endpoint" in str(judged.failure)
    with pytest.raises(UnreachableError):
        Listwise(OpenAIModel("m", retries=0)).judge("q", ["worth 1", "worth 2"])


# -- a model on this machine ----------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tiny_language_model import build

    return build(tmp_path_factory.mktemp("model"))


def test_a_local_model_answers_the_same_twice_and_counts_tokens(tiny: Path) -> None:
    model = LocalModel(str(tiny))
    once, again = model.complete("rank [1] and [2]", 6), model.complete("rank [1] and [2]", 6)
    assert once == again
    assert 1 <= once.completion_tokens <= 6
    assert model.count_tokens("rank [1]") == 4
    assert once.prompt_tokens == model.count_tokens("rank [1] and [2]")


def test_first_token_scores_are_the_models_logits(tiny: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(tiny),
        AutoTokenizer.from_pretrained(tiny),
    )
    with torch.inference_mode():
        logits = model(torch.tensor([tokenizer.encode("rank [")])).logits[0, -1]
    wanted = [float(logits[tokenizer.convert_tokens_to_ids(name)]) for name in "ABC"]
    scores = LocalModel(str(tiny)).next_token_scores("rank [", ["A", "B", "C"])
    np.testing.assert_allclose(scores, wanted, rtol=1e-5)
    with pytest.raises(cm.InputError, match="same token"):
        LocalModel(str(tiny)).next_token_scores("rank [", ["A", "A"])


def test_first_token_ranking_takes_one_step_a_window(tiny: Path) -> None:
    stage = Listwise(
        LocalModel(str(tiny)), method="first", window=4, stride=2, prior_weight=0.0,
        passage_tokens=4,
    )  # fmt: skip
    judged = stage.judge("eel", ["reed", "tide", "eel", "gull", "kelp", "mist"])
    assert judged.record.calls == 2
    assert judged.record.completion_tokens == 2
    assert sorted(judged.order) == list(range(6))


def test_first_wants_logits(served: Any) -> None:
    served()
    with pytest.raises(cm.InputError, match="logits"):
        Listwise(OpenAIModel("m"), method="first", on_error="keep").judge("q", ["a", "b"])


def test_a_prompt_longer_than_the_model_reads(tiny: Path) -> None:
    with pytest.raises(cm.InputError, match="with its answer"):
        LocalModel(str(tiny), context_tokens=16).complete("eel " * 40, 5)


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        LocalModel(str(tmp_path)).complete("x", 1)


def test_weights_that_are_cut_short(tiny: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    shutil.copytree(tiny, cut)
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelNotFoundError, match="header"):
        LocalModel(str(cut)).complete("x", 1)
