"""What ends a text, what is reported of it, and what a decoder refuses."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import drafting as support
import numpy as np
import pytest
from drafting import ENDS, VOCABULARY, Scripted, chain, knowing, model, prompts, tokenizer, tree

from cormorant.errors import DeadlineError, InputError
from cormorant.retrieval.answering.decoding import engine
from cormorant.retrieval.answering.decoding.engine import Decoder
from cormorant.retrieval.answering.decoding.provenance import copied
from cormorant.retrieval.answering.decoding.types import (
    Budget,
    Draft,
    Drafter,
    Generation,
    Passage,
    Prompt,
    Sampling,
)

GREEDY = Sampling(max_tokens=20)
SAMPLED = Sampling(temperature=1.0, seed=3, max_tokens=20)
ENDLESS = Prompt(np.array([4, 5, 6, 4, 5], np.int64))


def decoder() -> Decoder:
    return support.decoder("llama", Budget(4, 4))


def transformers(prompt: Prompt, **settings: Any) -> tuple[int, ...]:
    import torch

    ids = torch.from_numpy(prompt.tokens)[None]
    settings = {"max_new_tokens": 20, "do_sample": False, **settings}
    made = model("llama").generate(ids, attention_mask=torch.ones_like(ids), **settings)
    return tuple(made[0, ids.shape[1] :].tolist())


def knowing_all(prompt: Prompt, answer: Sequence[int]) -> Drafter:
    """Drafts the answer, and what would come after its end."""
    return knowing(
        {tuple(prompt.tokens.tolist()): [*answer, 9, 9, 9]},
        lambda rest, budget: chain(rest[: budget.depth]),
    )


def of_length(least: int, sampling: Sampling = GREEDY) -> tuple[Prompt, Generation]:
    """A prompt whose text does not end by itself too soon."""
    for prompt in prompts(20, seed=8):
        made = decoder().generate([prompt], sampling)[0]
        if len(made.tokens) >= least:
            return prompt, made
    raise AssertionError("no long text")


def test_a_known_text_takes_a_forward_for_each_five_tokens() -> None:
    """Four drafted tokens and the one after them: none is lost behind a whole draft."""
    prompt, made = of_length(20)
    drafted = decoder().generate([prompt], GREEDY, [knowing_all(prompt, made.tokens)])[0]
    assert drafted.tokens == made.tokens
    assert made.statistics.forwards == made.statistics.plain_forwards == 20
    statistics = drafted.statistics
    assert statistics.forwards == 1 + 4  # 19 tokens behind the prompt's own, five a step
    assert statistics.plain_forwards == 20
    assert statistics.accepted["scripted"] == 19 - 4


def test_end_tokens_end_a_text_inside_a_draft() -> None:
    [prompt] = [prompt for prompt in prompts(12, seed=5) if 3 < len(transformers(prompt)) < 20][:1]
    expected = transformers(prompt)
    assert expected[-1] in ENDS
    right = knowing({tuple(prompt.tokens.tolist()): [*expected, 5]}, lambda r, b: chain(r[:4]))
    for drafters in ([], [right]):
        made = decoder().generate([prompt], GREEDY, drafters)[0]
        assert made.tokens == expected[:-1]
        assert made.stopped == "end"
        assert made.statistics.plain_forwards == len(expected)


def test_stop_strings_end_a_text_inside_a_draft() -> None:
    prompt, made = of_length(20)
    words = [f"w{token}" for token in made.tokens]
    stop = f"{words[9]} {words[10]} {words[11]}"
    sampling = replace(GREEDY, stop=("never", stop))
    expected = next(
        made.tokens[:count]
        for count in range(21)
        if stop in tokenizer().decode(made.tokens[:count])
    )
    for drafters in ([], [knowing_all(prompt, made.tokens)]):
        stopped = decoder().generate([prompt], sampling, drafters)[0]
        assert stopped.tokens == expected
        assert stopped.stopped == "stop"
        assert stop not in stopped.text
        assert stopped.text == made.text[: made.text.index(stop)]


def test_the_models_own_length_ends_a_text() -> None:
    tokens = np.tile(ENDLESS.tokens, 60)[:250]
    made = decoder().generate([Prompt(tokens)], replace(SAMPLED, max_tokens=50))[0]
    right = knowing_all(Prompt(tokens), made.tokens)
    drafted = decoder().generate([Prompt(tokens)], replace(SAMPLED, max_tokens=50), [right])[0]
    assert drafted.tokens == made.tokens
    if made.stopped == "length":
        assert len(made.tokens) == 256 - 250


class Counting:
    """Forbids the last token, and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, ...]] = []

    def __call__(self, ids: Any, scores: Any) -> Any:
        self.asked.append(tuple(ids[0].tolist()))
        scores = scores.clone()
        scores[:, ids[0, -1]] = -float("inf")
        return scores


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_processors_see_each_token_once_and_no_rejected_draft(sampling: Sampling) -> None:
    prompt = ENDLESS
    plain, drafted = Counting(), Counting()
    expected = decoder().generate([prompt], sampling, processors=[plain])[0]
    if sampling is GREEDY:
        theirs = transformers(prompt, logits_processor=[Counting()])
        assert expected.tokens == tuple(token for token in theirs if token not in ENDS)
    answer = list(expected.tokens)
    answer[6:8] = [3, 3]
    made = decoder().generate(
        [prompt], sampling, [knowing_all(prompt, answer)], processors=[drafted]
    )
    assert made[0].tokens == expected.tokens
    assert drafted.asked == plain.asked


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED])
def test_a_processor_that_writes_in_place_does_not_change_the_log_probability(
    sampling: Sampling,
) -> None:
    def kind(_: Any, scores: Any) -> Any:
        return scores * 3.0

    def rude(_: Any, scores: Any) -> Any:
        scores *= 3.0
        return scores

    one, other = (
        decoder().generate([ENDLESS], sampling, processors=[each])[0] for each in (kind, rude)
    )
    assert one.tokens == other.tokens
    assert one.log_probability == other.log_probability


