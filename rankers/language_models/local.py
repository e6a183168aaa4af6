"""Causal language models of transformers on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from ...contracts import Float32Array
from ...errors import InputError, MissingDependencyError, ModelNotFoundError
from ...stages import Completion

PRECISIONS = ("float32", "bfloat16")
_LOADING = Lock()


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A causal language model, by greedy decoding.

    ``model``: a folder, or a name in the hub's cache (``revision`` pins it); safetensors only, no
    code of its own. ``context_tokens``: what a prompt and its answer may take together; None: what
    the model was made for.
    """

    kind: ClassVar[str] = "local"
    model: str
    revision: str | None = None
    precision: str = "float32"
    context_tokens: int | None = None

    def __post_init__(self) -> None:
        model: Any = self.model
        if not isinstance(model, str) or not model.strip():
            raise InputError(f"is a model's name or folder, got {model!r}", field="model")
        if self.precision not in PRECISIONS:
            raise InputError(
                f"is one of {', '.join(PRECISIONS)}, got {self.precision!r}", field="precision"
            )
        context: Any = self.context_tokens
        if context is not None and not (
            isinstance(context, int) and not isinstance(context, bool) and 16 <= context <= 1 << 22
        ):
            raise InputError(f"is an integer from 16, got {context!r}", field="context_tokens")

    def count_tokens(self, text: str) -> int:
        """By the model's own tokenizer."""
        return len(self.loaded().tokenizer.encode(text, add_special_tokens=False))

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        """The greedy continuation, of at most ``max_tokens`` tokens.

        Raises :class:`~cormorant.errors.InputError` for a prompt that leaves no room for it.
        """
        import torch

        loaded = self.loaded()
        ids = loaded.prompt_ids(prompt)
        room = loaded.context(self.context_tokens) - ids.shape[1]
        if room < 1:
            raise InputError(
                f"the prompt takes {ids.shape[1]:,} tokens, and the model reads "
                f"{loaded.context(self.context_tokens):,} with its answer",
                field="prompt",
            )
        with loaded.lock, torch.inference_mode():
            made = loaded.model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=min(max_tokens, room),
                do_sample=False,
                pad_token_id=loaded.padding,
            )[0, ids.shape[1] :]
        ended = len(made) < max_tokens or (len(made) and int(made[-1]) in loaded.ends)
        text = loaded.tokenizer.decode(made, skip_special_tokens=True)
        return Completion(text, ids.shape[1], len(made), "stop" if ended else "length")

    def next_token_scores(self, prompt: str, options: Sequence[str]) -> Float32Array:
        """The logits of the first tokens of options, (n,) float32: what comes next, in one step.

        Raises :class:`~cormorant.errors.InputError` for options that begin with the same token.
        """
        import torch

        loaded = self.loaded()
        firsts = []
        for option in options:
            encoded = loaded.tokenizer.encode(option, add_special_tokens=False)
            if not encoded:
                raise InputError(f"{option!r} has no token", field="options")
            firsts.append(encoded[0])
        if len(set(firsts)) < len(firsts):
            raise InputError(f"options begin with the same token: {list(options)}", field="options")
        with loaded.lock, torch.inference_mode():
            logits = loaded.model(loaded.prompt_ids(prompt)).logits[0, -1].float()
        scores: Float32Array = logits[firsts].cpu().numpy()
        return scores

    def loaded(self) -> Loaded:
        """The model and its tokenizer, loaded when first asked for; the last two are kept."""
        with _LOADING:  # of threads that come first together, one loads it
            return _load(self.model, self.revision, self.precision)


class Loaded:
    """A model and its tokenizer, with the lock that keeps two answers apart."""

    def __init__(self, model: Any, tokenizer: Any) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.lock = Lock()
        ends = model.generation_config.eos_token_id
        self.ends = set(ends if isinstance(ends, list) else [ends])
        padding = tokenizer.pad_token_id
        self.padding = padding if padding is not None else (tokenizer.eos_token_id or 0)

    def context(self, asked: int | None) -> int:
        """How many tokens fit, the answer's included."""
        most = int(getattr(self.model.config, "max_position_embeddings", 1 << 20))
        return most if asked is None else min(asked, most)

    def prompt_ids(self, prompt: str) -> Any:
        """(1, n) int64: the prompt as one user's turn, where the tokenizer has a template."""
        import torch

        if self.tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer.encode(text, add_special_tokens=False)
        else:
            ids = self.tokenizer.encode(prompt)
        return torch.tensor([ids], device=self.model.device)


@lru_cache(maxsize=2)
def _load(model: str, revision: str | None, precision: str) -> Loaded:
    try:
        import torch
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(error.name or "transformers", None) from None
    place = str(Path(model).expanduser()) if Path(model).expanduser().is_dir() else model
    try:
        tokenizer = AutoTokenizer.from_pretrained(
            place, revision=revision, local_files_only=True, trust_remote_code=False
        )
        made = AutoModelForCausalLM.from_pretrained(
            place,
            revision=revision,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=getattr(torch, precision),
        )
    except (OSError, ValueError, SafetensorError) as error:  # the last: a file cut short
        raise ModelNotFoundError(model, [str(error).splitlines()[0]]) from None
    made.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Loaded(made, tokenizer)
