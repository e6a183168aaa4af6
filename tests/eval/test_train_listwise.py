"""Labels by repeated passes, the importance-aware loss, and a tiny model that learns to rank."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
from language_models import Scripted, by_number, ordered, passages
from tiny_language_model import build

import cormorant as cm
from cormorant.eval.training.listwise import (
    IGNORED,
    ListwiseTraining,
    importance,
    importance_loss,
    tokens_of,
    train_listwise,
)
from cormorant.eval.training.listwise_labels import (
    Example,
    by_language_model,
    complete_order,
    labelled,
    read_examples,
)
from cormorant.rankers.language_models.local import Loaded, LocalModel
from cormorant.rankers.listwise.settings import Listwise

WORTH = {"reed": 3, "tide": 2, "eel": 1}


def examples() -> list[Example]:
    made = []
    for words in itertools.permutations(WORTH):
        order = sorted(range(3), key=lambda place: -WORTH[words[place]])
        made.append(Example("rank", words, tuple(order)))
    return made


def right(model: Path) -> float:
    """The share of inputs that a model orders as it was taught."""
    stage = Listwise(LocalModel(str(model)), attempts=1, prior_weight=0.0)
    return sum(
        stage.judge(example.query, example.passages).order == example.order
        and stage.judge(example.query, example.passages).record.problems == []
        for example in examples()
    ) / len(examples())


def test_repeated_passes_settle_every_place() -> None:
    worth = [(place * 37) % 100 for place in range(100)]
    calls = []

    def order(places: list[int], top: int) -> list[int]:
        calls.append(len(places))
        return sorted(places, key=lambda place: -worth[place])

    made = complete_order(order, 100)
    assert made == sorted(range(100), key=lambda place: -worth[place])
    assert max(calls) == 20
    one_pass = 9
    assert one_pass < len(calls) <= sum(range(1, 11))


def test_labels_are_taken_up_after_a_kill(tmp_path: Path) -> None:
    asked = [(f"q{number}", ["a", "b"]) for number in range(4)]
    file = tmp_path / "labels.jsonl"
    taught = []

    def teach(query: str, passages: object) -> list[int]:
        if query == "q2" and len(taught) == 2:
            taught.append("killed")
            raise KeyboardInterrupt
        taught.append(query)
        return [1, 0]

    with pytest.raises(KeyboardInterrupt):
        labelled(file, iter(asked), teach)
    with file.open("a") as out:
        out.write('{"query": "q2", "pass')
    assert [item.query for item in labelled(file, iter(asked), teach)] == ["q0", "q1", "q2", "q3"]
    assert taught == ["q0", "q1", "killed", "q2", "q3"]
    with pytest.raises(cm.InputError, match="other queries"):
        labelled(file, iter([("another", ["a", "b"])]), teach)


def silent_about(prompt: str) -> str:
    """Nothing about passages of one, and all but the last of two."""
    answer = ordered(prompt, by_number)
    first = passages(prompt)[0]
    if first.startswith("one"):
        return "Sorry, I cannot."
    return answer.rpartition(" > ")[0] if first.startswith("two") else answer


def test_a_query_that_the_teacher_does_not_order_in_full_is_left_out(tmp_path: Path) -> None:
    asked = [
        (name, [f"{name} worth {number}" for number in range(3)])
        for name in ("zero", "one", "two", "three")
    ]
    file, model, told = tmp_path / "labels.jsonl", Scripted(silent_about), list[str]()
    made = labelled(file, iter(asked), by_language_model(model), told.append)
    assert [(item.query, item.order) for item in made] == [
        ("zero", (2, 1, 0)),
        ("three", (2, 1, 0)),
    ]
    assert told == ["2 of 4 queries left out: no whole order"]
    assert read_examples(file) == made
    prompts = len(model.prompts)
    assert labelled(file, iter(asked), by_language_model(model)) == made
    assert len(model.prompts) == prompts
    with pytest.raises(cm.InputError, match="no whole order of any of 2 queries"):
        labelled(tmp_path / "none.jsonl", iter(asked[1:3]), by_language_model(model))


def test_a_teacher_that_mostly_refuses_teaches_nothing() -> None:
    """Four answers of ninety were once enough for a label that was half the prior order."""
    model = Scripted(
        lambda prompt: "Sorry." if len(model.prompts) % 20 else ordered(prompt, by_number)
    )
    teach = by_language_model(model)
    assert teach("q", [f"worth {number}" for number in range(100)]) is None
    assert len(model.prompts) == 2


def test_identifiers_weigh_by_rank_and_separators_one(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = build(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = Loaded(AutoModelForCausalLM.from_pretrained(folder), tokenizer)
    made = tokens_of(Example("rank", ("reed", "tide"), (1, 0)), loaded, 10)
    answer = [place for place, label in enumerate(made.labels) if label != IGNORED]
    said = tokenizer.convert_ids_to_tokens([made.ids[place] for place in answer])
    assert said == ["[", "2", "]", ">", "[", "1", "]", "</s>"]
    first, second = 1 + 1 / math.log2(2), 1 + 1 / math.log2(3)
    wanted = [first] * 3 + [1.0] + [second] * 3 + [1.0]
    assert [made.weights[place] for place in answer] == pytest.approx(wanted)
    assert importance(1) == 2.0


def test_the_loss_is_the_weighted_mean_over_the_answer() -> None:
    import torch

    torch.manual_seed(0)
    logits = torch.randn(1, 4, 5)
    labels = torch.tensor([[IGNORED, IGNORED, 3, 1]])
    weights = torch.tensor([[0.0, 0.0, 2.0, 1.0]])
    log = torch.log_softmax(logits[0].double(), dim=-1)
    wanted = -(2.0 * log[1, 3] + 1.0 * log[2, 1]) / 2
    assert float(importance_loss(logits, labels, weights)) == pytest.approx(float(wanted), rel=1e-5)


def test_a_tiny_model_learns_to_rank(tmp_path: Path) -> None:
    backbone = build(tmp_path / "backbone", width=64, layers=2)
    assert right(backbone) == 0.0
    settings = ListwiseTraining(
        str(backbone), steps=150, learning_rate=3e-3, batch=6, lora_rank=None, report_steps=25
    )
    trained = train_listwise(examples(), tmp_path / "run", settings)
    assert trained.losses[-1][1] < trained.losses[0][1] / 5
    assert right(trained.model) == 1.0


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own
def test_lora_trains_little_and_is_merged(tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft")
    backbone = build(tmp_path / "backbone", width=64, layers=2)
    settings = ListwiseTraining(
        str(backbone), steps=12, learning_rate=2e-2, batch=6, lora_rank=8, report_steps=3
    )
    trained = train_listwise(examples(), tmp_path / "run", settings)
    assert trained.losses[-1][1] < trained.losses[0][1]
    assert not list(trained.model.glob("adapter*"))
    assert LocalModel(str(trained.model)).complete("rank", 3).completion_tokens >= 1


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    backbone = build(tmp_path / "backbone")
    settings = ListwiseTraining(
        str(backbone), steps=6, learning_rate=1e-3, batch=2, lora_rank=None, save_steps=2,
        report_steps=2,
    )  # fmt: skip
    whole = train_listwise(examples(), tmp_path / "whole", settings)

    def killing(line: str) -> None:
        if line.startswith("step 6"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_listwise(examples(), tmp_path / "killed", settings, killing)
    again = train_listwise(examples(), tmp_path / "killed", settings)
    assert again.losses == whole.losses
    one = load_file(whole.model / "model.safetensors")
    other = load_file(again.model / "model.safetensors")
    assert all((one[name] == other[name]).all() for name in one)
    with pytest.raises(cm.InputError, match="other settings"):
        train_listwise(examples(), tmp_path / "killed", ListwiseTraining(str(backbone), steps=7))


def test_nothing_to_learn_from_and_examples_that_are_too_long(tmp_path: Path) -> None:
    backbone = build(tmp_path / "backbone")
    settings = ListwiseTraining(str(backbone), steps=1, lora_rank=None, passage_tokens=5000)
    with pytest.raises(cm.InputError, match="nothing to learn"):
        train_listwise([], tmp_path / "a", settings)
    long = Example("rank", ("reed " * 3000, "eel"), (0, 1))
    with pytest.raises(cm.InputError, match="the model reads"):
        train_listwise([long], tmp_path / "b", settings)
    with pytest.raises(cm.InputError, match="steps"):
        ListwiseTraining("x", steps=0)
