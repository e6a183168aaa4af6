"""Training a full ranker: a causal model learns to write the order of all passages at once.

The loss is cross-entropy on the answer's tokens, those of identifiers weighted by their rank:
``1 + 1 / log2(rank + 1)`` for an identifier, 1 for what stands between (Liu et al., "Sliding
Windows Are Not the End", ACL 2025, equation 3), over the number of tokens. The whole model is
trained, or LoRA matrices beside it that are merged at the end. A checkpoint holds what is trained
and the optimiser's state as safetensors; the order of the examples follows from the seed, so a run
goes on after a kill as if there had been none.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...errors import InputError, MissingDependencyError, ModelNotFoundError
from ...rankers.language_models.local import Loaded
from ...rankers.listwise.passages import cleaned
from ...rankers.listwise.prompts import LISTWISE
from .listwise_labels import Example

IGNORED = -100
CLIPPED_NORM = 1.0


@dataclass(frozen=True, slots=True)
class ListwiseTraining:
    """Settings of a run. ``lora_rank``: of the matrices beside the model's; None: the whole model.

    ``warm_up``: the share of the steps over which the learning rate rises; then it falls to 0.
    """

    backbone: str
    steps: int = 1000
    learning_rate: float = 5e-6
    batch: int = 8
    lora_rank: int | None = 16
    passage_tokens: int = 100
    warm_up: float = 0.05
    seed: int = 0
    save_steps: int = 100
    report_steps: int = 25

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "passage_tokens", "save_steps", "report_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"is at least 1, got {getattr(self, name)}", field=name)
        if self.lora_rank is not None and self.lora_rank < 1:
            raise InputError(f"is at least 1, or None, got {self.lora_rank}", field="lora_rank")
        if not self.learning_rate > 0:
            raise InputError(f"is above 0, got {self.learning_rate}", field="learning_rate")
        if not 0 <= self.warm_up < 1:
            raise InputError(f"is from 0 to below 1, got {self.warm_up}", field="warm_up")


class Trained(NamedTuple):
    """The model's folder, for ``LocalModel``; the steps made; and (step, mean loss) reports."""

    model: Path
    steps: int
    losses: list[tuple[int, float]]


class Tokens(NamedTuple):
    """An example as tokens: all ids, the labels (``IGNORED`` for the prompt), and weights."""

    ids: list[int]
    labels: list[int]
    weights: list[float]


def importance(rank: int) -> float:
    """The weight of the identifier at a rank from 1."""
    return 1.0 + 1.0 / math.log2(rank + 1)


def tokens_of(example: Example, loaded: Loaded, passage_tokens: int) -> Tokens:
    """The prompt, and the answer with its weights."""
    tokenizer = loaded.tokenizer

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False))

    n = len(example.passages)
    texts = [cleaned(text, passage_tokens, count) for text in example.passages]
    names = [str(place + 1) for place in range(n)]
    prompt = LISTWISE.filled(cleaned(example.query, 256, count), names, texts, n)
    answer, owners = "", []
    for rank, place in enumerate(example.order, 1):
        if answer:
            answer += " > "
            owners += [0] * 3
        name = f"[{place + 1}]"
        answer += name
        owners += [rank] * len(name)
    encoded = tokenizer(answer, add_special_tokens=False, return_offsets_mapping=True)
    weights = []
    for start, end in encoded["offset_mapping"]:
        rank = max(owners[start:end], default=0)
        weights.append(importance(rank) if rank else 1.0)
    before = loaded.prompt_ids(prompt)[0].tolist()
    ids, ends = list(encoded["input_ids"]), tokenizer.eos_token_id
    if ends is not None:
        ids, weights = [*ids, ends], [*weights, 1.0]
    return Tokens(before + ids, [IGNORED] * len(before) + ids, [0.0] * len(before) + weights)


def importance_loss(logits: Any, labels: Any, weights: Any) -> Any:
    """The weighted cross-entropy: logits (b, t, v), labels and weights (b, t) -> a scalar."""
    import torch.nn.functional as functional

    shifted, wanted, weight = logits[:, :-1].float(), labels[:, 1:], weights[:, 1:]
    losses = functional.cross_entropy(
        shifted.reshape(-1, shifted.shape[-1]),
        wanted.reshape(-1),
        ignore_index=IGNORED,
        reduction="none",
    )
    return (losses * weight.reshape(-1)).sum() / (wanted != IGNORED).sum().clamp(min=1)


