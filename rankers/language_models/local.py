"""Causal language models of transformers on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from os.path import commonprefix
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

    def count_prompt(self, prompt: str) -> int:
        """What a prompt takes as the model reads it, in its chat template."""
        return len(self.loaded().ids(prompt))

    def complete(self, prompt: str, max_tokens: int) -> Completion:
        """The greedy continuation, of at most ``max_tokens`` tokens.

        Raises :class:`~cormorant.errors.InputError` for a prompt that leaves no room for it.
        """
        import torch

        loaded = self.loaded()
        ids = loaded.prompt_ids(prompt)
        room = loaded.room(ids.shape[1], self.context_tokens)
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
        """The logits of the tokens by which options part, (n,) float32: one step of the model.

        The answer is begun with what they have in common, such as a bracket. Where the tokenizer
        joins some of them with its end, all are log-probabilities from there.

        Raises :class:`~cormorant.errors.InputError` for options that begin with the same token, and
        for a prompt that leaves no room for it.
        """
        import torch

        loaded = self.loaded()
        ids = loaded.ids(prompt, commonprefix(options) if len(options) > 1 else "")
        loaded.room(len(ids), self.context_tokens)
        encoded = [loaded.ids(prompt, option) for option in options]
        shared = [len(commonprefix([ids, own])) for own in encoded]
        parting = [tuple(own[n : n + 1]) for n, own in zip(shared, encoded, strict=True)]
        if () in parting or len(set(zip(shared, parting, strict=True))) < len(options):
            raise InputError(
                f"options begin with the same token, or have none: {list(options)}", field="options"
            )
        first = min(shared)
        with loaded.lock, torch.inference_mode():
            given = torch.tensor([ids], device=loaded.model.device)
            logits = loaded.model(given).logits[0, first - 1 :].float()
            if len(logits) > 1:
                logits = logits.log_softmax(dim=-1)
                for step, token in enumerate(ids[first:]):
                    logits[step + 1] += logits[step, token]
        rows, tokens = [n - first for n in shared], [token for (token,) in parting]
        scores: Float32Array = logits[rows, tokens].cpu().numpy()
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

    def room(self, taken: int, asked: int | None) -> int:
        """How many tokens fit behind those of a prompt.

        Raises :class:`~cormorant.errors.InputError` where none does.
        """
        context = self.context(asked)
        if taken >= context:
            raise InputError(
                f"the prompt takes {taken:,} tokens, and the model reads {context:,} with its "
                "answer",
                field="prompt",
            )
        return context - taken

    def ids(self, prompt: str, begun: str = "") -> list[int]:
        """The prompt as one user's turn, where the tokenizer has a template, and ``begun``.

        ``begun``: what the answer begins with.
        """
        ids: list[int]
        if self.tokenizer.chat_template:
            turns = [{"role": "user", "content": prompt}]
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=True
            )
            ids = self.tokenizer.encode(text + begun, add_special_tokens=False)
        else:
            ids = self.tokenizer.encode(prompt + begun)
        return ids

    def prompt_ids(self, prompt: str) -> Any:
        """(1, n) int64: a prompt as :meth:`ids` has it."""
        import torch

        return torch.tensor([self.ids(prompt)], device=self.model.device)


@lru_cache(maxsize=2)
def _load(model: str, revision: str | None, precision: str) -> Loaded:
    try:
        import torch
        from huggingface_hub.errors import HFValidationError
        from safetensors import SafetensorError
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingDependencyError(error.name or "transformers", None) from None
    folder = Path(model).expanduser()
    place = str(folder) if folder.is_dir() else model
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
        tried = [str(error).splitlines()[0]]
        if not folder.is_dir() and isinstance(error, OSError | HFValidationError):
            tried = ["no folder of that name", "not in the hub's cache"]
        raise ModelNotFoundError(model, tried) from None
    made.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return Loaded(made, tokenizer)
