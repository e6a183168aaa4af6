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
from cormorant.eval.training.cross_encoder_model import _shorten, new_cross_encoder, parts
from cormorant.eval.training.cross_encoder_run import Run
from cormorant.eval.training.groups import Groups
from cormorant.eval.training.material import Source
from cormorant.eval.training.objective import Clock
from cormorant.eval.training.teachers import BM25Teacher, Said
from cormorant.indexers.training.losses import distillation

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
        settings(backbone, steps=300, queries=4, group=8, evaluate_steps=100, save_steps=1000),
        teachers=[BM25Teacher(cm.BM25(language="none"))],
        development=source,
    )
    figures = [value for _, value in trained.reports]
    assert [step for step, _ in trained.reports] == [0, 100, 200, 300]
    assert max(figures) > figures[0] + 0.2
    assert trained.first_stage is not None
    assert max(figures) > trained.first_stage + 0.5
    ranker = cm.CrossEncoder(str(trained.model), precision="float32")
    texts = ["a b c", "b c d", "b g h"]
    scores = ranker.score_pairs([("b", text) for text in texts])
    assert int(np.argmax(scores)) == 0
    assert not list((tmp_path / "run").rglob("*.bin")) + list((tmp_path / "run").rglob("*.pt"))


def test_every_other_layer_is_kept(backbone, tmp_path):
    from safetensors.numpy import load_file

    whole = load_file(f"{backbone}/model.safetensors")
    n_layers = json.loads((Path(backbone) / "config.json").read_text())["num_hidden_layers"]
    trained = train_cross_encoder(
        letters_source(),
        tmp_path / "run",
        settings(backbone, steps=1, layers=1, warm_up=1e9),
        teachers=[BM25Teacher(cm.BM25(language="none"))],
    )
    assert json.loads((trained.model / "config.json").read_text())["num_hidden_layers"] == 1
    kept = load_file(trained.model / "model.safetensors")
    name = "encoder.layer.{}.output.dense.weight"
    own, first = (
        next(value for key, value in some.items() if key.endswith(name.format(0)))
        for some in (kept, whole)
    )
    assert np.abs(own - first).max() < 1e-3  # one step of almost no learning rate
    assert not any(name.format(1) in key for key in kept)
    assert np.isfinite(cm.CrossEncoder(str(trained.model)).score_pairs([("b", "a b c")])).all()
    with pytest.raises(InputError, match=f"at most {n_layers}"):
        train_cross_encoder(
            letters_source(),
            tmp_path / "more",
            settings(backbone, layers=n_layers + 1),
            teachers=[BM25Teacher(cm.BM25(language="none"))],
        )


def test_a_backbone_whose_layers_differ_by_its_configuration_is_not_shortened():
    import transformers

    config = transformers.ModernBertConfig(
        vocab_size=50, hidden_size=8, intermediate_size=8, num_attention_heads=2,
        num_hidden_layers=6, pad_token_id=0, bos_token_id=1, eos_token_id=2, cls_token_id=1,
        sep_token_id=2,
    )  # fmt: skip
    model = transformers.ModernBertModel(config)
    _shorten(model, 6)
    with pytest.raises(InputError, match="layer_types") as caught:
        _shorten(model, 3)
    assert caught.value.field == "layers"
    assert len(model.layers) == 6


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


def said_of(source: Source, whole: bool = True) -> Said:
    """Teachers that like a document the more the lower its number is."""
    scores = np.linspace(1, 0, len(source.documents), dtype=np.float16)
    listed = dict(enumerate(scores[:40].tolist()))
    table = np.tile(scores, (len(source.queries), 1)) if whole else None
    return Said([listed for _ in source.queries], table)


def test_groups_put_the_relevant_first_and_ask_every_query_as_often():
    source = letters_source()
    groups = Groups(source, said_of(source), 8, seed=1)
    seen = []
    for step in range(21):
        for group in groups.of_step(step, 2):
            gains = source.gains[group.query]
            assert len(set(group.documents)) == len(group.documents) == 8
            assert set(group.documents[:2]) <= set(gains)
            relevant, others = [], []
            for document, target in zip(group.documents, group.targets, strict=True):
                (relevant if document in gains else others).append(target)
            assert min(relevant) >= max(others)
            seen.append(group.query)
    assert sorted(seen) == sorted(list(range(7)) * 6)
    again = Groups(source, said_of(source), 8, seed=1)
    assert again.of_step(17, 2) == groups.of_step(17, 2)
    assert Groups(source, said_of(source), 8, seed=2).of_step(17, 2) != groups.of_step(17, 2)


