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
from ...kernels.precision import choose_precision
from ..measures import evaluate
from ..progress import Progress
from .checkpoints import SafeCheckpoints
from .groups import Groups, ranked
from .material import Source
from .objective import Clock
from .teachers import Teacher, asked_of

if TYPE_CHECKING:
    from .cross_encoder import CrossEncoderTraining

Tell = Callable[[str], None]
PAIRS_AT_ONCE = 64
DEVELOPMENT_DEPTH = 20


@dataclass(frozen=True, slots=True)
class Development:
    """Queries with the candidates that are reranked, and their judgements."""

    pairs: Sequence[tuple[str, str]]
    owners: Sequence[tuple[int, int]]
    """Of each pair the query and the document."""
    gains: Sequence[Mapping[int, float]]

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
        folder = find_model(self.settings.backbone, self.settings.revision).path
        self.tokenizer, self.model = _load(folder, self.settings)
        name, self._dtype = choose_precision(self.settings.precision, "cpu")
        self._rounds = name != "float32"
        self.optimizer = torch.optim.AdamW(
            _parts(self.model, self.settings), weight_decay=self.settings.weight_decay
        )
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        self.args = None

    def _rate(self, step: int) -> float:
        """Linear warm-up, then linear to a hundredth."""
        progress = self.clock.progress(self.done)
        if progress < self.settings.warm_up:
            return progress / self.settings.warm_up + 1e-3
        return max(0.01, (1.0 - progress) / (1.0 - self.settings.warm_up))

    def resume(self, checkpoint: Path | None) -> None:
        """Take up where a checkpoint left off, or report the start."""
        if checkpoint is None:
            self.report()
            return
        from safetensors.torch import load_file

        self.model.load_state_dict(load_file(checkpoint / "model.safetensors"))
        self._load_optimizer_and_scheduler(str(checkpoint))
        self._load_rng_state(str(checkpoint))
        said = json.loads((checkpoint / "clock.json").read_text())
        self.done, self.clock.spent = said["step"], said["seconds"]
        self.reports = [(step, value) for step, value in said["reports"]]
        self.clock.started = self.clock.now()

    def step(self, groups: Groups) -> None:
        """Learn from a few queries."""
        import torch

        chosen = groups.of_step(self.done, self.settings.queries)
        pairs = [
            (self.source.queries[group.query], self._texts[document])
            for group in chosen
            for document in group.documents
        ]
        self.model.train()
        sizes = [len(group.documents) for group in chosen]
        logits = torch.split(self._logits(pairs), sizes)
        first = torch.zeros(1, dtype=torch.long)
        parts = [torch.nn.functional.cross_entropy(own[None], first) for own in logits]
        loss = torch.stack(parts).mean()
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

    def report(self) -> None:
        """Measure on development; keep the model where it is the best so far."""
        if self.development is None:
            return
        value = self.development.ndcg10(self.scores(self.development.pairs))
        best = max((old for _, old in self.reports), default=-1.0)
        self.reports.append((self.done, value))
        self.say(f"step {self.done} ({self.clock.elapsed / 60:.1f} min): nDCG@10 {value:.4f}")
        self._log({"ndcg10": value})
        if value > best:
            self._keep()

    def scores(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """The logits of pairs, as training reads them: (n,) float32."""
        import torch

        self.model.eval()
        order = np.argsort([len(query) + len(text) for query, text in pairs])
        found = np.zeros(len(pairs), np.float32)
        with torch.no_grad():
            for first in range(0, len(order), PAIRS_AT_ONCE):
                some = order[first : first + PAIRS_AT_ONCE]
                found[some] = self._logits([pairs[place] for place in some]).numpy()
        return found

    def finish(self) -> None:
        """The last report; without development queries the last state is the result."""
        if self.development is None:
            self._keep()
        elif not self.reports or self.reports[-1][0] != self.done:
            self.report()

    def _logits(self, pairs: Sequence[tuple[str, str]]) -> Any:
        """One float32 a pair: (n,)."""
        import torch

        features = self.tokenizer(
            [query for query, _ in pairs],
            [text for _, text in pairs],
            truncation="longest_first",
            max_length=self.settings.window,
            padding=True,
            return_tensors="pt",
        )
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._rounds):
            logits = self.model(**features).logits
        return logits[:, 0].float()

    def _checkpoint(self) -> None:
        """All that a continuation needs; clock.json is written last and marks it whole."""
        place = self.output / f"checkpoint-{self.done}"
        shutil.rmtree(place, ignore_errors=True)
        self.model.save_pretrained(place, safe_serialization=True)
        self._save_rng_state(str(place))
        said = {"step": self.done, "seconds": self.clock.elapsed, "reports": self.reports}
        (place / "clock.json").write_text(json.dumps(said))
        for old in self.output.glob("checkpoint-*"):
            if old != place:
                shutil.rmtree(old)

    def _keep(self) -> None:
        unfinished, place = self.output / "model.unfinished", self.output / "model"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.model.save_pretrained(unfinished, safe_serialization=True)
        self.tokenizer.save_pretrained(unfinished)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)

    def _log(self, values: dict[str, Any]) -> None:
        line = {"step": self.done, "seconds": round(self.clock.elapsed, 1), **values}
        with (self.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")


def _load(folder: Path, settings: CrossEncoderTraining) -> tuple[Any, Any]:
    """The backbone's tokenizer, and the backbone with a new layer for the score."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    local = {"local_files_only": True, "trust_remote_code": False}
    config = AutoConfig.from_pretrained(str(folder), **local)
    config.num_labels = 1
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout"):
        if hasattr(config, name):
            setattr(config, name, settings.dropout)
    model = AutoModelForSequenceClassification.from_pretrained(
        str(folder), config=config, use_safetensors=True, dtype=torch.float32, **local
    )
    tokenizer = AutoTokenizer.from_pretrained(str(folder), **local)
    tokenizer.model_max_length = settings.window
    return tokenizer, model


def _parts(model: Any, settings: CrossEncoderTraining) -> list[dict[str, Any]]:
    """The backbone, and what is new, which learns faster."""
    new = [value for name, value in model.named_parameters() if _is_new(name)]
    old = [value for name, value in model.named_parameters() if not _is_new(name)]
    rate = settings.learning_rate
    return [{"params": old, "lr": rate}, {"params": new, "lr": settings.head_rate * rate}]


def _is_new(name: str) -> bool:
    return name.startswith(("classifier.", "score.", "pre_classifier."))
