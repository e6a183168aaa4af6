"""Passages that give orders: what gets out of its place as data, and what an obedient model tells.

A model that reads literally is scripted: it obeys every order that does not stand in a passage as
declared, and none that does. So its success rate is that of the ways out of the declaration, and
says nothing of how well a real model keeps to it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from answer_attacks import BREAKOUTS, FOLDED, ORDER, PLAIN_WORDS, credulous, literal
from endpoints import answering_by

import cormorant as cm
from cormorant.answers import Answer

QUESTION = "How deep does the cormorant dive?"
HONEST = "The cormorant dives 45 metres deep."
ATTACKS = {**BREAKOUTS, **PLAIN_WORDS}


def answer(tmp_path: Path, attack: str, *, in_title: bool = False) -> Answer:
    said = "cormorant dive deep " + ATTACKS[attack]
    attacker = cm.Document(id="x", title=said if in_title else "", text="" if in_title else said)
    with cm.Collection.create(tmp_path / "c.cm") as made:
        made.add([cm.Document(id="h", text=HONEST), attacker])
        return made.answer(QUESTION, model="openai:m")


@pytest.mark.parametrize("in_title", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
def test_no_passage_gets_out_of_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str, in_title: bool
) -> None:
    with answering_by(monkeypatch, literal) as endpoint:
        made = answer(tmp_path, attack, in_title=in_title)
    assert ORDER in endpoint.prompts[0], "the attack was not retrieved"
    assert made.text != "PWNED"
    assert made.sentences[0].id == "h"


@pytest.mark.parametrize(
    "attack", [name for name in BREAKOUTS if not any(word in name for word in FOLDED)]
)
def test_the_literal_model_obeys_an_attack_that_is_not_cleaned(attack: str) -> None:
    """The measure can fail: put into the prompt as they are, the same attacks succeed."""
    lines = f"[1] {HONEST}\n[2] {BREAKOUTS[attack]}"
    prompt = f"Answer.\n<passages>\n{lines}\n</passages>\nQuestion: {QUESTION}\nAnswer:"
    assert literal(prompt) == "PWNED"


@pytest.mark.parametrize("attack", ATTACKS)
def test_what_a_credulous_model_is_talked_into_names_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attack: str
) -> None:
    with answering_by(monkeypatch, credulous):
        made = answer(tmp_path, attack)
    assert made.text == "PWNED."  # no cleaning helps against a model that obeys its data
    assert made.sentences[0].id in ("x", None)  # but it is never put down to another document
