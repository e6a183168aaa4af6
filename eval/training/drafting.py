"""A small causal model that answers from passages, trained from nothing with its own tokenizer.

Drafting is measured on it: random weights copy nothing, and a model that answers in its passages'
words is what drafting from passages is for. It learns the answers of :mod:`.extracts`, and the
prompts with a smaller weight; its first weights copy already (:mod:`.copying`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError
from ...kernels.precision import choose_precision
from .checkpoints import SafeCheckpoints
from .copying import COPYING_LAYERS, begin_as_copying
from .extracts import Example, Extracts
from .material import Source
from .objective import Clock
from .runs import digest_of, last_checkpoint, need, same_run

PADDING, END = "<pad>", "<end>"
CONTEXT = 2048
_PROMPT_WEIGHT, _PROMPT_SHARE = 0.4, 0.25
"""Of a prompt's tokens, and how many of them are learnt at all: the head is half of the work."""
_TOKENIZER_EXAMPLES = 4000
_SHORTEST = 128
_CAREFUL = 0.1
"""Of the learning rate, for what copies: at all of it a few hundred steps wash the codes out."""
_STEP = 32
"""Widths of batches are multiples of it: oneDNN keeps what it compiled for each shape it met."""
_POOL = 8
"""Batches that are drawn together and cut by length: less padding to compute."""
_ROTARY_BASE = 500_000.0
"""As Llama 3: more pairs that hardly turn within the window than with 10,000."""


@dataclass(frozen=True, slots=True)
class DraftingTraining:
    """Settings of a run; ``width``, ``layers``, ``heads``, ``vocabulary`` make some 7 M parameters.

    ``window``: tokens of the longest example. ``minutes``: the run ends after so long.
    """

    width: int = 256
    layers: int = 6
    heads: int = 4
    vocabulary: int = 8192
    window: int = 768
    batch: int = 8
    steps: int = 20_000
    learning_rate: float = 1e-3
    minutes: float | None = None
    precision: str = "auto"
    seed: int = 0
    save_steps: int = 500
    report_steps: int = 50

    def __post_init__(self) -> None:
        counts = ("width", "batch", "steps", "save_steps", "report_steps")
        for name in counts:
            if getattr(self, name) < 1:
                raise InputError(f"is at least 1, got {getattr(self, name)}", field=name)
        for name, least in (("layers", 2), ("heads", 4)):  # what copying takes
            if getattr(self, name) < least:
                raise InputError(f"is at least {least}, got {getattr(self, name)}", field=name)
        if self.width % (2 * self.heads):
            raise InputError(
                f"is a multiple of twice the heads, {2 * self.heads}, got {self.width}",
                field="width",
            )
        if not 512 <= self.vocabulary <= 1 << 17:
            raise InputError(f"is from 512 to 131,072, got {self.vocabulary}", field="vocabulary")
        if not _SHORTEST <= self.window <= CONTEXT:
            raise InputError(f"is from {_SHORTEST} to {CONTEXT}, got {self.window}", field="window")
        if not self.learning_rate > 0:
            raise InputError(f"is above 0, got {self.learning_rate}", field="learning_rate")


Row = tuple[list[int], list[float]]
"""Ids, and what each weighs."""


class Trained(NamedTuple):
    """The model's folder, for ``LocalModel``; steps made; (step, mean loss of the answers)."""

    model: Path
    steps: int
    losses: list[tuple[int, float]]