def train_listwise(
    examples: Sequence[Example],
    output: Path,
    settings: ListwiseTraining,
    tell: Callable[[str], None] = lambda line: None,
) -> Trained:
    """Train, or go on with the run in ``output``; its ``model`` is a folder for ``LocalModel``.

    Raises :class:`~cormorant.errors.InputError` without examples, for one that is longer than the
    model reads, and for a run in ``output`` of other settings.
    """
    import torch

    if not examples:
        raise InputError("there is nothing to learn from", field="examples")
    output.mkdir(parents=True, exist_ok=True)
    _check_same(output / "settings.json", settings)
    torch.manual_seed(settings.seed)
    loaded = _backbone(settings)
    material = [tokens_of(example, loaded, settings.passage_tokens) for example in examples]
    longest = max(len(item.ids) for item in material)
    if longest > loaded.context(None):
        raise InputError(
            f"an example takes {longest:,} tokens and the model reads {loaded.context(None):,}; "
            "take fewer passages, or shorter ones",
            field="passage_tokens",
        )
    trained = [value for value in loaded.model.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=0.0)
    step, losses = _restored(output, loaded.model, optimizer)
    loaded.model.train()
    recent: list[float] = []
    while step < settings.steps:
        rate = settings.learning_rate * _rate(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        batch = [material[place] for place in _batch(step, len(material), settings)]
        optimizer.zero_grad()
        for item in batch:  # one by one: a prompt of 100 passages fills the memory by itself
            logits = loaded.model(torch.tensor([item.ids])).logits
            labels, weights = torch.tensor([item.labels]), torch.tensor([item.weights])
            loss = importance_loss(logits, labels, weights) / len(batch)
            loss.backward()
            recent.append(float(loss.detach()) * len(batch))
        torch.nn.utils.clip_grad_norm_(trained, CLIPPED_NORM)
        optimizer.step()
        step += 1
        if step % settings.report_steps == 0 or step == settings.steps:
            losses.append((step, float(np.mean(recent))))
            tell(f"step {step}: loss {losses[-1][1]:.4f}")
            recent = []
        if step % settings.save_steps == 0 and step < settings.steps:
            _save(output, loaded.model, optimizer, step, losses)
    return Trained(_finish(output, loaded), step, losses)


def _backbone(settings: ListwiseTraining) -> Loaded:
    """The model to train; with LoRA only the new matrices want gradients."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = Path(settings.backbone).expanduser()
    name = str(place) if place.is_dir() else settings.backbone
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            name, local_files_only=True, trust_remote_code=False
        )
        model = AutoModelForCausalLM.from_pretrained(
            name, local_files_only=True, trust_remote_code=False, use_safetensors=True
        )
    except (OSError, ValueError) as error:
        raise ModelNotFoundError(settings.backbone, [str(error).splitlines()[0]]) from None
    if settings.lora_rank is not None:
        try:
            from peft import LoraConfig, get_peft_model
        except ImportError:
            raise MissingDependencyError("peft", "train") from None
        config = LoraConfig(
            r=settings.lora_rank,
            lora_alpha=2 * settings.lora_rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
        model = get_peft_model(model, config)
    return Loaded(model, tokenizer)


def _batch(step: int, n: int, settings: ListwiseTraining) -> list[int]:
    """Which examples a step sees: the run is one stream of shuffled epochs, by the seed."""
    places = []
    for number in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(number, n)
        order = np.random.default_rng([settings.seed, epoch]).permutation(n)
        places.append(int(order[place]))
    return places


def _rate(step: int, settings: ListwiseTraining) -> float:
    warm = max(1, round(settings.steps * settings.warm_up))
    if step < warm:
        return (step + 1) / warm
    return (settings.steps - step) / max(1, settings.steps - warm)


# -- checkpoints ----------------------------------------------------------------------------


def _check_same(file: Path, settings: ListwiseTraining) -> None:
    said = {name: getattr(settings, name) for name in settings.__slots__}
    if file.is_file() and json.loads(file.read_text()) != said:
        raise InputError(f"holds a run of other settings: {file}", field="output")
    file.write_text(json.dumps(said))


def _trained(model: Any) -> dict[str, Any]:
    return {name: value for name, value in model.named_parameters() if value.requires_grad}


def _save(output: Path, model: Any, optimizer: Any, step: int, losses: Any) -> None:
    from safetensors.torch import save_file

    tensors = {f"model.{name}": value.detach().clone() for name, value in _trained(model).items()}
    for number, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value.clone() for name, value in state.items()}
    unfinished = output / "checkpoint.unfinished"
    facts = json.dumps({"step": step, "losses": losses})
    save_file(tensors, unfinished, metadata={"facts": facts})
    unfinished.rename(output / "checkpoint.safetensors")


def _restored(output: Path, model: Any, optimizer: Any) -> tuple[int, list[tuple[int, float]]]:
    """Take up the checkpoint there is; (step, losses)."""
    file = output / "checkpoint.safetensors"
    if not file.is_file():
        return 0, []
    import torch
    from safetensors import safe_open

    state: dict[int, dict[str, Any]] = {}
    own = _trained(model)
    with safe_open(file, framework="pt") as opened, torch.no_grad():
        facts = json.loads(opened.metadata()["facts"])
        for key in opened.keys():  # noqa: SIM118 - not a mapping
            kind, _, name = key.partition(".")
            if kind == "model":
                own[name].copy_(opened.get_tensor(key))
            else:
                number, _, entry = name.partition(".")
                state.setdefault(int(number), {})[entry] = opened.get_tensor(key)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return facts["step"], [(step, loss) for step, loss in facts["losses"]]


def _finish(output: Path, loaded: Loaded) -> Path:
    model = loaded.model
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    model.eval()
    unfinished, place = output / "model.unfinished", output / "model"
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    loaded.tokenizer.save_pretrained(unfinished)
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)
    return place
