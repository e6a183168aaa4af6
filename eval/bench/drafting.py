"""``cormorant bench drafting --model FOLDER[,ASSISTANT]``: drafts against plain decoding and peers.

One model, by ``cormorant train drafting-model`` (random weights copy nothing, and would prove
nothing), the same prompts for all: questions of xquad-en and pubmedqa-l with the passages that
``hybrid`` finds (extractive), and what a paper of scitldr is about (abstractive); no document of
these may be in the training data (``--apart`` there). Greedy, float32, one prompt at a time and
eight. Peers in the same run: transformers' plain ``generate``, its prompt lookup (10 tokens a
draft, as it is commonly run, 32, and 63, the most that ours takes; ratios are against the best of
them), and its assisted generation (by ASSISTANT, a smaller model of the same tokenizer, or else by
a copy of the model, which cannot win: no ratio then); these take no batch and run row by row.

Systems take turns on every batch, so that the machine's moods reach all of them. Reported by kind
of prompt: tokens a forward of the target, tokens a second, the share of texts that are those of
transformers' plain ``generate``, and how many took more forwards than plain decoding.
``speed_vs_plain`` is against the faster of the two plain ones; ``accepted_vs_prompt_lookup``
compares tokens a forward; ``identical`` is the share of texts that are those of undrafted decoding.
Then the loss of drafting that does not pay: 30 interleaved pairs with a drafter that is never
right, 30 with the default ones reading another prompt's passages, half of the prompts cut to their
last tokens; and the upper end of the 95% interval of their mean ratio of times. Last, in bfloat16,
how many texts part from plain decoding's, and of how many rounding is the reason
(:mod:`..divergence`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...documents import JsonObject
from ...errors import CollectionError, InputError
from ...rankers.language_models.local import LocalModel
from ...retrieval.answering.decoding.engine import Decoder
from ...retrieval.answering.decoding.types import Drafter, Prompt, Sampling
from ...retrieval.answering.drafters.fuse import Fused
from ...retrieval.answering.drafters.model import Model
from ...retrieval.answering.drafters.passages import Passages
from ...retrieval.answering.drafters.text import Text
from ...retrieval.answering.local import decoder_of
from ...retrieval.answering.settings import Answering
from .drafting_precision import in_bfloat16
from .drafting_prompts import ABSTRACTIVE, EXTRACTIVE, SETS, batches, prompts_of
from .drafting_systems import (
    MAX_TOKENS,
    Done,
    Misled,
    NeverRight,
    System,
    assistant_of,
    ours,
    padding_of,
    transformers_batch,
    transformers_rows,
)
from .sentences import shared_data
from .shown import show

if TYPE_CHECKING:
    from rich.console import Console

PROMPTS, ALL_PROMPTS = 16, 96
"""Of each collection; a multiple of eight."""
SIZES = (1, 8)
PAIRS = 30
SHORT = 64
"""Tokens of the shorter prompts."""
LOOKUPS = {f"transformers prompt lookup, {most}": most for most in (10, 32, 63)}
PLAIN, UNDRAFTED, DRAFTED = "transformers generate", "cormorant undrafted", "cormorant"
DEFAULT: tuple[Drafter, ...] = Answering().default_drafters()
ASSISTED = "transformers assisted"


def bench(
    *, full: bool, corpus: Path | None, model: str | None, console: Console
) -> tuple[list[JsonObject], dict[str, float], dict[str, str]]:
    """The rows, the ratios (without a suffix: of extractive prompts), and what the peers were."""
    import transformers

    home = corpus or shared_data()
    if home is None:
        raise CollectionError("bench drafting needs the test collections; name them with --corpus")
    if model is None:
        raise InputError(
            "name the model that answers; train one with: cormorant train drafting-model",
            field="--model",
        )
    target, _, assistant = model.partition(",")
    loaded = LocalModel(target).loaded()
    helper = LocalModel(assistant) if assistant else None
    peer = copy.deepcopy(loaded.model)  # as transformers has it: ours attends by our kernel
    decoder = decoder_of(loaded)
    systems = _systems(decoder, peer, loaded.tokenizer, helper)
    rows: list[JsonObject] = []
    ratios: dict[str, float] = {}
    prompts: dict[str, list[Prompt]] = {EXTRACTIVE: [], ABSTRACTIVE: []}
    for name, kind in SETS.items():
        count = ALL_PROMPTS if full else PROMPTS
        prompts[kind] += prompts_of(home, name, count, loaded.tokenizer)
    for kind, asked in prompts.items():
        for size in SIZES:
            measured = _measured(systems, batches(asked, size))
            rows += [_row(name, f"{kind}, batch {size}", measured) for name in systems]
            suffix = "" if kind == EXTRACTIVE else f"_{kind}"
            found = _ratios(measured, size, assisted=helper is not None)
            ratios |= {f"{key}{suffix}": one for key, one in found.items()}
            show(rows[-len(systems) :], {}, console)
    asked = prompts[EXTRACTIVE]
    wrong = [ours(decoder, [NeverRight(padding_of(loaded.tokenizer))])] * PAIRS
    misled = [
        ours(
            decoder,
            [Misled(drafter, asked[(pair + len(asked) // 2) % len(asked)]) for drafter in DEFAULT],
        )
        for pair in range(PAIRS)
    ]
    for name, systems_of in (("never right", wrong), ("misled", misled)):
        bound = _loss(systems[UNDRAFTED], systems_of, asked)
        setting = f"{PAIRS} pairs"
        rows.append({"system": name, "setting": setting, "time_vs_undrafted_95": bound})
        ratios[f"{name.replace(' ', '_')}_vs_undrafted_95"] = 1 / bound
    show(rows[-2:], {}, console)
    several = batches([*prompts[EXTRACTIVE], *prompts[ABSTRACTIVE]], max(SIZES))
    sampling = Sampling(max_tokens=MAX_TOKENS)
    low = in_bfloat16(peer, loaded.tokenizer, several, DEFAULT, sampling)
    rows.append({"system": DRAFTED, "setting": "bfloat16, batch 8 against 1 undrafted", **low})
    ratios["certified_bfloat16"] = low["certified"] / low["parted"] if low["parted"] else 1.0
    show(rows[-1:], ratios, console)
    versions = {"transformers": transformers.__version__}
    return rows, ratios, versions | {"assistant": assistant or "a copy of the model"}


def _systems(
    decoder: Decoder, model: Any, tokenizer: Any, helper: LocalModel | None
) -> dict[str, System]:
    assistant = assistant_of(model, helper.loaded().model if helper else None)
    systems = {
        PLAIN: transformers_batch(model, tokenizer),
        UNDRAFTED: ours(decoder, []),
        **{
            name: transformers_rows(model, tokenizer, {"prompt_lookup_num_tokens": most})
            for name, most in LOOKUPS.items()
        },
        ASSISTED: transformers_rows(model, tokenizer, {"assistant_model": assistant}),
        DRAFTED: ours(decoder, DEFAULT),
        "cormorant passages": ours(decoder, [Passages()]),
        "cormorant text": ours(decoder, [Text()]),
    }
    if helper is not None:
        systems["cormorant fused"] = ours(decoder, [Fused((Passages(), Text(), Model(helper)))])
    return systems


def _measured(
    systems: Mapping[str, System], asked: Sequence[Sequence[Prompt]]
) -> dict[str, list[Done]]:
    """Every system on every batch, in turns; each begins once, and the first is run twice."""
    names = list(systems)
    for name in names:  # what is made at the first call is not measured
        systems[name](asked[0])
    done: dict[str, list[Done]] = {name: [] for name in names}
    for turn, batch in enumerate(asked):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            done[name].append(systems[name](batch))
    return done


def _row(name: str, setting: str, measured: Mapping[str, Sequence[Done]]) -> JsonObject:
    own, plain = measured[name], measured[PLAIN]
    pairs = [
        pair
        for one, two in zip(own, plain, strict=True)
        for pair in zip(one[0], two[0], strict=True)
    ]
    row: JsonObject = {
        "system": name,
        "setting": setting,
        "tokens_per_forward": _per_forward(own),
        "tokens_per_second": _per_second(own),
        "identical": sum(one == two for one, two in pairs) / len(pairs),
        "tokens": sum(done.emitted for done in own) / len(pairs),
    }
    realigning = [done.realigning for done in own if done.realigning is not None]
    beyond = [done.beyond_plain for done in own if done.beyond_plain is not None]
    if realigning and beyond:  # ours
        row |= {"realignment_share": max(realigning), "beyond_plain_forwards": sum(beyond)}
    return row


def _per_forward(done: Sequence[Done]) -> float:
    return sum(one.emitted for one in done) / sum(one.forwards for one in done)


def _per_second(done: Sequence[Done]) -> float:
    return sum(one.emitted for one in done) / sum(one.seconds for one in done)


def _ratios(
    measured: Mapping[str, Sequence[Done]], size: int, *, assisted: bool
) -> dict[str, float]:
    drafted, own = _per_second(measured[DRAFTED]), measured[DRAFTED]
    plain = max(_per_second(measured[name]) for name in (PLAIN, UNDRAFTED))
    same = [
        text == other
        for one, two in zip(own, measured[UNDRAFTED], strict=True)
        for text, other in zip(one.texts, two.texts, strict=True)
    ]
    lookups = [measured[name] for name in LOOKUPS]
    if size > 1:
        return {"speed_vs_plain_batch8": drafted / plain, "identical_batch8": float(np.mean(same))}
    return {
        "speed_vs_plain": drafted / plain,
        "accepted_vs_prompt_lookup": _per_forward(own) / max(map(_per_forward, lookups)),
        "speed_vs_prompt_lookup": drafted / max(map(_per_second, lookups)),
        **({"speed_vs_assisted": drafted / _per_second(measured[ASSISTED])} if assisted else {}),
        "identical": float(np.mean(same)),
    }


def _loss(plain: System, wrong: Sequence[System], prompts: Sequence[Prompt]) -> float:
    """The upper end of the 95% interval of the mean ratio of times, in pairs in turn."""
    ratios = []
    for pair, drafted in enumerate(wrong):
        batch = [prompts[pair % len(prompts)]]
        if pair % 4 > 1:  # of either order
            batch = [Prompt(batch[0].tokens[-SHORT:])]
        order = (plain, drafted) if pair % 2 else (drafted, plain)
        first, second = (system(batch).seconds for system in order)
        ratios.append(second / first if pair % 2 else first / second)
    return float(np.mean(ratios) + 2.045 * np.std(ratios, ddof=1) / len(wrong) ** 0.5)
