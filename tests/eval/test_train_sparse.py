"""Training a sparse encoder end to end on a tiny model: it learns, resumes, reports."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_models import make_model
from tiny_sparse import make_masked_model

from cormorant.contracts import Float32Array
from cormorant.errors import InputError, ModelNotFoundError
from cormorant.eval.training.batches import Batches, Part
from cormorant.eval.training.material import (
    Source,
    Targets,
    first_sentence,
    pairs_source,
    with_own_queries,
)
from cormorant.eval.training.objective import Clock, Recipe, Regulariser
from cormorant.eval.training.runs import last_checkpoint, named
from cormorant.eval.training.scoring import by_term, idf_of
from cormorant.eval.training.sparse import SparseTraining, train_sparse
from cormorant.eval.training.teachers import (
    BM25Teacher,
    DenseTeacher,
    PairTeacher,
    SparseTeacher,
    asked_of,
)
from cormorant.eval.training.watching import Report, collapse_of
from cormorant.indexers.encoders.models import MINILM, find_model
from cormorant.indexers.encoders.sparse import load_sparse_encoder
from cormorant.indexers.training.tied import tie_head
from cormorant.vectors import SparseVectors

pytest.importorskip("datasets", reason="training needs the extra 'train'")
pytest.importorskip("accelerate", reason="training needs the extra 'train'")

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def _source(n: int = 40) -> Source:
    """Documents of random letters; a query is a letter, relevant where the NEXT one stands."""
    chosen = random.Random(3)
    documents = [("", " ".join(chosen.sample(LETTERS, 5))) for _ in range(n)]
    queries, gains = [], []
    for here, after in zip(LETTERS, LETTERS[1:], strict=False):
        found = {i: 1.0 for i, (_, text) in enumerate(documents) if after in text.split()}
        if found:
            queries.append(here)
            gains.append(found)
    return Source("letters", documents, queries, gains)


def _settings(backbone: Path, **changes: object) -> SparseTraining:
    plain = SparseTraining(
        backbone=str(backbone),
        steps=12,
        batch_documents=8,
        piece_documents=8,
        window=16,
        final_window=32,
        learning_rate=2e-3,
        head_learning_rate=2e-3,
        flops_weight=1e-4,
        precision="float32",
        evaluate_steps=6,
        save_steps=6,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_masked_model(tmp_path_factory.mktemp("masked") / "model", spread=0.2)


def _development(source: Source) -> tuple[list[str], list[str], list[dict[int, int]]]:
    gains = [{number: 1 for number in row} for row in source.gains]
    return source.texts, list(source.queries), gains


def test_training_learns_and_saves_an_encoder_that_loads(masked, tmp_path):
    source = _source()
    lines: list[str] = []
    trained = train_sparse(
        [source],
        tmp_path / "run",
        _settings(masked, steps=120, evaluate_steps=60),
        development=_development(source),
        tell=lines.append,
    )
    steps = [step for step, _ in trained.reports]
    assert steps == [0, 60, 120]
    assert trained.reports[-1][1].ndcg10 > 0.5  # the next letter is found through the model alone
    assert all("nDCG@10" in line and "FLOPS" in line and "terms" in line for line in lines[:3])
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    parts = next(entry for entry in log if "kl" in entry)
    assert {"kl", "ranking", "flops_loss", "flops_weight", "nonzeros", "loss"} <= set(parts)

    encoder = load_sparse_encoder(str(trained.model))
    assert encoder.inference_free
    assert encoder.max_tokens == 32
    words = [encoder.tokens.index(letter) for letter in "abc"]
    holding = [sum(letter in text.split() for _, text in source.documents) for letter in "abc"]
    wanted = [np.log1p((40 - df + 0.5) / (df + 0.5)) for df in holding]
    assert encoder.idf is not None
    np.testing.assert_allclose(encoder.idf[words], wanted, rtol=1e-5)

    from sentence_transformers.sparse_encoder import SparseEncoder

    theirs = SparseEncoder(str(trained.model), device="cpu")
    expected = theirs.encode_document(source.texts[:3]).to_dense().numpy()
    vectors = load_sparse_encoder(str(trained.model), precision="float32")
    found = vectors.encode_document(source.texts[:3]).vectors
    dense = np.zeros_like(expected)
    dense[np.repeat(np.arange(3), np.diff(found.starts)), found.terms] = found.weights
    np.testing.assert_allclose(dense, expected, rtol=1e-4, atol=1e-5)


def _weights(folder: Path) -> dict[str, Float32Array]:
    from safetensors.numpy import load_file

    return load_file(folder / "document_0_Transformer" / "model.safetensors")


def test_a_run_that_was_killed_goes_on_to_the_same_weights(masked, tmp_path):
    source = _source()
    whole = train_sparse([source], tmp_path / "whole", _settings(masked))

    class KilledError(Exception):
        pass

    def tell(line: str) -> None:
        if line.startswith("step 9"):
            raise KilledError

    settings, run = _settings(masked, evaluate_steps=9), tmp_path / "killed"
    with pytest.raises(KilledError):
        train_sparse([source], run, settings, development=_development(source), tell=tell)
    saved = [path for path in (run / "checkpoint-6").rglob("*") if path.is_file()]
    assert {path.suffix for path in saved} <= {".safetensors", ".json", ".md", ".txt"}, saved
    assert not (run / "checkpoint-12").exists()
    resumed = train_sparse([source], run, settings)
    assert resumed.steps == whole.steps == 12
    ours, theirs = _weights(resumed.model), _weights(whole.model)
    assert set(ours) == set(theirs)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-5, atol=1e-6)


def test_a_steered_run_that_was_killed_goes_on_to_the_same_weights(masked, tmp_path):
    """The average that steers the FLOPS is part of what a checkpoint keeps."""
    source = _source()
    whole = train_sparse([source], tmp_path / "whole", _settings(masked))
    products = json.loads((tmp_path / "whole" / "log.jsonl").read_text().splitlines()[-1])["flops"]
    settings = _settings(masked, flops_target=0.8 * products, warm_up=0.1, flops_weight=1e-2)
    whole = train_sparse([source], tmp_path / "steered", settings)

    class KilledError(Exception):
        pass

    def tell(line: str) -> None:
        if line.startswith("step 9"):
            raise KilledError

    run, watched = tmp_path / "killed", replace(settings, evaluate_steps=9)
    with pytest.raises(KilledError):
        train_sparse([source], run, watched, development=_development(source), tell=tell)
    resumed = train_sparse([source], run, settings)
    theirs = _weights(whole.model)
    for name, value in _weights(resumed.model).items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "changes",
    [
        {"minutes": 0.0}, {"minutes": -1.0}, {"flops_target": 0.0}, {"flops_target": -1.0},
        {"lr_warm_up": 1.0}, {"seed": -1}, {"seed": 1 << 70}, {"depth": 0},
        {"learning_rate": float("nan")}, {"save_steps": 0},
    ],
)  # fmt: skip
def test_settings_that_cannot_work(masked, changes):
    with pytest.raises(InputError, match=next(iter(changes))):
        _settings(masked, **changes)


def test_shares_windows_and_gains_that_cannot_work(masked, tmp_path):
    source = _source()
    for shares in ([1.0, 2.0], [0.0], [-1.0]):
        with pytest.raises(InputError, match="one for each of 1 sources"):
            train_sparse([source], tmp_path / "run", _settings(masked), shares=shares)
    with pytest.raises(InputError, match="at most the backbone's 64 positions"):
        train_sparse([source], tmp_path / "long", _settings(masked, final_window=65))
    with pytest.raises(InputError, match="documents that are not there"):
        Source("x", [("", "a"), ("", "b")], ["a"], [{2: 1.0}])


def test_a_checkpoint_that_a_kill_left_half_written_is_passed_over(masked, tmp_path):
    source, run = _source(), tmp_path / "run"
    whole = train_sparse([source], run, _settings(masked))
    expected = _weights(whole.model)
    shutil.rmtree(run / "model")
    for name in ("clock.json", "trainer_state.json", "training_state.safetensors"):
        file = run / "checkpoint-12" / name
        kept = file.read_bytes()
        file.write_bytes(kept[: len(kept) // 2])
        assert last_checkpoint(run, "clock.json") == run / "checkpoint-6"
        file.write_bytes(kept)
    assert last_checkpoint(run, "clock.json") == run / "checkpoint-12"
    (run / "checkpoint-12" / "clock.json").write_text("")
    train_sparse([source], run, _settings(masked))
    for name, value in _weights(run / "model").items():
        np.testing.assert_allclose(value, expected[name], rtol=1e-5, atol=1e-6)
    (run / "start" / "model.safetensors").write_bytes(b"short")
    with pytest.raises(InputError, match="start.*is damaged"):
        train_sparse([source], run, _settings(masked))


def test_teachers_have_the_same_name_in_every_process():
    class Scorer:
        identity = "cross-encoder-1"

        def score_pairs(self, pairs):
            return np.zeros(len(pairs), np.float32)

    assert named(PairTeacher(Scorer())) == named(PairTeacher(Scorer())) == "pairs: cross-encoder-1"
    for teacher in (BM25Teacher(), DenseTeacher("m"), SparseTeacher("m")):
        assert " at 0x" not in named(teacher)


def test_a_damaged_run_is_named(masked, tmp_path):
    source, run = _source(), tmp_path / "run"
    train_sparse([source], run, _settings(masked, steps=1), teachers=[BM25Teacher()])
    shutil.rmtree(run / "model")
    table = run / "teachers-0.npz"
    table.write_bytes(table.read_bytes()[:100])
    with pytest.raises(InputError, match="teachers-0.npz.*delete it"):
        train_sparse([source], run, _settings(masked, steps=1), teachers=[BM25Teacher()])
    (run / "run.json").write_text('{"sources"')
    with pytest.raises(InputError, match="run.json.*damaged"):
        train_sparse([source], run, _settings(masked, steps=1), teachers=[BM25Teacher()])


def test_without_a_development_split_sparsity_is_reported_all_the_same(masked, tmp_path):
    lines: list[str] = []
    train_sparse([_source()], tmp_path / "run", _settings(masked), tell=lines.append)
    assert any(
        line.startswith("step 6 (") and "FLOPS" in line and "terms" in line for line in lines
    )


def test_a_folder_with_another_run_is_refused(masked, tmp_path):
    source = _source()
    train_sparse([source], tmp_path / "run", _settings(masked, steps=1))
    with pytest.raises(InputError, match="other sources, teachers or settings"):
        train_sparse([source], tmp_path / "run", _settings(masked, steps=1, learning_rate=1e-3))
    with pytest.raises(InputError, match="other sources"):
        train_sparse([source], tmp_path / "run", _settings(masked, steps=1), shares=[2.0])
    with pytest.raises(InputError, match="other sources"):
        train_sparse([with_own_queries(source)], tmp_path / "run", _settings(masked, steps=1))


def test_collapse_is_said_clearly(masked, tmp_path):
    source = _source()
    lines: list[str] = []
    train_sparse(
        [source],
        tmp_path / "run",
        _settings(
            masked,
            steps=40,
            flops_weight=1e4,
            warm_up=0.01,
            learning_rate=0.05,
            head_learning_rate=0.05,
            evaluate_steps=20,
        ),
        development=_development(source),
        tell=lines.append,
    )
    assert any("have collapsed" in line and "regulariser's weight" in line for line in lines)


def test_collapse_of_reports():
    assert collapse_of(Report(0.3, 1.0, 120.0, 0.0)) is None
    assert "fire 0.0 terms" in str(collapse_of(Report(0.0, 0.0, 0.0, 1.0)))
    assert collapse_of(Report(0.1, 1.0, 30.0, 0.6)) is not None


def test_a_backbone_without_a_head_is_trained_with_a_tied_one(tmp_path):
    backbone = make_model(tmp_path / "backbone", window=48)
    trained = train_sparse(
        [_source(64)], tmp_path / "run", _settings(backbone, steps=1, start_active=3)
    )
    encoder = load_sparse_encoder(str(trained.model), precision="float32")
    assert encoder.inference_free
    counts = np.diff(encoder.encode_document(_source().texts).vectors.starts)
    assert 0 < counts.mean() < 40


def test_a_new_head_fires_a_texts_own_words_first():
    from transformers import AutoTokenizer

    try:
        folder = find_model(MINILM).path
    except ModelNotFoundError as reason:
        pytest.skip(str(reason))
    topics = ("statins", "vitamin d", "green tea", "asthma", "soy milk", "obesity", "salt", "fish")
    texts = [
        f"{topic} and the risk of {other} in {who}"
        for topic in topics
        for other in ("cancer", "heart disease")
        for who in ("women", "children", "older adults")
    ]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = tie_head(folder, tokenizer, texts, active=20)
    embeddings = model.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is embeddings
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        logits = model(**batch).logits
        largest = logits.masked_fill(batch["attention_mask"][..., None] == 0, -torch.inf).amax(1)
    fired = (largest > 0).sum(1).float().mean()
    assert 10 < float(fired) < 60
    content = {"stat", "vitamin", "tea", "asthma", "soy", "obesity", "salt", "fish"}
    numbers = {tokenizer.convert_tokens_to_ids(word) for word in content}
    for row, ids in enumerate(batch["input_ids"].tolist()):
        own = [number for number in ids if number in numbers]
        assert own
        for number in own:  # among the ten strongest of 30,522
            assert int((largest[row] > largest[row, number]).sum()) < 10
    with pytest.raises(InputError, match="32 texts"):
        tie_head(folder, tokenizer, texts[:5])


def test_a_minutes_budget_stops_training(masked, tmp_path):
    trained = train_sparse(
        [_source()], tmp_path / "run", _settings(masked, steps=10**6, minutes=0.02)
    )
    assert 1 <= trained.steps < 10**5


def test_the_schedule_is_quadratic_and_steers():
    regulariser = Regulariser(weight=0.5, warm_up=0.5)
    values = []
    for regulariser.progress in (0.0, 0.25, 0.5, 1.0):
        values.append(regulariser.current)
    assert values == [0.0, 0.125, 0.5, 0.5]
    steered = Regulariser(weight=1.0, warm_up=0.1, target=2.0, progress=0.5)
    steered.steer(4.0)
    assert steered.current == pytest.approx(np.exp(0.05 * np.log(2.0)))
    for _ in range(100):
        steered.steer(1.0)
    assert steered.current < 1.0
    untouched = Regulariser(weight=1.0, target=2.0, progress=0.1)
    untouched.steer(4.0)
    assert untouched.factor == 1.0


def test_the_clock_follows_steps_or_time_whichever_is_further():
    now = [100.0]
    clock = Clock(10, seconds=50.0, spent=5.0, now=lambda: now[0])
    assert clock.progress(3) == 0.3
    now[0] = 120.0
    assert clock.elapsed == 25.0
    assert clock.progress(3) == 0.5
    now[0] = 900.0
    assert clock.progress(3) == 1.0


def test_batches_repeat_and_hold_each_document_once():
    gains = [{0: 1.0, 1: 1.0}, {2: 2.0}, {3: 1.0}]
    candidates = [{0: 1.0, 5: 0.5}, {2: 1.0, 6: 0.4}, {7: 0.3}]
    starts = np.arange(0, 21, 2)
    parts = [Part(1.0, gains, candidates, starts), Part(1.0, gains, candidates, starts + 20)]
    batches = Batches(parts, 4, 30, seed=1)
    first, again = list(batches), list(batches)
    assert first == again
    batches.set_epoch(1)
    assert list(batches) != first
    sources = set()
    for batch in first:
        documents = [passage // 2 for passage in batch]
        assert len(set(documents)) == len(batch) == 4
        assert len({passage >= 20 for passage in batch}) == 1
        sources.add(batch[0] >= 20)
    assert sources == {True, False}
    assert any(passage % 2 for batch in first for passage in batch)


def test_targets_meet_a_batch():
    targets = Targets(4, [{0: 2.0, 1: 1.0}, {3: 1.0}, {}], [{0: 0.9, 2: 0.4}, {}, {2: 1.0}])
    met = targets.met(np.array([2, 0]), at_most=10)
    assert met.queries.tolist() == [0, 2]
    assert met.gains.tolist() == [[0.0, 1.0], [0.0, 0.0]]
    np.testing.assert_allclose(met.teacher, [[0.4, 0.9], [1.0, -np.inf]])
    assert targets.met(np.array([2, 0]), at_most=1).queries.tolist() == [0]
    assert len(targets.met(np.array([1]), at_most=10).queries) == 1
    scores = np.arange(12, dtype=np.float16).reshape(3, 4)
    whole = Targets(4, [{0: 2.0}, {3: 1.0}, {}], [{0: 0.9}, {}, {2: 1.0}], scores)
    met = whole.met(np.array([2, 0]), at_most=10)
    assert met.queries.tolist() == [0, 2]
    assert met.teacher.tolist() == [[2.0, 0.0], [10.0, 8.0]]


def test_pairs_and_bare_corpora_become_sources():
    source = pairs_source("p", [("q", "", "one"), ("q", "", "two"), ("r", "", "one")])
    assert source.documents == [("", "one"), ("", "two")]
    assert source.queries == ["q", "r"]
    assert source.gains == [{0: 1.0, 1: 1.0}, {0: 1.0}]
    bare = with_own_queries(Source("b", [("Title", "text"), ("", "First one. Second.")], [], []))
    assert bare.queries == ["Title", "First one."]
    assert bare.gains == [{0: 1.0}, {1: 1.0}]
    assert first_sentence("e.g. no") == "e.g."
    with pytest.raises(InputError, match="2 queries with 1"):
        Source("x", [("", "a")], ["q", "r"], [{}])


class CountsSharedWords:
    """A pair scorer for tests."""

    def score_pairs(self, pairs: list[tuple[str, str]]) -> Float32Array:
        return np.array(
            [len(set(query.split()) & set(text.split())) for query, text in pairs], np.float32
        )


def test_an_ensemble_of_every_kind_of_teacher(masked, tmp_path):
    dense = make_model(tmp_path / "dense")
    source = _source()
    teachers = [BM25Teacher(), DenseTeacher(str(dense)), SparseTeacher(str(masked))]
    rescorers = [PairTeacher(CountsSharedWords())]
    found, whole = asked_of(source, teachers, rescorers, depth=5)
    assert whole is None
    assert len(found) == len(source.queries)
    for row, gains in zip(found, source.gains, strict=True):
        assert set(gains) <= set(row)
        assert 5 <= len(row) <= 15 + len(gains)
        assert all(0.0 <= score <= 1.0 for score in row.values())
    # By hand for the first query: per teacher min-max over its candidates, then the mean.
    numbers = np.array(list(found[0]))
    lists = [next(iter(teacher.scores(source.texts, source.queries)))[0] for teacher in teachers]
    lists.append(
        CountsSharedWords().score_pairs([(source.queries[0], text) for text in source.texts])
    )
    wanted = np.mean([_scaled(scores[numbers]) for scores in lists], axis=0)
    np.testing.assert_allclose(list(found[0].values()), wanted, atol=1e-5)
    with pytest.raises(InputError, match="scores whole collections"):
        asked_of(source, [], rescorers, depth=5)
    with pytest.raises(InputError, match="scores whole collections"):  # not left out unsaid
        train_sparse([source], tmp_path / "run", _settings(masked), rescorers=rescorers)


def _scaled(scores: Float32Array) -> np.ndarray:
    own = scores.astype(np.float64)
    return (own - own.min()) / (own.max() - own.min() + 1e-6)


def test_teachers_that_score_everything_are_heard_on_everything(masked):
    source, teachers = _source(), [BM25Teacher(), SparseTeacher(str(masked))]
    found, whole = asked_of(source, teachers, depth=5)
    assert whole is not None
    assert whole.shape == (len(source.queries), 40)
    lists = [next(iter(teacher.scores(source.texts, source.queries)))[0] for teacher in teachers]
    wanted = np.mean([_scaled(scores) for scores in lists], axis=0)
    np.testing.assert_allclose(whole[0].astype(np.float64), wanted, atol=1e-3)
    assert found[0] == {number: float(whole[0, number]) for number in found[0]}


def test_bm25_teacher_scores_every_document():
    documents = ["fish swim", "birds fly", "fish fly far"]
    (scores,) = BM25Teacher().scores(documents, ["fish"])
    assert scores.shape == (1, 3)
    assert scores[0, 0] > scores[0, 2] > scores[0, 1] == 0.0


def test_postings_score_like_dense_products():
    vectors = SparseVectors(
        np.array([0, 2, 2, 3]), np.array([1, 4, 4]), np.array([0.5, 2.0, 3.0], np.float32)
    )
    postings = by_term(vectors, 6)
    assert postings.frequencies().tolist() == [0, 1, 0, 0, 2, 0]
    found = postings.scores(np.array([4, 1]), np.array([2.0, 1.0], np.float32))
    assert found.tolist() == [4.5, 0.0, 6.0]
    assert idf_of(np.array([1]), 2)[0] == pytest.approx(np.log(2.0))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"window": 8}, "window"),
        ({"window": 64, "final_window": 32}, "window"),
        ({"flops_weight": float("nan")}, "flops_weight"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"precision": "int4"}, "precision"),
    ],
)
def test_settings_that_make_no_sense(changes, field):
    with pytest.raises(InputError, match=field):
        SparseTraining(**changes)


def test_nothing_to_learn_from(tmp_path):
    with pytest.raises(InputError, match="sources"):
        train_sparse([], tmp_path / "run")
    with pytest.raises(InputError, match="sources"):
        train_sparse([Source("x", [("", "one")], ["q"], [{0: 1.0}])], tmp_path / "run")


def test_recipes_are_values():
    assert Recipe() == Recipe(score_scale=30.0)
    assert "plain_flops=True" in repr(Recipe(plain_flops=True))
    assert torch.is_grad_enabled()
