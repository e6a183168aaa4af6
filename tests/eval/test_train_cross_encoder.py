"""Training a cross-encoder end to end on a tiny model: it learns, resumes to the bit, reports."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make_model
from typer.testing import CliRunner

import cormorant as cm
from cormorant.commands.training import app
from cormorant.errors import InputError
from cormorant.eval.training.cross_encoder import CrossEncoderTraining, train_cross_encoder
from cormorant.eval.training.groups import Groups
from cormorant.eval.training.material import Source
from cormorant.eval.training.teachers import BM25Teacher

pytestmark = [
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]
LETTERS = "abcdefgh"


def letters_source(n: int = 60, seed: int = 3) -> Source:
    """Documents of random letters; a query is a letter, relevant where "a" stands with it."""
    chosen = random.Random(seed)
    documents = [("", " ".join(chosen.sample(LETTERS, 3))) for _ in range(n)]
    gains = [
        {number: 1.0 for number, (_, text) in enumerate(documents) if {"a", letter} <= {*text}}
        for letter in LETTERS[1:]
    ]
    return Source("letters", documents, list(LETTERS[1:]), gains)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_model(tmp_path_factory.mktemp("bert"), normalize=False))


def settings(backbone: str, **changed: object) -> CrossEncoderTraining:
    made = CrossEncoderTraining(
        backbone=backbone,
        steps=12,
        queries=2,
        group=4,
        window=16,
        learning_rate=1e-3,
        head_rate=1.0,
        precision="float32",
        evaluate_steps=6,
        save_steps=6,
    )
    return replace(made, **changed)


def test_it_learns_what_is_relevant(backbone, tmp_path):
    """That an "a" matters, which neither BM25 nor a random model knows."""
    source = letters_source()
    trained = train_cross_encoder(
        source,
        tmp_path / "run",
        settings(backbone, steps=300, queries=4, evaluate_steps=100, save_steps=1000),
        teachers=[BM25Teacher(cm.BM25(language="none"))],
        development=source,
    )
    figures = [value for _, value in trained.reports]
    assert [step for step, _ in trained.reports] == [0, 100, 200, 300]
    assert max(figures) > figures[0] + 0.2
    ranker = cm.CrossEncoder(str(trained.model), precision="float32")
    texts = ["a b c", "b c d", "b g h"]
    scores = ranker.score_pairs([("b", text) for text in texts])
    assert int(np.argmax(scores)) == 0
    assert not list((tmp_path / "run").rglob("*.bin")) + list((tmp_path / "run").rglob("*.pt"))


def test_a_killed_run_goes_on_as_if_it_had_not_been(backbone, tmp_path):
    source, teachers = letters_source(), [BM25Teacher(cm.BM25(language="none"))]
    whole = train_cross_encoder(source, tmp_path / "whole", settings(backbone), teachers=teachers)

    def killed(what: str, done: int, total: int | None) -> None:
        if what == "training" and done == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_cross_encoder(
            source,
            tmp_path / "killed",
            settings(backbone),
            teachers=teachers,
            progress=killed,
        )
    assert not (tmp_path / "killed" / "model").exists()
    (tmp_path / "killed" / "checkpoint-9").mkdir()  # one that was never finished
    steps: list[int] = []
    resumed = train_cross_encoder(
        source,
        tmp_path / "killed",
        settings(backbone),
        teachers=teachers,
        progress=lambda what, done, total: steps.append(done) if what == "training" else None,
    )
    assert steps == [7, 8, 9, 10, 11, 12]
    names = ["model.safetensors", "config.json"]
    for name in names:
        one, other = (run.model / name for run in (whole, resumed))
        assert one.read_bytes() == other.read_bytes(), name


def test_another_run_in_the_folder_is_refused(backbone, tmp_path):
    teachers = [BM25Teacher(cm.BM25(language="none"))]
    few = settings(backbone, steps=1)
    train_cross_encoder(letters_source(), tmp_path, few, teachers=teachers)
    for source, changed in (
        (letters_source(seed=4), few),
        (letters_source(), replace(few, learning_rate=2e-3)),
    ):
        with pytest.raises(InputError, match="holds a run with other"):
            train_cross_encoder(source, tmp_path, changed, teachers=teachers)


def test_groups_hold_one_relevant_document_and_are_the_same_for_a_seed():
    source = letters_source()
    candidates = [{number: 1.0 - number / 100 for number in range(60)} for _ in source.queries]
    groups = Groups(source, candidates, 6, seed=1)
    seen = []
    for step in range(21):
        for group in groups.of_step(step, 2):
            gains = source.gains[group.query]
            assert group.documents[0] in gains
            assert not any(document in gains for document in group.documents[1:])
            assert len(set(group.documents)) == len(group.documents) == 6
            seen.append(group.query)
    assert sorted(seen) == sorted(list(range(7)) * 6)  # every query as often
    again = Groups(source, candidates, 6, seed=1)
    assert again.of_step(17, 2) == groups.of_step(17, 2)
    assert Groups(source, candidates, 6, seed=2).of_step(17, 2) != groups.of_step(17, 2)


def test_nothing_to_learn_is_an_error():
    source = Source("none", [("", "a"), ("", "b")], ["a"], [{}])
    with pytest.raises(InputError, match="nothing to learn"):
        Groups(source, [{0: 1.0}], 4, seed=0)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"group": 1}, "group"),
        ({"window": 8}, "window"),
        ({"learning_rate": float("nan")}, "learning_rate"),
        ({"minutes": -1.0}, "minutes"),
        ({"dropout": 1.0}, "dropout"),
        ({"precision": "int4"}, "precision"),
        ({"steps": 0}, "steps"),
    ],
)
def test_settings_are_checked(changed, field):
    with pytest.raises(InputError) as caught:
        replace(CrossEncoderTraining(), **changed)
    assert caught.value.field == field


def test_the_command_trains_from_a_folder(backbone, tmp_path):
    source = letters_source()
    folder = tmp_path / "letters"
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": str(n), "title": "", "text": t} for n, (_, t) in enumerate(source.documents)]
    queries = [{"_id": f"q{n}", "text": text} for n, text in enumerate(source.queries)]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in corpus))
    (folder / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in queries))
    lines = ["query-id\tcorpus-id\tscore"]
    lines += [f"q{q}\t{d}\t1" for q, own in enumerate(source.gains) for d in own]
    for split in ("train", "dev"):
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    out = tmp_path / "run"
    words = ["cross-encoder", str(out), "--collection", str(folder), "--dense", "", "--json", "-"]
    words += ["--backbone", backbone, "--steps", "2", "--queries", "1", "--group", "3"]
    words += ["--window", "16", "--precision", "float32", "--evaluate-every", "1"]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["steps"] == 2
    assert [report["step"] for report in value["development"]] == [0, 1, 2]
    assert Path(value["model"], "model.safetensors").is_file()
