"""A cross-encoder's training under way: its steps, its reports, its checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...contracts import Float32Array
from ...indexers.encoders.models import find_model
from ...indexers.training.losses import distillation
from ...kernels.precision import choose_precision
from ..measures import evaluate
from ..progress import Progress
from .checkpoints import SafeCheckpoints
from .cross_encoder_model import new_cross_encoder, parts
from .groups import Group, Groups, ranked
from .material import Source
from .objective import Clock
from .teachers import Teacher, asked_of

if TYPE_CHECKING:
    from .cross_encoder import CrossEncoderTraining

Tell = Callable[[str], None]
PAIRS_AT_ONCE = 32
DEVELOPMENT_DEPTH = 20
CALIBRATION_QUERIES = 16
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Development:
    """Queries with the candidates that are reranked, and their judgements.

    ``owners``: of each pair the query and the document. ``first_stage``: nDCG@10 of the candidates
    as the teachers order them.
    """

    pairs: Sequence[tuple[str, str]]
    owners: Sequence[tuple[int, int]]
    gains: Sequence[Mapping[int, float]]
    first_stage: float = field(init=False)

    def __post_init__(self) -> None:
        as_listed = -np.arange(len(self.pairs), dtype=np.float32)
        object.__setattr__(self, "first_stage", self.ndcg10(as_listed))

    def ndcg10(self, scores: Float32Array) -> float:
        """Of the candidates in the order of their scores."""
        run: dict[str, list[tuple[str, float]]] = {}
        for (query, document), score in zip(self.owners, scores.tolist(), strict=True):
            run.setdefault(str(query), []).append((str(document), score))
        for hits in run.values():
            hits.sort(key=lambda hit: (-hit[1], int(hit[0])))
        qrels = {
            str(query): {str(document): int(gain) for document, gain in own.items()}
            for query, own in enumerate(self.gains)
        }
        return evaluate(["nDCG@10"], qrels, run).means["nDCG@10"]


def development_of(source: Source, teachers: Sequence[Teacher], progress: Progress) -> Development:
    """The candidates that teachers find for development queries."""
    said = asked_of(source, teachers, depth=DEVELOPMENT_DEPTH, progress=progress)
    texts = source.texts
    owners = [
        (query, document)
        for query, own in enumerate(said.candidates)
        for document in ranked(own)[:DEVELOPMENT_DEPTH]
    ]
    pairs = [(source.queries[query], texts[document]) for query, document in owners]
    return Development(pairs, owners, source.gains)


@dataclass
class Run(SafeCheckpoints):
    """Training under way: the model, its optimiser, and what a continuation must know."""

    output: Path
    settings: CrossEncoderTraining
    source: Source
    development: Development | None
    say: Tell
    clock: Clock
    done: int = 0
    reports: list[tuple[int, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        torch.manual_seed(self.settings.seed)
        self._texts = self.source.texts
        settings = self.settings
        folder = find_model(settings.backbone, settings.revision).path
        self.model = new_cross_encoder(folder, settings.window, settings.dropout, settings.layers)
        self._rounds = choose_precision(settings.precision, "cpu")[0] != "float32"
        self.optimizer = torch.optim.AdamW(
            parts(self.model, settings.learning_rate, settings.head_rate),
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.args = None

    def _rate(self, step: int) -> float:
        """Linear warm-up, then linear to a hundredth."""
        progress = self.clock.progress(self.done)
        if progress < self.settings.warm_up:
            return progress / self.settings.warm_up + 1e-3
        return max(0.01, (1.0 - progress) / (1.0 - self.settings.warm_up))

    def resume(self, checkpoint: Path | None, groups: Groups) -> None:
        """Take up where a checkpoint left off, or find the scale of scores and report the start."""
        if checkpoint is None:
            self._calibrate(groups)
            self.report()
            return
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(checkpoint / WEIGHTS))
        self._load_optimizer_and_scheduler(str(checkpoint))
        self._load_rng_state(str(checkpoint))
        said = json.loads((checkpoint / "clock.json").read_text())
        self.done, self.clock.spent = said["step"], said["seconds"]
        self.reports = [(step, value) for step, value in said["reports"]]
        self.clock.started = self.clock.now()

    def step(self, groups: Groups) -> None:
        """Learn from a few queries: KL divergence from what is wanted of each group."""
        import torch

        pairs, wanted = self._asked(groups.of_step(self.done, self.settings.queries))
        self.model.train()
        loss = distillation(self._logits(pairs).reshape(wanted.shape), wanted)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        self.lr_scheduler.step()
        self.losses.append(float(loss.detach()))
        if self.done % 25 == 0:
            self._log({"loss": float(np.mean(self.losses[-25:]))})
        if self.done % self.settings.evaluate_steps == 0 and self.clock.progress(self.done) < 1:
            self.report()
        if self.done % self.settings.save_steps == 0:
            self._checkpoint()

    def _asked(self, chosen: Sequence[Group]) -> tuple[list[tuple[str, str]], Any]:
        """The pairs of groups, and what is wanted of them: (groups, group) float32."""
        import torch

        pairs = [
            (self.source.queries[group.query], self._texts[document])
            for group in chosen
            for document in group.documents
        ]
        return pairs, torch.tensor([group.targets for group in chosen])

    def _calibrate(self, groups: Groups) -> None:
        """Give the untrained scores the scale that is nearest to what is wanted of some groups."""
        import torch

        head = self.model[1]
        pairs, wanted = self._asked(groups.of_step(0, CALIBRATION_QUERIES))
        with torch.no_grad():
            matches = torch.from_numpy(self.scores(pairs)).reshape(wanted.shape)
            scales = torch.logspace(-1, 2, 61) / head.scale.exp()
            losses = [float(distillation(scale * matches, wanted)) for scale in scales]
            head.scale += scales[int(np.argmin(losses))].log()

    def report(self) -> None:
        """Measure on development; keep the model where it is the best so far."""
        if self.development is None:
            return
        value = self.development.ndcg10(self.scores(self.development.pairs))
        best = max((old for _, old in self.reports), default=-1.0)
        self.reports.append((self.done, value))
        self.say(
            f"step {self.done} ({self.clock.elapsed / 60:.1f} min): nDCG@10 {value:.4f}, first "
            f"stage {self.development.first_stage:.4f}"
        )
        self._log({"ndcg10": value})
        if value > best:
            self._keep()

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """The logits of pairs, as training reads them: (n,) float32."""
        import torch

        self.model.eval()
        with torch.no_grad():
            found: Float32Array = self._logits(pairs).numpy()
        return found

    def finish(self) -> None:
        """The last report; without development queries the last state is the result."""
        if self.development is None:
            self._keep()
        elif not self.reports or self.reports[-1][0] != self.done:
            self.report()

    def _logits(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """One float32 a pair: (n,). Pairs of like length are read together."""
        import torch

        order = np.argsort([len(query) + len(text) for query, text in pairs], kind="stable")
        found = []
        for first in range(0, len(order), PAIRS_AT_ONCE):
            some = [pairs[place] for place in order[first : first + PAIRS_AT_ONCE]]
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._rounds):
                found.append(self.model(self.model.preprocess(some))["scores"][:, 0].float())
        return torch.cat(found)[torch.from_numpy(np.argsort(order))]

    def _checkpoint(self) -> None:
        """All that a continuation needs; clock.json is written last and marks it whole."""
        from safetensors.torch import save_file

        place = self.output / f"checkpoint-{self.done}"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        save_file(self.model.state_dict(), place / WEIGHTS)
        self._save_rng_state(str(place))
        said = {"step": self.done, "seconds": self.clock.elapsed, "reports": self.reports}
        (place / "clock.json").write_text(json.dumps(said))
        for old in self.output.glob("checkpoint-*"):
            if old != place:
                shutil.rmtree(old)

    def _keep(self) -> None:
        unfinished, place = self.output / "model.unfinished", self.output / "model"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.model.save_pretrained(str(unfinished), create_model_card=False)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)

    def _log(self, values: dict[str, Any]) -> None:
        line = {"step": self.done, "seconds": round(self.clock.elapsed, 1), **values}
        with (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
