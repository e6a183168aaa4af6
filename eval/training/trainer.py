"""sentence-transformers' trainer, with our batches, our schedule and a watcher."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .batches import Batches
from .checkpoints import SafeCheckpoints
from .objective import Clock, Regulariser
from .watching import (
    Development,
    Report,
    Tell,
    collapse_of,
    collapsed_batch,
    encode,
    measure,
)

if TYPE_CHECKING:
    from .sparse import SparseTraining

COLLAPSED_STEPS = 20
"""After so many steps in a row with less than one term a document, say so without waiting."""


@dataclass(slots=True)
class Watch:
    """Reports while training, keeps the best state, and carries the clock over a kill."""

    output: Path
    clock: Clock
    regulariser: Regulariser
    objective: Any
    development: Development | None
    tokenizer: Any
    window: int
    vocabulary_size: int
    evaluate_steps: int
    say: Tell
    reports: list[tuple[int, Report]] = field(default_factory=list)

    def begin(self, model: Any, step: int) -> None:
        """Take up where a checkpoint left off, or report the start."""
        file = self.output / f"checkpoint-{step}" / "clock.json"
        if step and file.is_file():
            said = json.loads(file.read_text())
            self.clock.spent, self.regulariser.factor = said["seconds"], said["factor"]
            self.regulariser.smooth = said["smooth"]
            self.objective.collapsed = said["collapsed"]
            self.reports = [(number, Report(*report)) for number, report in said["reports"]]
            self.clock.started = self.clock.now()
        self.regulariser.progress = self.clock.progress(step)
        if step == 0:
            self.report(model, 0)

    def step(self, model: Any, step: int) -> bool:
        """After a step; whether training is to stop."""
        self.regulariser.progress = self.clock.progress(step)
        if self.objective.collapsed == COLLAPSED_STEPS:
            self.say(f"step {step}: {collapsed_batch(self.objective.parts['nonzeros'])}")
        if step % self.evaluate_steps == 0 and self.regulariser.progress < 1:
            self.report(model, step)
        return self.regulariser.progress >= 1

    def report(self, model: Any, step: int) -> None:
        """Measure on development; keep the model where it is the best so far."""
        if self.development is None:
            if parts := self.objective.parts:
                self.say(
                    f"step {step} ({self.clock.elapsed / 60:.1f} min): FLOPS {parts['flops']:.2f}, "
                    f"{parts['nonzeros']:.0f} terms a document in this batch; there are no "
                    "development queries to measure nDCG@10 on"
                )
            return
        vectors = encode(model, self.tokenizer, self.development.texts, self.window)
        report = measure(vectors, self.development, self.vocabulary_size)
        best = max((old.ndcg10 for _, old in self.reports), default=-1.0)
        self.reports.append((step, report))
        self.say(
            f"step {step} ({self.clock.elapsed / 60:.1f} min): nDCG@10 {report.ndcg10:.4f}, "
            f"FLOPS {report.flops:.2f}, {report.nonzeros:.0f} terms a document"
        )
        self._log({"step": step, "development": report._asdict()})
        warning = collapse_of(report)
        if warning is not None:
            self.say(f"step {step}: {warning}")
        if report.ndcg10 > best:
            self._keep(model)

    def log(self, step: int, logs: dict[str, Any]) -> None:
        """The trainer's figures and the loss's parts, one line of log.jsonl."""
        parts = {**logs, **self.objective.parts}
        self._log({"step": step, "seconds": round(self.clock.elapsed, 1), **parts})

    def saved(self, step: int) -> None:
        """Beside a checkpoint: what a continuation must know. Written last, it marks it whole."""
        said = {
            "seconds": self.clock.elapsed,
            "factor": self.regulariser.factor,
            "smooth": self.regulariser.smooth,
            "collapsed": self.objective.collapsed,
            "reports": [(number, list(report)) for number, report in self.reports],
        }
        file = self.output / f"checkpoint-{step}" / "clock.json"
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(said))
        unfinished.rename(file)

    def finish(self, model: Any, step: int) -> None:
        """The last report; without development queries the last state is the result."""
        if self.development is None:
            self._keep(model)
        elif not self.reports or self.reports[-1][0] != step:
            self.report(model, step)

    def _keep(self, model: Any) -> None:
        unfinished, place = self.output / "model.unfinished", self.output / "model"
        shutil.rmtree(unfinished, ignore_errors=True)
        model.save_pretrained(str(unfinished), create_model_card=False)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)

    def _log(self, values: dict[str, Any]) -> None:
        with (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(values) + "\n")


class _Sampler:
    """Our batches, as the trainer's loader asks for them."""

    drop_last = False

    def __init__(self, batches: Batches) -> None:
        self._batches = batches
        self.batch_size = batches.size

    def set_epoch(self, epoch: int) -> None:
        self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[int]]:
        return iter(self._batches)

    def __len__(self) -> int:
        return len(self._batches)


def trainer_for(
    model: Any,
    objective: Any,
    texts: Sequence[str],
    batches: Batches,
    settings: SparseTraining,
    clock: Clock,
    watch: Watch,
) -> Any:
    """A ``SparseEncoderTrainer`` over passages; its batches are ``batches``, its clock ours."""
    import datasets
    import torch
    from sentence_transformers.sparse_encoder import (
        SparseEncoderTrainer,
        SparseEncoderTrainingArguments,
    )
    from transformers import TrainerCallback
    from transformers.trainer_callback import PrinterCallback

    class Watching(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.begin(model, state.global_step)

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if watch.step(model, state.global_step):
                control.should_training_stop = True

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            watch.log(state.global_step, logs or {})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            watch.saved(state.global_step)

    class Trainer(SafeCheckpoints, SparseEncoderTrainer):  # type: ignore[misc]
        def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
            if self.lr_scheduler is None:
                self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
                    optimizer or self.optimizer, lambda step: _rate(clock.progress(step), settings)
                )
            return self.lr_scheduler

        def get_batch_sampler(self, dataset: Any, *_: Any, **__: Any) -> Any:
            return _Sampler(batches)

        def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
            pass  # it would encode examples for a card that nobody asked for

    arguments = SparseEncoderTrainingArguments(
        output_dir=str(watch.output),
        per_device_train_batch_size=settings.batch_documents,
        max_steps=settings.steps,
        learning_rate=settings.learning_rate,
        learning_rate_mapping={
            r"predictions\.(bias|decoder\.bias)": settings.head_learning_rate,
            r"transform\.": settings.head_learning_rate / 4,
        },
        weight_decay=settings.weight_decay,
        logging_steps=25,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        router_mapping={"document": "document"},
        seed=settings.seed,
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    dataset = datasets.Dataset.from_dict(
        {"document": list(texts), "label": list(range(len(texts)))}
    )
    trainer = Trainer(
        model=model, args=arguments, train_dataset=dataset, loss=objective, callbacks=[Watching()]
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _rate(progress: float, settings: SparseTraining) -> float:
    """Linear warm-up, then linear to a hundredth."""
    if progress < settings.lr_warm_up:
        return progress / settings.lr_warm_up + 1e-3
    return max(0.01, (1.0 - progress) / (1.0 - settings.lr_warm_up))
