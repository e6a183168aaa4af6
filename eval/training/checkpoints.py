"""A trainer's checkpoints without pickle: tensors as safetensors, all else as JSON.

The Hugging Face trainer writes its optimiser, its schedule, its random states and its arguments by
``torch.save``, which is pickle. ``SafeCheckpoints`` goes before such a trainer among the bases of a
class and writes the same facts so that reading them back can run nothing.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np

STATE_FILE = "training_state.safetensors"
_OPTIMIZER, _TORCH, _NUMPY, _CUDA = "optimizer", "random.torch", "random.numpy", "random.cuda"


class SafeCheckpoints:
    """Saves and restores what a run needs to go on as if it had not been killed."""

    optimizer: Any
    lr_scheduler: Any
    model: Any
    args: Any

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        self.model.save_pretrained(output_dir or self.args.output_dir, safe_serialization=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        """Nothing: it is written with the random states, which the trainer saves last."""

    def _save_scaler(self, output_dir: str) -> None:
        """Nothing: no training here scales gradients."""

    def _save_rng_state(self, output_dir: str) -> None:
        import torch
        from safetensors.torch import save_file

        folder = Path(output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        held = self.optimizer.state_dict()
        numbers: Any = np.random.get_state()  # noqa: NPY002 - the trainer's
        kind, key, place, has_gauss, gauss = numbers
        version, words, next_gauss = random.getstate()
        tensors = {_TORCH: torch.random.get_rng_state(), _NUMPY: torch.from_numpy(key.copy())}
        if torch.cuda.is_available():
            for device, state in enumerate(torch.cuda.random.get_rng_state_all()):
                tensors[f"{_CUDA}.{device}"] = state
        for number, own in held["state"].items():
            for name, value in own.items():
                tensors[f"{_OPTIMIZER}.{number}.{name}"] = value.contiguous()
        facts = {
            "groups": held["param_groups"],
            "schedule": self.lr_scheduler.state_dict(),
            "numpy": [str(kind), int(place), int(has_gauss), float(gauss)],
            "python": [version, list(words), next_gauss],
        }
        save_file(tensors, folder / STATE_FILE, metadata={"facts": json.dumps(facts)})

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        tensors, facts = _read(Path(checkpoint))
        state: dict[int, dict[str, Any]] = {}
        for key, value in tensors.items():
            kind, _, rest = key.partition(".")
            if kind == _OPTIMIZER:
                number, _, name = rest.partition(".")
                state.setdefault(int(number), {})[name] = value
        self.optimizer.load_state_dict({"state": state, "param_groups": facts["groups"]})
        self.lr_scheduler.load_state_dict(facts["schedule"])

    def _load_scaler(self, checkpoint: str | None) -> None:
        """Nothing, as nothing was saved."""

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        import torch

        tensors, facts = _read(Path(checkpoint))
        kind, place, has_gauss, gauss = facts["numpy"]
        version, words, next_gauss = facts["python"]
        random.setstate((version, tuple(words), next_gauss))
        np.random.set_state((kind, tensors[_NUMPY].numpy(), place, has_gauss, gauss))  # noqa: NPY002
        torch.random.set_rng_state(tensors[_TORCH])
        if torch.cuda.is_available():
            for device in range(torch.cuda.device_count()):
                if (state := tensors.get(f"{_CUDA}.{device}")) is not None:
                    torch.cuda.set_rng_state(state, device)


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    from safetensors import safe_open

    with safe_open(str(folder / STATE_FILE), framework="pt") as opened:
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        facts: dict[str, Any] = json.loads(opened.metadata()["facts"])
    return tensors, facts
