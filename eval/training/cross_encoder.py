"""``train_cross_encoder``: from a collection's judgements to a cross-encoder.

Judgements alone teach badly: most of what is relevant was never judged, and one-hot targets punish
a model for finding it. So teachers (BM25 and a dense encoder) say of every passage of a group how
good it is, the judgements lift what they call relevant above that (:mod:`.groups`), and the loss is
the KL divergence of the group's softmax from the model's (listwise distillation: Cao et al.,
"Learning to Rank: From Pairwise Approach to Listwise Approach", ICML 2007).

The run lives in one folder: ``run.json``, ``mined.npz`` (what teachers said), ``checkpoint-N/``,
from which a killed run goes on, ``log.jsonl``, and ``model/``, the result: the state with the best
nDCG@10 on development queries, as sentence-transformers' ``CrossEncoder`` and
:class:`~cormorant.rankers.cross_encoder.CrossEncoder` read it. Weights are safetensors throughout.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ...errors import InputError
from ...kernels.precision import PRECISIONS
from ..progress import Progress, silent
from .cross_encoder_run import Run, Tell, development_of
from .groups import Groups
from .material import Source
from .objective import Clock
from .runs import digest_of, kept_said, last_checkpoint, named, need, same_run
from .teachers import Teacher


@dataclass(frozen=True, slots=True)
class CrossEncoderTraining:
    """How to train. The defaults are for a small backbone on a CPU.

    ``backbone``: a folder or a name on the hub; ``layers``: how many of its are kept, None: all.
    Half of them read pairs in half the time. ``steps``, and ``minutes`` where time is to stop it
    earlier; the schedule follows whichever is further. A step has ``queries`` groups of ``group``
    passages, a quarter of them relevant, and pairs of at most ``window`` tokens. ``head_rate``:
    how many times ``learning_rate`` the new layer learns at.
    """

    backbone: str = "sentence-transformers/all-MiniLM-L6-v2"
    revision: str | None = None
    layers: int | None = None
    steps: int = 4000
    minutes: float | None = None
    queries: int = 4
    group: int = 8
    window: int = 128
    learning_rate: float = 1e-4
    head_rate: float = 10.0
    weight_decay: float = 0.01
    warm_up: float = 0.05
    dropout: float = 0.0
    depth: int = 100
    precision: str = "auto"
    seed: int = 0
    evaluate_steps: int = 500
    save_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "queries", "evaluate_steps", "save_steps", "depth"):
            if getattr(self, name) < 1:
                raise InputError(f"is at least 1, got {getattr(self, name)}", field=name)
        if self.layers is not None and self.layers < 1:
            raise InputError(f"is at least 1, got {self.layers}", field="layers")
        if self.group < 2:
            raise InputError(f"is at least 2, got {self.group}", field="group")
        if not 16 <= self.window <= 512:
            raise InputError(f"is from 16 to 512, got {self.window}", field="window")
        for name in ("learning_rate", "head_rate", "warm_up"):
            value = getattr(self, name)
            if not math.isfinite(value) or value <= 0:
                raise InputError(f"is above 0, got {value}", field=name)
        if self.minutes is not None and not self.minutes > 0:
            raise InputError(f"is above 0, got {self.minutes}", field="minutes")
        if not 0 <= self.dropout < 1:
            raise InputError(f"is from 0 to below 1, got {self.dropout}", field="dropout")
        if self.precision not in PRECISIONS:
            raise InputError(f"is one of {', '.join(PRECISIONS)}", field="precision")


@dataclass(frozen=True, slots=True)
class TrainedCrossEncoder:
    """``model``: the folder of the result. ``reports``: (step, nDCG@10) on development.

    ``first_stage``: nDCG@10 of the same candidates as the teachers order them; None without any.
    """

    model: Path
    reports: tuple[tuple[int, float], ...]
    first_stage: float | None
    steps: int
    seconds: float


def train_cross_encoder(
    source: Source,
    output: Path,
    settings: CrossEncoderTraining = CrossEncoderTraining(),  # noqa: B008 - frozen
    *,
    teachers: Sequence[Teacher],
    development: Source | None = None,
    progress: Progress = silent,
    tell: Tell | None = None,
    clock: Clock | None = None,
) -> TrainedCrossEncoder:
    """Train a cross-encoder; goes on where a run in ``output`` was killed.

    ``teachers`` find the passages and say how good they are. ``development``: queries of the same
    documents, of which the best 20 candidates of the teachers are reranked at every report; without
    it the last state is the result.

    Raises:
        InputError: nothing to learn from, or a folder with a run of other settings.
        ModelNotFoundError, MissingDependencyError: see ``find_model``; torch and transformers.
    """
    need("torch", "transformers", "sentence_transformers")
    output.mkdir(parents=True, exist_ok=True)
    # How far and how long may change between a run and its continuation; nothing else may.
    fixed = asdict(replace(settings, minutes=None, evaluate_steps=1, save_steps=1))
    said_by = [named(teacher) for teacher in teachers]
    same_run(output, {"material": digest_of([source]), "teachers": said_by, "settings": fixed})
    mined = kept_said(output / "mined.npz", source, teachers, (), settings.depth, progress)
    groups = Groups(source, mined, settings.group, settings.seed)
    watched = None
    if development is not None:
        watched = development_of(development, teachers, progress)
    run = Run(
        output,
        settings,
        source,
        watched,
        tell or (lambda line: None),
        clock or Clock(settings.steps, settings.minutes and 60 * settings.minutes),
    )
    run.resume(last_checkpoint(output, "clock.json"), groups)
    while run.clock.progress(run.done) < 1:
        run.step(groups)
        progress("training", run.done, settings.steps)
    run.finish()
    first_stage = None if watched is None else watched.first_stage
    return TrainedCrossEncoder(
        output / "model", tuple(run.reports), first_stage, run.done, run.clock.elapsed
    )
