"""A model on this machine: where the logits are read, and what a chat template adds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_language_model import build, save

import cormorant as cm
from cormorant.errors import ModelNotFoundError
from cormorant.rankers.language_models.local import LocalModel
from cormorant.rankers.listwise.passages import cleaned
from cormorant.rankers.listwise.prompts import FIRST_TOKEN
from cormorant.rankers.listwise.settings import Listwise

TURNS = (
    "{% for message in messages %}[I] {{ message['content'] | trim }} [O]{% endfor %}"
    "{% if add_generation_prompt %} [O]{% endif %}"
)
LETTERS = [*map(chr, range(65, 91)), *map(chr, range(97, 123))]
SHOWN = ["reed", "tide", "eel", "gull"]


def pieces(folder: Path, template: str | None = None, joined: tuple[str, ...] = ()) -> Path:
    """A model with a tokenizer as SentencePiece's: a space is part of the token behind it.

    ``joined``: letters that are one token with a bracket before them.
    """
    from tokenizers import Tokenizer, models, pre_tokenizers

    merges = [*[("▁", letter) for letter in ["[", *LETTERS]], *[("[", one) for one in joined]]
    made = ["▁", "[", "]", *LETTERS, *map("".join, merges)]
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<unk>", "</s>", *made])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))  # noqa: S106
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return save(folder, tokenizer, template)


def logits(folder: Path, text: str) -> tuple[Any, Any]:
    """(n_tokens, n_vocabulary) float32 of a text as it is, and the tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.encode(text, add_special_tokens=False)
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.inference_mode():
        return model(torch.tensor([ids])).logits[0], tokenizer


@pytest.mark.parametrize("template", [None, TURNS], ids=["plain", "chat"])
def test_first_reads_the_letters_behind_the_bracket_that_begins_the_answer(
    tmp_path: Path, template: str | None
) -> None:
    model = LocalModel(str(pieces(tmp_path, template)))
    names = ["A", "B", "C", "D"]
    query, *texts = [cleaned(text, 99, model.count_tokens) for text in ["eel", *SHOWN]]
    prompt = FIRST_TOKEN.filled(query, names, texts, len(texts))
    asked = f"[I] {prompt.strip()} [O] [O]" if template else prompt
    read, tokenizer = logits(tmp_path, f"{asked}[")
    letters = tokenizer.convert_tokens_to_ids(names)
    wanted = read[-1][letters].numpy()
    scores = model.next_token_scores(prompt, [f"[{name}" for name in names])
    np.testing.assert_allclose(scores, wanted, rtol=1e-4, atol=1e-6)
    judged = Listwise(model, method="first", prior_weight=0.0).judge("eel", SHOWN)
    assert list(judged.order) == np.argsort(-wanted, kind="stable").tolist()
    assert judged.record.prompt_tokens == len(tokenizer.encode(f"{asked}["))


def test_letters_that_are_one_token_with_the_bracket_are_compared_with_those_that_are_not(
    tmp_path: Path,
) -> None:
    folder = pieces(tmp_path, joined=("A", "C"))
    read, tokenizer = logits(folder, "rank[")
    before, behind = read.log_softmax(-1)[-2:]
    [bracket, *ids] = tokenizer.convert_tokens_to_ids(["[", "[A", "B", "[C"])
    wanted = [before[ids[0]], before[bracket] + behind[ids[1]], before[ids[2]]]
    scores = LocalModel(str(folder)).next_token_scores("rank", ["[A", "[B", "[C"])
    np.testing.assert_allclose(scores, np.array(wanted, np.float32), rtol=1e-4)


@pytest.mark.parametrize("options", [["[A", "[A"], ["[A", "["], ["A", ""]])
def test_options_that_do_not_part(tmp_path: Path, options: list[str]) -> None:
    with pytest.raises(cm.InputError, match="same token"):
        LocalModel(str(pieces(tmp_path))).next_token_scores("rank", options)


def test_first_reads_no_more_than_the_context(tmp_path: Path) -> None:
    model = LocalModel(str(build(tmp_path)), context_tokens=16)
    with pytest.raises(cm.InputError, match="the model reads 16 with its answer"):
        model.next_token_scores("eel " * 16, ["A", "B"])
    assert len(model.next_token_scores("eel " * 15, ["A", "B"])) == 2
    with pytest.raises(cm.InputError, match="the model reads 16"):
        Listwise(model, method="first").judge("eel", SHOWN)


def test_what_a_chat_template_adds_is_counted(tmp_path: Path) -> None:
    long = "{{ 'eel ' * 200 }}{% for message in messages %}{{ message['content'] }}{% endfor %}"
    model = LocalModel(str(pieces(tmp_path, long)))
    said = model.complete("rank", 3)
    assert model.count_prompt("rank") == said.prompt_tokens > 600 > model.count_tokens("rank")
    alone = Listwise(model).judge("q", SHOWN).record.charged
    within = Listwise(model, tokens=alone - 1, passage_tokens=1, attempts=1).judge("q", SHOWN)
    assert within.record.charged <= alone - 1
    none = Listwise(model, tokens=600).judge("q", SHOWN).record
    assert (none.calls, none.ran_out) == (0, "tokens")


@pytest.mark.parametrize("name", ["./not/here", "nobody/nothing"])
def test_a_model_that_is_nowhere(name: str) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder of that name; not in the hub"):
        LocalModel(name).complete("a", 1)
