"""Queries as other people would have typed them, made by seed, and what each pipeline loses by it.

Four changes, none of which needs a model or a download:

* ``typos``: of the words with four letters or more about a third, at least one, get one slip of the
  finger behind the first letter: two letters swapped, one left out, one typed twice, or the key
  beside it on an English keyboard;
* ``case``: everything in capitals;
* ``keywords``: without stop words and punctuation, each word once;
* ``paraphrase``: **no person's and no model's**, but a mechanical one for English: words are
  exchanged by a small table of near synonyms, the two sides of a preposition or conjunction change
  places, and a frame such as "what is known about" goes around it. It shows what word order, frames
  and a few other words do; what a true paraphrase does is likely worse.

A query's changes depend on the seed, the query's id and text, and on no other query.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from ..documents import JsonObject
from ..indexers.analysis.analyzer import LANGUAGES
from ..indexers.analysis.stopwords import STOP_WORDS
from .grids import Cell, Grid, written_p
from .result import EvalResult
from .significance import Against, compare_all

UNCHANGED = "as they are"
"""No change is called so, and a pipeline may be called as a change is."""

_WORD = re.compile(r"\w+(?:['’-]\w+)*")  # noqa: RUF001 - an apostrophe as typed by word processors
_TYPED = re.compile(r"\w{4,}")
_JOINT = re.compile(r"\s+(of|in|on|for|with|by|and|from|to)\s+", re.IGNORECASE)
_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_SYNONYMS = """
effect/influence effects/influences method/technique methods/techniques use/application used/applied
using/by show/demonstrate shows/demonstrates cause/reason causes/reasons big/large small/little
increase/rise decrease/reduction help/assist prevent/avoid treat/cure disease/illness
diseases/illnesses children/kids people/persons food/nourishment problem/issue problems/issues
fast/quick study/investigation studies/investigations result/outcome results/outcomes
theory/hypothesis calculate/compute flow/stream information/data system/scheme systems/schemes
describe/explain important/significant risk/danger best/optimal find/determine make/produce
kind/type kinds/types
"""
_PAIRS = [pair.split("/") for pair in _SYNONYMS.split()]
_OTHER = {a: b for pair in _PAIRS for a, b in (pair, pair[::-1])}
_FRAMES = (
    "{}",
    "what is known about {}",
    "information on {}",
    "i would like to know about {}",
    "tell me about {}",
    "{}, please explain",
)


def variants_of(
    queries: Mapping[str, str], seed: int = 0, language: str = "en"
) -> dict[str, dict[str, str]]:
    """Name of a change -> query id -> changed text. ``language``: whose stop words there are."""
    words = STOP_WORDS.get(LANGUAGES.get(language, language), "")
    stop = frozenset(words.split())
    changes: dict[str, Callable[[str, random.Random], str]] = {
        "typos": _typos,
        "case": lambda text, dice: text.upper(),
        "keywords": lambda text, dice: _keywords(text, stop),
        "paraphrase": _paraphrase,
    }
    return {
        name: {
            query: change(text, random.Random(f"{seed} {name} {query} {text}"))
            for query, text in queries.items()
        }
        for name, change in changes.items()
    }


def losses(results: Sequence[EvalResult]) -> list[tuple[EvalResult, Against]]:
    """Each result that has variants, and their comparison with it, measure by measure."""
    return [
        (result, compare_all([replace(result, pipeline=UNCHANGED), *result.variants], UNCHANGED))
        for result in results
        if result.variants
    ]


def losses_json(found: Sequence[tuple[EvalResult, Against]]) -> list[JsonObject]:
    """What ``eval --json`` writes: one object for each change of each result."""
    return [
        {
            "dataset": result.dataset,
            "pipeline": result.pipeline,
            "queries": variant.pipeline,
            "measures": dict(variant.measures),
            "against": against.as_json(variant)["measures"],
        }
        for result, against in found
        for variant in result.variants
    ]


def losses_grid(found: Sequence[tuple[EvalResult, Against]]) -> Grid:
    """One row a change: the first measure, the difference, its share, and p."""
    rows = []
    measure = next(iter(found[0][0].measures))
    for result, against in found:
        whole = result.measures[measure]
        own = (result.dataset, result.pipeline)
        rows.append([Cell(t) for t in (*own, UNCHANGED, f"{whole:.4f}", "-", "-", "-")])
        for variant in result.variants:
            one = against.of(variant)[measure]
            share = f"{one.difference / whole:+.1%}" if whole else "-"
            value = f"{variant.measures[measure]:.4f}"
            difference = f"{one.difference:+.4f}"
            texts = (*own, variant.pipeline, value, difference, share, written_p(one.p_holm))
            rows.append([Cell(text) for text in texts])
    figures = (measure, "difference", "by", "Holm p")
    return Grid(("data set", "pipeline", "queries"), figures, rows, [])


def _typos(text: str, dice: random.Random) -> str:
    words = list(_TYPED.finditer(text))
    if not words:
        return text
    hit = [word for word in words if dice.random() < 1 / 3] or [dice.choice(words)]
    for word in reversed(hit):
        text = text[: word.start()] + _slip(word[0], dice) + text[word.end() :]
    return text


def _slip(word: str, dice: random.Random) -> str:
    place = dice.randrange(1, len(word))
    before, letter, after = word[:place], word[place], word[place + 1 :]
    kind = dice.choice(("swap", "drop", "double", "beside"))
    row = next((row for row in _KEYS if letter.lower() in row), "")
    if kind == "beside" and row:
        at = row.index(letter.lower())
        return before + dice.choice(row[max(0, at - 1) : at] + row[at + 1 : at + 2]) + after
    if kind == "swap" and after and after[0] != letter:
        return before + after[0] + letter + after[1:]
    return before + letter * 2 + after if kind == "double" else before + after


def _keywords(text: str, stop: frozenset[str]) -> str:
    words = list(dict.fromkeys(_WORD.findall(text)))
    return " ".join([word for word in words if word.lower() not in stop] or words) or text


def _paraphrase(text: str, dice: random.Random) -> str:
    text = text.strip().rstrip("?.! ") or text
    text = _WORD.sub(lambda word: _OTHER.get(word[0].lower(), word[0]), text)
    joints = list(_JOINT.finditer(text))
    if joints:
        joint = dice.choice(joints)
        text = f"{text[joint.end() :]}, {joint[1]} {text[: joint.start()]}"
    return dice.choice(_FRAMES).format(text)
