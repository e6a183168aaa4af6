"""Questions not answered, for want of budget or of a usable reply: nothing moves by them."""

from __future__ import annotations

import json
import random
from typing import Any

import numpy as np
import pytest
from language_models import Scripted, by_number, ordered

from cormorant.errors import OverloadedError
from cormorant.eval.bench.listwise_server import Endpoint, serving
from cormorant.rankers.language_models import openai
from cormorant.rankers.language_models.openai import URL, OpenAIModel
from cormorant.rankers.listwise.settings import Listwise
from cormorant.stages import Completion

N = 60
HOW: list[dict[str, Any]] = [
    {"method": "full", "shuffles": 3},
    {"method": "windows"},
    {"method": "windows", "shuffles": 3},
    {"method": "setwise"},
    {"method": "setwise", "shuffles": 2},
    {"method": "tournament", "rounds": 3},
    {"method": "tournament", "shuffles": 3},
]
NAMES = [" ".join(f"{name} {value}" for name, value in how.items()) for how in HOW]


def passages(seed: int) -> list[str]:
    """Passages of which a first stage knows something: worth falls with the place, plus noise."""
    worth = -np.arange(N) + np.random.default_rng(seed).normal(0, 6, N)
    ranks = np.argsort(np.argsort(worth))
    return [f"passage worth {rank}" for rank in ranks.tolist()]


def ndcg(shown: list[str], order: tuple[int, ...] | range) -> float:
    gains = np.exp2([4 * by_number(text) / N for text in shown]) - 1
    discounts = 1 / np.log2(np.arange(10) + 2)
    best = np.sort(gains)[::-1][:10] @ discounts
    return float(gains[list(order)[:10]] @ discounts / best)


def ranked(model: Any, how: dict[str, Any], shown: list[str], **more: Any) -> float:
    given = {"prior_weight": 0.0, "concurrency": 1, **how, **more}
    return ndcg(shown, Listwise(model, **given).judge("q", shown).order)


@pytest.mark.parametrize("how", HOW, ids=NAMES)
@pytest.mark.parametrize("prior_weight", [0.0, 0.2])
def test_a_model_that_knows_is_no_worse_than_the_prior_under_any_budget(
    how: dict[str, Any], prior_weight: float
) -> None:
    shown = passages(0)
    for calls in (*range(12), *range(12, 60, 4), None):
        found = ranked(Scripted(), how, shown, calls=calls, prior_weight=prior_weight)
        assert found >= ndcg(shown, range(N)), calls


@pytest.mark.parametrize("how", HOW, ids=NAMES)
@pytest.mark.parametrize("unusable", [0.03, 0.2, 0.5])
def test_a_model_that_knows_is_no_worse_than_the_prior_with_unusable_replies(
    how: dict[str, Any], unusable: float
) -> None:
    for seed in range(4):
        shown, drawn = passages(seed), random.Random(seed)

        def answer(prompt: str, drawn: random.Random = drawn) -> str:
            said = ordered(prompt, by_number)
            return "I cannot say." if drawn.random() < unusable else said

        assert ranked(Scripted(answer), how, shown, attempts=1) >= ndcg(shown, range(N)), seed


def test_setwise_takes_out_what_it_knows_and_then_no_more() -> None:
    shown = passages(0)
    best = sorted(range(N), key=lambda place: -by_number(shown[place]))
    stage = Listwise(Scripted(), method="setwise", prior_weight=0.0, concurrency=1)
    whole = stage.judge("q", shown).record.calls
    part = Listwise(Scripted(), method="setwise", prior_weight=0.0, calls=whole - 1)
    order = list(part.judge("q", shown).order)
    assert order[:9] == best[:9]
    assert order[9:] == sorted(set(range(N)) - set(best[:9]))