def test_the_log_probability_is_the_models_own() -> None:
    import torch

    for sampling in (GREEDY, SAMPLED):
        for prompt in prompts(5, seed=5):
            made = decoder().generate([prompt], sampling)[0]
            ids = torch.tensor([[*prompt.tokens.tolist(), *made.tokens]])
            with torch.inference_mode():
                law = model("llama")(ids).logits[0].log_softmax(-1)
            begin = len(prompt.tokens) - 1
            expected = sum(float(law[begin + at, token]) for at, token in enumerate(made.tokens))
            likelihood = decoder().log_likelihood(
                [prompt, ENDLESS], [np.array(made.tokens, np.int64), np.zeros(0, np.int64)]
            )
            assert likelihood == pytest.approx([expected, 0.0], abs=1e-4)
            if made.stopped == "length":
                assert made.log_probability == pytest.approx(expected, abs=1e-4)
            else:
                ends = [float(law[-1, end]) for end in ENDS]
                last = made.log_probability - expected
                assert min(abs(last - end) for end in ends) < 1e-4


@pytest.mark.parametrize("undrafted", [False, True])
def test_a_likelihood_is_not_computed_to_its_end_for_nobody(undrafted: bool) -> None:
    """Asked before each forward, and while another thread decodes."""
    one = Decoder(model("llama"), tokenizer())
    if undrafted:
        one._target = None
    asked = prompts(3, seed=4)
    texts = [np.array([3, 4, 5], np.int64)] * 3
    looks: list[int] = []

    def wanted(most: int) -> Callable[[], bool]:
        looks.clear()
        return lambda: bool(looks.append(1)) or len(looks) > most

    assert one.log_likelihood(asked, texts, cancelled=wanted(99)) is not None
    for most in range(len(looks)):
        assert one.log_likelihood(asked, texts, cancelled=wanted(most)) is None
        assert len(looks) == most + 1
    with one._lock:
        assert one.log_likelihood(asked, texts, cancelled=lambda: True) is None


