"""``train_sparse``: from collections and teachers to an inference-free sparse encoder.

The run lives in one folder: ``start/`` (the model that training began from), ``checkpoint-N/`` (the
trainer's own, from which a killed run goes on), ``teachers-N.npz`` (what teachers said),
``log.jsonl``, and ``model/``, the result: the state with the best nDCG@10 on the development
queries, a sentence-transformers checkpoint. Training is sentence-transformers'
``SparseEncoderTrainer`` with the loss of ``objective.py``.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Float32Array, Int64Array
from ...errors import InputError
from ...indexers.encoders.files import weights_of
from ...indexers.encoders.models import find_model
from ...indexers.encoders.precision import PRECISIONS, choose_precision
from ...indexers.encoders.sparse_tokens import TokenWords
from ..progress import Progress, silent
from .batches import Batches, Part
from .material import Source, Targets
from .objective import Asked, Clock, Recipe, Regulariser, objective_class
from .passages import cut
from .runs import digest_of, kept_said, last_checkpoint, named, need, same_run, unreadable
from .scoring import idf_of
from .teachers import PairTeacher, Teacher
from .trainer import Watch, trainer_for
from .watching import Development, Report, Tell


@dataclass(frozen=True, slots=True)
class SparseTraining:
    """How to train. The defaults are for a small backbone on a CPU.

    ``backbone``: a folder or a name on the hub; without a vocabulary head it gets one
    (``tied.py``). ``steps``, and ``minutes`` where time is to stop it earlier; both schedules
    follow whichever is further. ``batch_documents`` meet in the loss, ``piece_documents`` at a time
    are encoded. ``window``: tokens of a passage in training; ``final_window``: of a document
    afterwards. ``flops_weight`` is reached quadratically after ``warm_up`` of the way, then steered
    towards ``flops_target`` where there is one. ``start_active``: expansions of a new head.
    """

    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    activation: str = "relu"
    steps: int = 3000
    minutes: float | None = None
    batch_documents: int = 32
    piece_documents: int = 32
    window: int = 128
    final_window: int = 256
    learning_rate: float = 1e-4
    head_learning_rate: float = 1e-3
    weight_decay: float = 0.01
    lr_warm_up: float = 0.05
    flops_weight: float = 0.03
    flops_target: float | None = None
    warm_up: float = 1 / 3
    recipe: Recipe = field(default_factory=Recipe)
    depth: int = 100
    start_active: int = 150
    seed: int = 0
    precision: str = "auto"
    evaluate_steps: int = 250
    save_steps: int = 250

    def __post_init__(self) -> None:
        if not 0 <= self.seed < 1 << 32:
            raise InputError(f"is from 0 to 2^32 - 1, got {self.seed}", field="seed")
        for name in (
            "steps", "batch_documents", "piece_documents", "evaluate_steps", "save_steps", "depth",
            "start_active",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise InputError(f"is at least 1, got {getattr(self, name)}", field=name)
        if not 16 <= self.window <= self.final_window:
            raise InputError(
                f"is from 16 to final_window ({self.final_window}), got {self.window}",
                field="window",
            )
        for name in (
            "learning_rate", "head_learning_rate", "flops_weight", "warm_up", "minutes",
            "flops_target",
        ):  # fmt: skip
            value = getattr(self, name)
            if value is not None and (not math.isfinite(value) or value <= 0):
                raise InputError(f"is above 0, got {value}", field=name)
        if not 0 <= self.lr_warm_up < 1:
            raise InputError(f"is from 0 to below 1, got {self.lr_warm_up}", field="lr_warm_up")
        if self.precision not in PRECISIONS:
            raise InputError(f"is one of {', '.join(PRECISIONS)}", field="precision")


@dataclass(frozen=True, slots=True)
class Trained:
    """``model``: the folder of the result. ``reports``: (step, report) on development, in order."""

    model: Path
    reports: tuple[tuple[int, Report], ...]
    steps: int
    seconds: float


def train_sparse(
    sources: Sequence[Source],
    output: Path,
    settings: SparseTraining = SparseTraining(),  # noqa: B008 - frozen
    *,
    teachers: Sequence[Teacher] = (),
    rescorers: Sequence[PairTeacher] = (),
    shares: Sequence[float] = (),
    development: tuple[Sequence[str], Sequence[str], Sequence[Mapping[int, int]]] | None = None,
    progress: Progress = silent,
    tell: Tell | None = None,
) -> Trained:
    """Train an inference-free sparse encoder; goes on where a run in ``output`` was killed.

    ``sources``: what to learn from; the first one's IDF becomes the model's table of query weights
    (in training each source has its own). ``shares``: of the batches, per source; none gives each
    its share of the documents. ``teachers``, ``rescorers``: the ensemble; without teachers only the
    judgements count. ``development``: document texts, queries, and their judged documents' numbers
    and grades; without it the last state is the result.

    Raises:
        InputError: nothing to learn from, or a folder with a run of other settings.
        ModelNotFoundError, MissingDependencyError: see ``find_model``; datasets and accelerate.
    """
    need("datasets", "accelerate")
    if not sources or any(not source.queries or len(source.documents) < 2 for source in sources):
        raise InputError("every source has a query and two documents or more", field="sources")
    sound = all(math.isfinite(share) and share > 0 for share in shares)
    if shares and (len(shares) != len(sources) or not sound):
        raise InputError(
            f"are numbers above 0, one for each of {len(sources)} sources, got {list(shares)}",
            field="shares",
        )
    say = tell or (lambda line: None)
    if output.exists() and not output.is_dir():
        raise InputError("is a file; a run is a folder", file=output)
    output.mkdir(parents=True, exist_ok=True)
    # How far and how long may change between a run and its continuation; nothing else may.
    fixed = asdict(replace(settings, minutes=None, evaluate_steps=1, save_steps=1))
    made_of = {
        "sources": [source.name for source in sources],
        "material": digest_of(sources),
        "teachers": [named(teacher) for teacher in (*teachers, *rescorers)],
        "shares": list(shares),
        "settings": fixed,
    }
    same_run(output, made_of)

    import torch

    torch.manual_seed(settings.seed)
    start = output / "start"
    if not (start / "config.json").is_file():
        _make_start(start, sources[0], settings)
    if (why := unreadable(start)) is not None:
        raise InputError(f"is damaged ({why}); delete it, and it is made again", file=start)
    words = TokenWords(start)
    tokenizer = _tokenizer(start)
    config = json.loads((start / "config.json").read_text())
    vocabulary, positions = int(config["vocab_size"]), config.get("max_position_embeddings")
    if isinstance(positions, int) and settings.final_window > positions:
        raise InputError(
            f"is at most the backbone's {positions} positions, got {settings.final_window}",
            field="final_window",
        )

    frequencies = [_frequencies(words, source.texts, vocabulary) for source in sources]
    idfs = [
        idf_of(own, len(source.documents)) for own, source in zip(frequencies, sources, strict=True)
    ]
    for idf in idfs:
        idf[words.special] = 0.0
    parts, targets, texts, documents, owners = [], [], [], [], []
    first = 0
    for number, source in enumerate(sources):
        file = output / f"teachers-{number}.npz"
        said = kept_said(file, source, teachers, rescorers, settings.depth, progress)
        passages = cut(source.documents, tokenizer, settings.window)
        share = shares[number] if shares else float(len(source.documents))
        parts.append(Part(share, source.gains, said.candidates, passages.starts + first))
        asked = _asked(words, source.queries, idfs[number])
        targets.append((Targets(len(source.documents), source.gains, *said), asked))
        texts += passages.texts
        documents.append(passages.documents)
        owners.append(np.full(len(passages.texts), number, np.int64))
        first += len(passages.texts)

    from ...indexers.training.trainable import inference_free_encoder, use_head_kernel

    _, dtype = choose_precision(settings.precision, "cpu")
    model = inference_free_encoder(
        start, idfs[0], activation=settings.activation, window=settings.final_window
    )
    use_head_kernel(model, dtype)
    clock = Clock(settings.steps, None if settings.minutes is None else 60 * settings.minutes)
    regulariser = Regulariser(settings.flops_weight, settings.warm_up, settings.flops_target)
    objective = objective_class()(
        model,
        recipe=settings.recipe,
        regulariser=regulariser,
        sources=targets,
        passage_source=np.concatenate(owners),
        passage_document=np.concatenate(documents),
        idf=idfs[0],
        query_shares=(
            np.bincount(targets[0][1].terms, minlength=vocabulary) / len(sources[0].queries)
        ).astype(np.float32),
        piece=settings.piece_documents,
    )
    watch = Watch(
        output=output,
        clock=clock,
        regulariser=regulariser,
        objective=objective,
        development=None if development is None else _development(words, idfs[0], development),
        tokenizer=tokenizer,
        window=settings.final_window,
        vocabulary_size=vocabulary,
        evaluate_steps=settings.evaluate_steps,
        say=say,
    )
    batches = Batches(parts, settings.batch_documents, settings.steps, settings.seed)
    trainer = trainer_for(model, objective, texts, batches, settings, clock, watch)
    whole = last_checkpoint(output, "trainer_state.json", "clock.json")
    trainer.train(resume_from_checkpoint=None if whole is None else str(whole))
    watch.finish(model, trainer.state.global_step)
    return Trained(output / "model", tuple(watch.reports), trainer.state.global_step, clock.elapsed)


def _make_start(start: Path, source: Source, settings: SparseTraining) -> None:
    """The masked model that training begins from: the backbone's own, or with a tied head."""
    from ...indexers.encoders.sparse_files import find_sparse_model
    from ...indexers.training.tied import tie_head

    tokenizer: Any
    try:
        folder = find_model(settings.backbone, settings.revision).path
        headless = not _has_head(folder)
    except InputError:
        folder = find_sparse_model(settings.backbone, settings.revision).document.folder
        headless = not _has_head(folder)
    tokenizer = _tokenizer(folder)
    unfinished = start.with_name("start.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    if headless:
        model = tie_head(folder, tokenizer, source.texts, active=settings.start_active)
    else:
        from ...indexers.encoders.sparse_model import load_masked_model

        model = load_masked_model(folder)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if hasattr(model.config, name):
            # Batches hold a document rarely, and passages vary; dropout costs a CPU a third.
            setattr(model.config, name, 0.0)
    tokenizer.model_max_length = settings.final_window
    model.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    unfinished.rename(start)


def _has_head(folder: Path) -> bool:
    from safetensors import safe_open

    for file in weights_of(folder):
        with safe_open(str(file), framework="np") as opened:
            heads = ("cls.predictions", "lm_head", "vocab_", "head.", "decoder.")
            if any(name.startswith(heads) for name in opened.keys()):  # noqa: SIM118 - no dict
                return True
    return False


def _tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False
    )


def _frequencies(words: TokenWords, texts: Sequence[str], vocabulary: int) -> Int64Array:
    return np.bincount(words(texts).terms, minlength=vocabulary).astype(np.int64)


def _asked(words: TokenWords, queries: Sequence[str], idf: Float32Array) -> Asked:
    found = words(queries)
    return Asked(found.starts, found.terms, idf[found.terms])


def _development(
    words: TokenWords,
    idf: Float32Array,
    development: tuple[Sequence[str], Sequence[str], Sequence[Mapping[int, int]]],
) -> Development:
    texts, queries, gains = development
    asked = _asked(words, queries, idf)
    bounds = list(zip(asked.starts[:-1].tolist(), asked.starts[1:].tolist(), strict=True))
    terms = [(asked.terms[first:end], asked.weights[first:end]) for first, end in bounds]
    return Development(texts, terms, gains)
