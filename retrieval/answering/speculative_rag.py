"""Speculative RAG: several answers drafted from subsets of the passages, and the likeliest taken.

Wang et al., "Speculative RAG: enhancing retrieval augmented generation through drafting", 2024
(arXiv:2407.08223): the passages are clustered, each draft is written from one passage of every
cluster, all drafts side by side, and the draft with the greatest

    log rho_draft + log rho_consistency + log rho_reflection

is the answer (their product, section 3, in log space): the likelihood of rationale and answer given
the subset, of both given the question alone, and of "Yes" to whether they go together. The terms
are as in the paper not divided by lengths, which favours short drafts; ``normalised`` divides the
first two by the draft's tokens, and the statistics say which draft either rule takes.

This is another way to answer, not a faster way to the same text; nothing here is lossless.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ...documents import JsonObject
from .citing import says_not_found
from .faithfulness import Encode
from .generating import Draft, Scored, Writer, Written
from .packing import Packed
from .pieces import tidy
from .prompts import claim_of, prompt_of, reflection_of
from .settings import Answering
from .stopping import Stop
from .subsets import clusters, subsets, vectors_of

_ANSWER = re.compile(r"(?:^|\n)\s*answer\s*:", re.IGNORECASE)


class Chosen(NamedTuple):
    """The draft that was taken, as written, and all that was weighed."""

    written: Written
    statistics: JsonObject
    flags: list[str]


_CANCELLED = Chosen(Written("", "cancelled", 0, 0), {}, [])


def best_draft(
    question: str,
    passages: Sequence[Packed],
    writer: Writer,
    settings: Answering,
    stop: Stop,
    encode: Encode | None,
) -> Chosen:
    """Draft, score, and choose."""
    groups = clusters(vectors_of(passages, encode), settings.draft_passages)
    chosen = subsets(groups, settings.drafts, settings.seed)
    prompts = [prompt_of(question, [passages[i] for i in own], draft=True) for own in chosen]
    written = writer.write_all(prompts, settings, stop)
    stop.check("scoring the drafts")
    if stop.gone():
        return _CANCELLED
    parts = [parted(one.text) for one in written]
    scored = writer.score(
        [Draft(claim_of(question, *part), reflection_of(question, *part)) for part in parts], stop
    )
    if stop.gone():
        return _CANCELLED
    sums, means, missing = _weighed(written, scored)
    # A draft whose subset lacks the answer says so, likely and short; it is taken if all do.
    answers = [i for i, part in enumerate(parts) if not says_not_found(part[1])]
    among = answers or range(len(parts))
    rules = {
        "sum": max(among, key=sums.__getitem__),
        "a_token": max(among, key=means.__getitem__),
    }
    best = rules["a_token" if settings.normalised else "sum"]
    listed = [
        {
            "ranks": [passages[i].rank for i in own],
            "answer": part[1],
            "log_draft": one.log_probability,
            "log_consistency": score.consistency,
            "log_reflection": score.reflection,
            "tokens": one.tokens,
        }
        for own, part, one, score in zip(chosen, parts, written, scored, strict=True)
    ]
    statistics = {
        "clustered_by": "words" if encode is None else "dense",
        "drafts": listed,
        "taken": best,
        "taken_by": rules,
        "rationale": parts[best][0],
    }
    flags = [f"drafts were chosen without: {', '.join(missing)} (not to be had)"] if missing else []
    return Chosen(_taken(written, best, parts[best][1]), statistics, flags)


def _weighed(
    written: Sequence[Written], scored: Sequence[Scored]
) -> tuple[list[float], list[float], list[str]]:
    """Each draft's score, the same with likelihoods a token, and the terms that were not to be had.

    A term that is missing for one draft is left out for all.
    """
    terms = {
        "draft": [one.log_probability for one in written],
        "consistency": [score.consistency for score in scored],
        "reflection": [score.reflection for score in scored],
    }
    had = {name: np.array(values, float) for name, values in terms.items() if None not in values}
    zeros = np.zeros(len(written))
    likelihoods = had.get("draft", zeros) + had.get("consistency", zeros)
    reflection = had.get("reflection", zeros)
    lengths = np.array([max(1, one.tokens) for one in written])
    sums, means = likelihoods + reflection, likelihoods / lengths + reflection
    return sums.tolist(), means.tolist(), sorted(terms.keys() - had.keys())


def _taken(written: Sequence[Written], best: int, text: str) -> Written:
    """The answer of the best draft, and what all of them cost."""
    own = written[best]
    lead = own.text.rfind(text)
    copied = [
        one._replace(start=one.start - lead, end=one.end - lead)
        for one in own.copied
        if lead <= one.start and one.end <= lead + len(text)
    ]
    return Written(
        text,
        own.stopped,
        sum(one.prompt_tokens for one in written),
        sum(one.tokens for one in written),
        own.log_probability,
        tuple(copied),
    )


def parted(text: str) -> tuple[str, str]:
    """(rationale, answer) of a draft; all is answer where it has no such parts."""
    found = _ANSWER.search(text)
    if found is None:
        return "", tidy(text)
    return text[: found.start()].strip(), tidy(text[found.end() :])