def test_what_was_copied_from_which_passage_is_told() -> None:
    prompt, made = of_length(20)

    def propose(tokens: list[int], budget: Budget) -> Draft:
        if tokens[: len(prompt.tokens)] != prompt.tokens.tolist():
            return Draft.empty()  # a text that compiles what drafts
        at = len(tokens) - len(prompt.tokens)
        right = [*made.tokens, 9, 9, 9, 9][at : at + 4]
        draft = chain([*right[:3], (right[3] + 1) % VOCABULARY])
        return Draft(
            draft.tokens, draft.parents, draft.sources, (("a", at), ("a", at + 1), None, ("b", 0))
        )

    drafted = decoder().generate([prompt], GREEDY, [Scripted(propose)])[0]
    assert drafted.tokens == made.tokens
    assert len(drafted.copied) >= 6
    assert all(place == offset and name == "a" for place, name, offset in drafted.copied)


def test_a_copy_is_told_whole_however_much_of_it_was_drafted() -> None:
    prompt, made = of_length(20)
    answer = list(made.tokens)
    passage = np.array([2, *answer[3:12], 2], np.int64)
    asked = Prompt(np.concatenate([passage, prompt.tokens]), (Passage("a", 0, 11),))
    drafted = [(6, "a", 4), (7, "a", 5)]
    expected = tuple((place, "a", place - 2) for place in range(3, 12))
    assert copied(drafted, answer, asked) == expected
    assert copied([], answer, asked) == ()
    assert copied([(6, "b", 4)], answer, asked) == ((6, "b", 4),)
    other = [*answer[:9], (answer[9] + 1) % VOCABULARY, *answer[10:]]
    assert copied(drafted, other, asked) == expected[:6]


def test_rows_are_told_as_they_grow() -> None:
    batch = prompts(6, seed=2)
    told: dict[int, list[int]] = {row: [] for row in range(6)}
    made = decoder().generate(batch, GREEDY, on_tokens=lambda row, new: told[row].extend(new))
    assert [tuple(told[row]) for row in range(6)] == [row.tokens for row in made]


def test_a_cancelled_text_is_what_was_there() -> None:
    prompt, made = of_length(20)
    seen: list[int] = []
    stopped = decoder().generate(
        [prompt],
        GREEDY,
        on_tokens=lambda row, new: seen.extend(new),
        cancelled=lambda: len(seen) >= 5,
    )[0]
    assert stopped.stopped == "cancelled"
    assert stopped.tokens == made.tokens[:5]
    before = decoder().generate([prompt], GREEDY, cancelled=lambda: True)[0]
    assert (before.stopped, before.tokens, before.statistics.forwards) == ("cancelled", (), 0)


def test_a_text_that_waits_for_the_model_can_be_cancelled() -> None:
    prompt, made = of_length(20)
    one, begun, go_on = decoder(), threading.Event(), threading.Event()

    def holds(row: int, new: Sequence[int]) -> None:
        begun.set()
        assert go_on.wait(60)

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.generate, [prompt], GREEDY, on_tokens=holds)
        try:
            assert begun.wait(60)
            second = one.generate([prompt], GREEDY, cancelled=lambda: True)[0]
            with pytest.raises(DeadlineError):
                one.generate([prompt], GREEDY, deadline=time.monotonic())
        finally:
            go_on.set()
        assert (second.stopped, second.tokens) == ("cancelled", ())
        assert first.result()[0].tokens == made.tokens


def test_a_deadline_is_an_error_and_the_decoder_goes_on() -> None:
    one = decoder()
    with pytest.raises(DeadlineError):
        one.generate([ENDLESS], GREEDY, deadline=time.monotonic())
    assert one.generate([ENDLESS], GREEDY, deadline=time.monotonic() + 600)[0].tokens