def train_drafting_model(
    sources: Sequence[Source],
    apart: Iterable[str],
    output: Path,
    settings: DraftingTraining,
    tell: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train, or go on with the run in ``output``.

    ``apart``: the texts that the model will be measured on; no document of theirs is learnt from.

    Raises :class:`~cormorant.errors.InputError` where there is nothing to learn from, and for a
    folder that holds a run of other settings.
    """
    need("torch", "transformers", "tokenizers")
    output.mkdir(parents=True, exist_ok=True)
    fixed = asdict(replace(settings, minutes=None, save_steps=1, report_steps=1))
    same_run(output, {"material": digest_of(sources), "settings": fixed})
    extracts = Extracts(sources, apart, settings.seed)
    tell(f"{len(extracts):,} pairs; {extracts.left_out:,} documents left out, being measured on")
    tokenizer = _tokenizer(output / "tokenizer", extracts, settings)
    clock = Clock(settings.steps, settings.minutes and 60 * settings.minutes)
    run = _Run(output, settings, extracts, tokenizer, clock)
    tell(f"{sum(value.numel() for value in run.model.parameters()):,} parameters")
    run.resume(last_checkpoint(output, "clock.json"))
    while run.clock.progress(run.done) < 1:
        run.step()
        if run.done % settings.report_steps == 0:
            run.reports.append((run.done, float(np.mean(run.losses))))
            run.losses = []
            tell(f"step {run.done}: loss of the answers {run.reports[-1][1]:.3f}")
        if run.done % settings.save_steps == 0:
            run.save()
    run.keep()
    return Trained(output / "model", run.done, run.reports)


def _tokenizer(folder: Path, extracts: Extracts, settings: DraftingTraining) -> Any:
    """Byte-level BPE of the examples, from the run's folder where it is there already."""
    from transformers import PreTrainedTokenizerFast

    if not folder.is_dir():
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=settings.vocabulary,
            special_tokens=[PADDING, END],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        made.train_from_iterator(extracts.texts(_TOKENIZER_EXAMPLES), trainer)
        unfinished = folder.with_suffix(".unfinished")
        PreTrainedTokenizerFast(
            tokenizer_object=made,
            pad_token=PADDING,
            eos_token=END,
            model_max_length=CONTEXT,
            clean_up_tokenization_spaces=False,
        ).save_pretrained(unfinished)
        unfinished.rename(folder)
    return PreTrainedTokenizerFast.from_pretrained(folder)


def _model(settings: DraftingTraining, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=settings.width,
            intermediate_size=(settings.width * 11 // 4) // 8 * 8,
            num_hidden_layers=settings.layers,
            num_attention_heads=settings.heads,
            num_key_value_heads=settings.heads // 2 or 1,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            rope_parameters={"rope_type": "default", "rope_theta": _ROTARY_BASE},
        )
    )
    begin_as_copying(model, settings.window)
    return model


@dataclass
class _Run(SafeCheckpoints):
    """Training under way."""

    output: Path
    settings: DraftingTraining
    extracts: Extracts
    tokenizer: Any
    clock: Clock
    done: int = 0
    next_example: int = 0
    pool: list[list[Row]] = field(default_factory=list)
    pool_began: int = 0
    reports: list[tuple[int, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        import torch

        torch.manual_seed(self.settings.seed)
        self.args = None
        self.model = _model(self.settings, self.tokenizer)
        body, rate = self.model.model, self.settings.learning_rate
        copying = [body.embed_tokens, *body.layers[:COPYING_LAYERS]]
        careful = [each for part in copying for each in part.parameters()]
        own = {id(each) for each in careful}
        others = [each for each in self.model.parameters() if id(each) not in own]
        self.optimizer = torch.optim.AdamW(
            [{"params": others}, {"params": careful, "lr": _CAREFUL * rate}],
            lr=rate,
            betas=(0.9, 0.98),
            weight_decay=0.01,
        )
        self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._rate)
        name, self._dtype = choose_precision(self.settings.precision, "cpu")
        self._rounds = name != "float32"

    def _rate(self, step: int) -> float:
        """A warm-up of 200 steps, then down to a twentieth as a cosine."""
        progress = self.clock.progress(self.done)
        return min((self.done + 1) / 200, 0.525 + 0.475 * float(np.cos(np.pi * progress)))

    def resume(self, checkpoint: Path | None) -> None:
        """Go on where a checkpoint left off."""
        if checkpoint is None:
            return
        from safetensors.torch import load_model

        load_model(self.model, checkpoint / "model.safetensors")
        self._load_optimizer_and_scheduler(str(checkpoint))
        self._load_rng_state(str(checkpoint))
        said = json.loads((checkpoint / "clock.json").read_text())
        self.done, self.next_example = said["step"], said["pool_began"]
        self._draw()
        del self.pool[said["batches_left"] :]
        self.clock.spent, self.clock.started = said["seconds"], self.clock.now()
        self.reports = [(step, loss) for step, loss in said["reports"]]

    def step(self) -> None:
        """Learn from a batch."""
        import torch

        ids, weights = self._examples()
        self.model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=self._rounds):
            hidden = self.model.model(input_ids=ids, attention_mask=(weights >= 0).long())
            # the head, half of the work, only where something is learnt
            wanted = weights[:, 1:] > 0
            logits = self.model.lm_head(hidden.last_hidden_state[:, :-1][wanted]).float()
        own = weights[:, 1:][wanted]
        losses = torch.nn.functional.cross_entropy(logits, ids[:, 1:][wanted], reduction="none")
        loss = (losses * own).sum() / own.sum()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.done += 1
        self.lr_scheduler.step()
        self.losses.append(float(losses[own == 1].detach().mean()))

    def save(self) -> None:
        """A checkpoint; clock.json is written last and marks it whole."""
        place = self.output / f"checkpoint-{self.done}"
        shutil.rmtree(place, ignore_errors=True)
        self.model.save_pretrained(place)
        self._save_rng_state(str(place))
        said = {
            "step": self.done,
            "pool_began": self.pool_began,
            "batches_left": len(self.pool),
            "seconds": self.clock.elapsed,
            "reports": self.reports,
        }
        (place / "clock.json").write_text(json.dumps(said))
        for old in self.output.glob("checkpoint-*"):
            if old != place:
                shutil.rmtree(old)

    def keep(self) -> None:
        """The result."""
        unfinished, place = self.output / "model.unfinished", self.output / "model"
        shutil.rmtree(unfinished, ignore_errors=True)
        self.model.save_pretrained(unfinished)
        self.tokenizer.save_pretrained(unfinished)
        shutil.rmtree(place, ignore_errors=True)
        unfinished.rename(place)

    def _examples(self) -> tuple[Any, Any]:
        """Ids and weights (batch, n): 1 for the answer, less for the prompt, -1 for padding."""
        if not self.pool:
            self._draw()
        return _padded(self.pool.pop(), self.tokenizer.pad_token_id)

    def _draw(self) -> None:
        """The batches to come, each of examples about as long."""
        self.pool_began = self.next_example
        rows: list[Row] = []
        while len(rows) < _POOL * self.settings.batch:
            row = self._encoded(self.extracts.example(self.next_example))
            self.next_example += 1
            if len(row[0]) <= self.settings.window:
                rows.append(row)
        rows.sort(key=lambda row: len(row[0]))
        order = np.random.default_rng([self.settings.seed, 3, self.pool_began]).permutation(_POOL)
        many = self.settings.batch
        self.pool = [rows[at * many : (at + 1) * many] for at in order.tolist()]

    def _encoded(self, example: Example) -> Row:
        prompt = self.tokenizer.encode(example.prompt, add_special_tokens=False)
        answer = self.tokenizer.encode(example.answer, add_special_tokens=False)
        answer.append(self.tokenizer.eos_token_id)
        draw = np.random.default_rng([self.settings.seed, 2, self.next_example])
        learnt = draw.random(len(prompt)) < _PROMPT_SHARE
        return prompt + answer, (_PROMPT_WEIGHT * learnt).tolist() + [1.0] * len(answer)


def _padded(rows: Sequence[Row], padding: int) -> tuple[Any, Any]:
    import torch

    width = -(-max(len(ids) for ids, _ in rows) // _STEP) * _STEP
    return (
        torch.tensor([ids + [padding] * (width - len(ids)) for ids, _ in rows]),
        torch.tensor([weights + [-1.0] * (width - len(weights)) for _, weights in rows]),
    )
