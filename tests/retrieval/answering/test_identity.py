"""Texts are the same with and without drafts: token for token, in any batch, at any tree shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from drafting import (
    ARCHITECTURES,
    END,
    ENDS,
    PAD,
    VOCABULARY,
    Scripted,
    chain,
    decoder,
    knowing,
    model,
    prompts,
    tree,
)

from cormorant.retrieval.answering.decoding.types import (
    Budget,
    Draft,
    Drafter,
    Prompt,
    Sampling,
)

LENGTH = 16
GREEDY = Sampling(max_tokens=LENGTH)
SAMPLED = Sampling(temperature=0.9, top_k=20, top_p=0.95, seed=7, max_tokens=LENGTH)

Answers = dict[tuple[int, ...], tuple[int, ...]]


def transformers_greedy(name: str, prompt: Prompt) -> list[int]:
    import torch

    ids = torch.from_numpy(prompt.tokens)[None]
    made = (
        model(name)
        .generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=LENGTH, do_sample=False)[
            0, ids.shape[1] :
        ]
        .tolist()
    )
    stop = next((place for place, token in enumerate(made) if token in ENDS), len(made))
    return made[:stop]


def plain(name: str, batch: list[Prompt], sampling: Sampling) -> list[tuple[int, ...]]:
    """Without drafts, each prompt alone."""
    alone = decoder(name, Budget(0, 0))
    return [alone.generate([prompt], sampling)[0].tokens for prompt in batch]


def always_wrong(answers: Answers) -> Drafter:
    def script(rest: list[int], budget: Budget) -> Draft:
        return chain([(token + 1) % VOCABULARY for token in rest[: budget.depth]])

    return knowing(answers, script)


def always_right(answers: Answers) -> Drafter:
    return knowing(answers, lambda rest, budget: chain(rest[: budget.depth]))


def right_among_wrong(answers: Answers) -> Drafter:
    """A tree: the right token is the second or third child at each depth."""

    def script(rest: list[int], budget: Budget) -> Draft:
        tokens: list[int] = []
        parents: list[int] = []
        parent = -1
        for token in rest[: budget.depth]:
            siblings = [(token + 5) % VOCABULARY, token, (token + 9) % VOCABULARY]
            tokens += siblings
            parents += [parent] * 3
            parent = len(tokens) - 2
        return tree(tokens, parents)

    return knowing(answers, script)


def random_trees(answers: Answers) -> Drafter:
    draw = np.random.default_rng(3)

    def script(tokens: list[int], budget: Budget) -> Draft:
        count = int(draw.integers(0, 12))
        parents = [int(draw.integers(-1, node)) if node else -1 for node in range(count)]
        return tree(draw.integers(0, VOCABULARY, count).tolist(), parents)

    return Scripted(script)


def ends_inside(answers: Answers) -> Drafter:
    """End tokens within the text, with something behind them, and the right token beside."""

    def script(rest: list[int], budget: Budget) -> Draft:
        first = rest[0] if rest else 3
        return tree([END, 7, first, END, 8], [-1, 0, -1, 2, 3])

    return knowing(answers, script)


def padding(answers: Answers) -> Drafter:
    return Scripted(lambda tokens, budget: chain([PAD] * (len(tokens) % 5)))


def beyond_every_limit(answers: Answers) -> Drafter:
    """More and deeper than asked for, and tokens that do not exist."""

    def script(rest: list[int], budget: Budget) -> Draft:
        return tree([VOCABULARY, -3, *rest, *rest], [-1, -1, -1, *range(2, 1 + 2 * len(rest))])

    return knowing(answers, lambda rest, budget: script(rest, budget) if rest else chain([99]))


DRAFTERS: list[Callable[[Answers], Drafter]] = [
    always_wrong, always_right, right_among_wrong, random_trees, ends_inside, padding,
    beyond_every_limit,
]  # fmt: skip


SHAPES = (Budget(4, 4), Budget(12, 4), Budget(40, 40))


def check(
    name: str,
    batch: list[Prompt],
    sampling: Sampling,
    expected: list[tuple[int, ...]],
    *,
    attention: str = "sdpa",
    thorough: bool = False,
) -> None:
    """Every drafter at one shape each, or at every shape (``thorough``)."""
    answers = {
        tuple(prompt.tokens.tolist()): tokens
        for prompt, tokens in zip(batch, expected, strict=True)
    }
    for number, make in enumerate(DRAFTERS):
        for size in SHAPES if thorough else [SHAPES[number % 3]]:
            made = decoder(name, size, attention=attention).generate(
                batch, sampling, [make(answers)]
            )
            assert [row.tokens for row in made] == expected, (make.__name__, size)
            for row in made:
                assert row.statistics.forwards <= row.statistics.plain_forwards


def greedy(name: str, batch: list[Prompt]) -> list[tuple[int, ...]]:
    expected = [tuple(transformers_greedy(name, prompt)) for prompt in batch]
    assert plain(name, batch, GREEDY) == expected
    return expected


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_texts_are_those_of_transformers(name: str) -> None:
    batch = prompts(5, seed=5)
    expected = greedy(name, batch)
    assert len({len(tokens) for tokens in expected}) > 1, "some end, some do not"
    check(name, batch, GREEDY, expected)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_sampled_texts_are_those_without_drafts(name: str) -> None:
    batch = prompts(4, seed=4)
    expected = plain(name, batch, SAMPLED)
    assert expected != plain(name, batch, GREEDY)
    check(name, batch, SAMPLED, expected)


def test_eager_attention_adds_its_mask() -> None:
    batch = prompts(3, seed=4)
    check("gemma3", batch, GREEDY, greedy("gemma3", batch), attention="eager")


@pytest.mark.soak
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("count", range(1, 9))
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_batch_shape_and_drafter(name: str, count: int, attention: str) -> None:
    batch = prompts(count, seed=100 + count)
    for sampling in (GREEDY, SAMPLED, replace(SAMPLED, temperature=3.0, top_k=None, top_p=None)):
        expected = plain(name, batch, sampling)
        if sampling is GREEDY:
            assert expected == greedy(name, batch)
        check(name, batch, sampling, expected, attention=attention, thorough=True)