def test_a_callers_error_leaves_the_decoder_usable() -> None:
    def fails(row: int, new: Sequence[int]) -> None:
        raise KeyError("gone")

    one = decoder()
    with pytest.raises(KeyError):
        one.generate([ENDLESS], GREEDY, on_tokens=fails)
    assert one.generate([ENDLESS], GREEDY)[0].tokens


def test_no_other_generator_moves_a_sampled_text() -> None:
    import torch

    made = set()
    for seed in range(3):
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        torch.manual_seed(seed)
        made.add(decoder().generate([ENDLESS], SAMPLED)[0].tokens)
    assert len(made) == 1
    assert decoder().generate([ENDLESS], replace(SAMPLED, seed=4))[0].tokens not in made


@pytest.mark.parametrize("rule", ["p_over_q", "without_replacement"])
def test_drafts_with_a_law_are_verified_by_it(rule: Any) -> None:
    """Drawn from the uniform law, siblings none twice: valid texts, and some drafts stand."""
    draw = np.random.default_rng(1)
    law = np.full(VOCABULARY, 1 / VOCABULARY)

    def propose(tokens: list[int], budget: Budget) -> Draft:
        siblings = draw.choice(VOCABULARY, 3, replace=False).tolist()
        return tree(siblings, [-1] * 3, np.stack([law] * 3))

    sampling = replace(SAMPLED, temperature=5.0, rule=rule)
    made = decoder().generate([ENDLESS] * 3, sampling, [Scripted(propose)])
    assert sum(row.statistics.accepted.get("scripted", 0) for row in made) > 0
    assert all(0 < len(row.tokens) <= 20 for row in made)
    greedy = decoder().generate([ENDLESS], replace(GREEDY, rule=rule), [Scripted(propose)])
    assert greedy[0].tokens == decoder().generate([ENDLESS], GREEDY)[0].tokens


def test_padding_that_is_the_end_token_and_ends_in_the_prompt_change_nothing() -> None:
    """Neither hides a token of the prompt, nor ends a text before it began."""
    one = decoder()
    prompt = Prompt(np.array([5, ENDS[0], 8, ENDS[1], 9, 0, 0, 7], np.int64))
    generation = model("llama").generation_config
    expected = [token for token in transformers(prompt) if token not in ENDS]
    padding = generation.pad_token_id
    generation.pad_token_id = ENDS[0]
    try:
        made = one.generate([prompt, ENDLESS], GREEDY)[0]
    finally:
        generation.pad_token_id = padding
    assert list(made.tokens) == expected


def test_the_cache_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = prompts(4, seed=4)
    expected = [row.tokens for row in decoder().generate(batch, GREEDY)]
    monkeypatch.setattr(engine, "_ROOM", 1)
    draw = np.random.default_rng(0)
    wrong = Scripted(lambda tokens, budget: chain(draw.integers(2, VOCABULARY, 4).tolist()))
    made = decoder().generate(batch, GREEDY, [wrong])
    assert [row.tokens for row in made] == expected
    assert 0 < made[0].statistics.realignment_share < 1


def test_no_prompts_make_no_texts() -> None:
    assert decoder().generate([], GREEDY) == []
    assert decoder().log_likelihood([], []) == []


@pytest.mark.parametrize(
    ("tokens", "words"),
    [([], "no tokens"), ([VOCABULARY], "tokenizer"), ([-1], "tokenizer"), ([5] * 256, "256")],
)
def test_prompts_that_cannot_be_read_are_refused(tokens: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        decoder().generate([ENDLESS, Prompt(np.array(tokens, np.int64))], GREEDY)
    assert "prompt" in str(refused.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -1.0), ("temperature", 1e-40), ("temperature", float("nan")),
        ("top_k", 0), ("top_p", 0.0), ("top_p", 1.5), ("max_tokens", 0), ("stop", ("",)),
        ("rule", "typical"), ("temperature", "1"), ("top_p", True), ("seed", 1.0),
    ],
)  # fmt: skip
def test_sampling_that_means_nothing_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InputError, match=field):
        Sampling(**{field: value})