def test_a_round_that_is_not_whole_gives_no_points() -> None:
    """One round of 60 in groups of 10 takes 6 + 3 + 2 + 1 calls."""
    shown = passages(0)
    given: dict[str, Any] = {"method": "tournament", "window": 10, "stride": 5, "concurrency": 1}
    one = Listwise(Scripted(), **given).judge("q", shown)
    assert one.record.calls == 12
    for calls in (15, 23):
        two = Listwise(Scripted(), **given, rounds=2, calls=calls).judge("q", shown)
        assert two.order == one.order
    none = Listwise(Scripted(), **given, calls=11).judge("q", shown)
    assert none.order == tuple(range(N))


def test_a_shuffled_order_counts_only_when_all_of_it_was_answered() -> None:
    shown = passages(0)
    given: dict[str, Any] = {"method": "windows", "prior_weight": 0.0, "concurrency": 1}
    one = Listwise(Scripted(), **given).judge("q", shown)
    part = Listwise(Scripted(), **given, shuffles=3, calls=one.record.calls + 2).judge("q", shown)
    assert part.order == one.order
    assert part.sensitivity is None


# -- endpoints ------------------------------------------------------------------------------


class Flaky(Endpoint):
    """Fails as often as told before each answer, and says that nothing was used."""

    def __init__(self, failures: int) -> None:
        super().__init__(lambda prompt: ordered(prompt, by_number), None)
        self.failures = failures

    def reply(self, body: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
        _, headers, value = super().reply(body)
        if len(self.requests) % (self.failures + 1):
            return 500, {}, b"busy"
        usage = {"prompt_tokens": 0, "completion_tokens": 0}
        return 200, headers, json.dumps({**value, "usage": usage}).encode()


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(openai, "FIRST_WAIT_SECONDS", 0.001)
    yield
    openai._client().close()
    openai._client.cache_clear()


def test_an_attempt_that_fails_is_a_call_too(
    no_wait: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = ["worth 1", "worth 2", "worth 3"]
    with serving(Flaky(2)) as server:
        monkeypatch.setenv(URL, server.url)
        enough = Listwise(OpenAIModel("m"), calls=3, prior_weight=0.0).judge("q", shown)
        assert enough.order == (2, 1, 0)
        assert enough.record.calls == len(server.requests) == 3
        server.requests.clear()
        with pytest.raises(OverloadedError):
            Listwise(OpenAIModel("m"), calls=2).judge("q", shown)
        assert len(server.requests) == 2
        server.requests.clear()
        kept = Listwise(OpenAIModel("m"), calls=1, on_error="keep").judge("q", shown)
        assert (kept.order, kept.record.calls, len(server.requests)) == ((0, 1, 2), 1, 1)
        assert kept.record.ran_out == "calls"


def test_calls_at_once_that_fail_keep_the_budget_too(
    no_wait: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Flaky(1)) as server:
        monkeypatch.setenv(URL, server.url)
        stage = Listwise(OpenAIModel("m"), calls=7, shuffles=8, concurrency=8, on_error="keep")
        judged = stage.judge("q", ["worth 1", "worth 2"])
    assert judged.record.calls == len(server.requests) <= 7


def test_an_endpoint_that_says_nothing_was_used_is_not_believed(
    no_wait: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = [f"{'word ' * 50} worth {number}" for number in range(3)]
    with serving(Flaky(0)) as server:
        monkeypatch.setenv(URL, server.url)
        stage = Listwise(OpenAIModel("m"), tokens=1500, shuffles=30, concurrency=1)
        record = stage.judge("q", shown).record
    sent = sum(len(request["messages"][0]["content"]) for request in server.requests)
    assert 1 <= len(server.requests) < 30
    assert sent / 3 <= 1500
    assert record.tokens == 0
    assert record.charged <= 1500
    assert record.ran_out == "tokens"


def test_what_the_model_says_it_used_counts_where_it_is_more() -> None:
    """Tokens that were thought and not shown, say."""

    class Thinking(Scripted):
        def complete(self, prompt: str, max_tokens: int) -> Completion:
            return super().complete(prompt, max_tokens)._replace(completion_tokens=400)

    model = Thinking()
    record = (
        Listwise(model, tokens=900, shuffles=9, concurrency=1).judge("q", ["a 1", "b 2"]).record
    )
    assert record.charged == record.tokens
    assert len(model.prompts) == 2