def test_what_nobody_judged_is_wanted_as_much_as_the_teachers_like_it():
    """Also of documents that no teacher listed, where every score was kept."""
    source = letters_source()
    for whole in (True, False):
        said = said_of(source, whole)
        for group in Groups(source, said, 8, seed=1).of_step(0, 7):
            unjudged = [
                (document, target)
                for document, target in zip(group.documents, group.targets, strict=True)
                if document not in source.gains[group.query]
            ]
            by_target = sorted(unjudged, key=lambda pair: -pair[1])
            listed = by_target if whole else [pair for pair in by_target if pair[0] < 40]
            assert [document for document, _ in listed] == sorted(d for d, _ in listed)
            assert len({document < 20 for document, _ in unjudged}) == 2  # near and far ones


def test_a_higher_grade_is_wanted_more():
    documents = [("", letter) for letter in LETTERS]
    source = Source("graded", documents, ["a"], [{2: 1.0, 5: 3.0}])
    (group,) = Groups(source, Said([{}], None), 8, seed=0).of_step(0, 1)
    wanted = dict(zip(group.documents, group.targets, strict=True))
    assert wanted[5] == 2 * wanted[2] > 0
    assert {target for document, target in wanted.items() if document not in (2, 5)} == {0.0}


def test_training_begins_at_the_scale_that_is_wanted(backbone, tmp_path):
    """Else the first hundred steps are spent on making all scores larger."""
    import torch

    source = letters_source()
    run = Run(tmp_path, settings(backbone), source, None, print, Clock(12))
    groups = Groups(source, said_of(source), 8, seed=1)
    pairs, wanted = run._asked(groups.of_step(0, 16))

    def loss() -> float:
        scores = torch.from_numpy(run.scores(pairs)).reshape(wanted.shape)
        return float(distillation(scores, wanted))

    before = loss()
    run.resume(None, groups)
    after = loss()
    assert after <= before
    for change in (-0.2, 0.2):
        with torch.no_grad():
            run.model[1].scale += change
        assert loss() >= after
        with torch.no_grad():
            run.model[1].scale -= change


def test_nothing_to_learn_is_an_error():
    source = Source("none", [("", "a"), ("", "b")], ["a"], [{}])
    with pytest.raises(InputError, match="nothing to learn"):
        Groups(source, Said([{0: 1.0}], None), 4, seed=0)


def test_a_pair_is_read_as_two_segments_and_every_layer_learns(backbone):
    """What is trained is what the ranker will read: query, separator, passage, separator."""
    import torch

    torch.manual_seed(0)
    model = new_cross_encoder(Path(backbone), 12, 0.0)
    read = model.preprocess([("a b", "c d e f g h i j k l"), ("a", "b")])
    words = model.tokenizer.convert_ids_to_tokens(read["input_ids"][0])
    assert words == ["[CLS]", "a", "b", "[SEP]", *"cdefghi", "[SEP]"]
    assert read["token_type_ids"][0].tolist() == [0] * 4 + [1] * 8
    assert read["attention_mask"].sum(1).tolist() == [12, 5]
    scores = model(read)["scores"]
    assert scores.shape == (2, 1)
    assert scores.dtype == torch.float32
    scores[0, 0].backward()
    frozen = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert [name.rpartition(".")[0].rpartition(".")[2] for name in frozen] == ["word_embeddings"]
    for name, value in model.named_parameters():
        # A softmax is blind to what is added to all its inputs, and nothing reads the pooler.
        blind = name.endswith(("key.bias", "importance.bias")) or ".pooler." in name
        if value.requires_grad and not blind:
            assert value.grad is not None, name
            assert float(value.grad.abs().sum()) > 0, name
    backbone_group, head = parts(model, 1e-4, 10.0)
    assert [tuple(v.shape) for v in head["params"]] == [(), (1, 32), (1,), (1, 32), (1,)]
    assert len(backbone_group["params"]) > 30


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
