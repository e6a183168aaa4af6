"""Cross-encoders as scorers of pairs: weights shared, long texts by passages, scores remembered."""

from __future__ import annotations

import importlib.metadata
import warnings
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

from ..contracts import Float32Array
from ..errors import CormorantError, InputError, MissingDependencyError
from ..kernels.precision import PRECISIONS, choose_precision, default_device
from .pair_files import find_files, identity_of, modules_of
from .score_cache import ScoreCache, key_of
from .token_match import NAME as TOKEN_MATCH
from .token_match import load_token_match

PAIRS_AT_ONCE = 32
OVERLAP = 0.25
"""Of a passage, how much of the one before it begins it."""
CACHED_PAIRS = 200_000
LOADED = 4
"""Models whose weights are kept; the one that was asked for longest ago goes first."""
_LOADING = Lock()

Pair = tuple[str, str]


class Reading(NamedTuple):
    """How pairs are read.

    ``window``: tokens of a pair that are read at once, None: what the model says. ``passages``: of
    a longer text at most so many, the best of which counts.
    """

    window: int | None = None
    passages: int = 4


class PairModel:
    """The weights of a cross-encoder, and the scores that they gave: all its readings share it.

    Whoever computes holds the ``lock``. ``cache``: the last ``CACHED_PAIRS`` scores; ``computed``:
    how many passages were scored.
    """

    def __init__(self, folder: Path, precision: str = "auto", device: str | None = None) -> None:
        """Load a model.

        ``precision``: float32, bfloat16, float16 (on a GPU), or auto: bfloat16 where the device
        has instructions for it. The layer that makes the score is computed in float32 always.

        Raises:
            MissingDependencyError: sentence-transformers is not installed.
            InputError: the files make no cross-encoder with one label.
        """
        _check_packages()
        on = device or default_device()
        self.folder = folder
        self.precision, dtype = choose_precision(precision, on)
        self._network: Any = _load(folder, dtype, on)
        self.tokenizer: Any = self._network.tokenizer
        self.window = _window_of(self._network)
        self.computed = 0
        self.cache = ScoreCache(CACHED_PAIRS)
        self.lock = Lock()

    def predict(self, pieces: Sequence[Pair], window: int) -> Float32Array:
        """The logits of pairs that a window has room for, (n,) float32; sorted by length inside."""
        import torch

        self._network.max_seq_length = window
        found = self._network.predict(
            pieces,
            batch_size=PAIRS_AT_ONCE,
            activation_fn=torch.nn.Identity(),
            show_progress_bar=False,
        )
        self.computed += len(pieces)
        return np.asarray(found, np.float32).reshape(len(pieces))


class CrossEncoderScorer:
    """sentence-transformers' ``CrossEncoder`` with one label; a ``stages.PairScorer``.

    A score is the model's logit in float32, before any activation: a sigmoid makes ties of what is
    clearly relevant. A text longer than the window leaves beside the query is read by passages
    that overlap by a quarter, and has the score of its best. Threads take turns, and a pair that
    one of them had scored is remembered for the others.
    """

    def __init__(
        self,
        model: PairModel,
        reading: Reading = Reading(),  # noqa: B008 - frozen
    ) -> None:
        """Read pairs so; raises InputError for a window wider than the model's."""
        if reading.window is not None and reading.window > model.window:
            raise InputError(
                f"is at most {model.window} for this model, got {reading.window}", field="window"
            )
        self.model = model
        self.window = reading.window or model.window
        self.passages = reading.passages
        self.identity = identity_of(model.folder, (self.window, self.passages))

    def score_pairs(self, pairs: Sequence[Pair]) -> Float32Array:
        """(n,) float32, higher is better.

        Raises :class:`~cormorant.errors.CormorantError`, naming the pair, for a score that is NaN
        or infinite.
        """
        cache = self.model.cache
        keys = [key_of(self.identity, query, text) for query, text in pairs]
        known = {key: cache.get(key) for key in dict.fromkeys(keys)}
        if None in known.values():
            with self.model.lock:  # who had it before may have scored some of them
                known |= {key: cache.get(key) for key, score in known.items() if score is None}
                new = {
                    key: pair for key, pair in zip(keys, pairs, strict=True) if known[key] is None
                }
                scores = self._compute(list(new.values())) if new else ()
                for key, score in zip(new, map(float, scores), strict=True):
                    known[key] = score
                    cache.put(key, score)
        return np.array([known[key] for key in keys], np.float32)

    def _compute(self, pairs: Sequence[Pair]) -> Float32Array:
        """The best passage of each pair."""
        pieces, owners = self._pieces(pairs)
        scores = self.model.predict(pieces, self.window)
        wrong = ~np.isfinite(scores)
        if wrong.any():
            query, text = pieces[int(np.argmax(wrong))]
            raise CormorantError(
                f"the model {self.identity} gave the score {scores[np.argmax(wrong)]} to the query "
                f"{query[:60]!r} and the text {text[:60]!r} ({self.model.precision}); try "
                "precision='float32'"
            )
        best = np.full(len(pairs), -np.inf, np.float32)
        np.maximum.at(best, owners, scores)
        return best

    def _pieces(self, pairs: Sequence[Pair]) -> tuple[list[Pair], list[int]]:
        """The pairs of query and passage, and which pair each is of."""
        encode = self.model.tokenizer
        queries = list(dict.fromkeys(query for query, _ in pairs))
        plain = {"add_special_tokens": False, "verbose": False}
        lengths = dict(zip(queries, map(len, encode(queries, **plain)["input_ids"]), strict=True))
        special = encode.num_special_tokens_to_add(pair=True)
        texts = encode([text for _, text in pairs], return_offsets_mapping=True, **plain)
        pieces: list[Pair] = []
        owners: list[int] = []
        for number, ((query, text), spans) in enumerate(
            zip(pairs, texts["offset_mapping"], strict=True)
        ):
            # A query of more than half a window is cut by the tokenizer, as a text would be.
            room = max(self.window // 2, self.window - special - lengths[query])
            for start, end in passages(len(spans), room, self.passages):
                whole = start == 0 and end == len(spans)
                piece = text if whole else text[spans[start][0] : spans[end - 1][1]]
                pieces.append((query, piece))
                owners.append(number)
        return pieces, owners


def passages(n_tokens: int, room: int, most: int) -> list[tuple[int, int]]:
    """The [start, end) of each passage of a text: at most ``most`` of ``room`` tokens each."""
    step = max(1, room - int(room * OVERLAP))
    found = [(0, min(room, n_tokens))]
    while found[-1][1] < n_tokens and len(found) < most:
        start = found[-1][0] + step
        found.append((start, min(start + room, n_tokens)))
    return found


def load_scorer(
    model: str,
    *,
    revision: str | None = None,
    reading: Reading = Reading(),  # noqa: B008 - frozen
    precision: str = "auto",
) -> CrossEncoderScorer:
    """The scorer of a model (:func:`~cormorant.rankers.pair_files.find_files`).

    Its weights are loaded when first asked for, and shared by all readings of them; those of the
    last ``LOADED`` models are kept.

    Raises:
        ModelNotFoundError, InputError, MissingDependencyError: see there and the classes.
    """
    if precision not in PRECISIONS:
        raise InputError(f"is one of {', '.join(PRECISIONS)}, got {precision!r}", field="precision")
    folder = find_files(model, revision)
    _check_packages()
    chosen, _ = choose_precision(precision, default_device())
    with _LOADING:  # of threads that come first together, one loads it
        loaded = _loaded(folder, identity_of(folder, ()), chosen)
    return CrossEncoderScorer(loaded, reading)


@lru_cache(maxsize=LOADED)
def _loaded(folder: Path, identity: str, precision: str) -> PairModel:
    """The model of files with that identity: those of a folder may be others later."""
    return PairModel(folder, precision)


def _check_packages() -> None:
    for package in ("torch", "sentence-transformers", "transformers"):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            raise MissingDependencyError(package, None) from None


def _load(folder: Path, dtype: Any, device: str) -> Any:
    from safetensors import SafetensorError
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            options: dict[str, Any] = {
                "local_files_only": True,
                "trust_remote_code": False,
                "model_kwargs": {"use_safetensors": True, "dtype": dtype},
            }
            own = [place for kind, place in modules_of(folder) if kind == TOKEN_MATCH]
            if own:  # a layer of this house, which sentence-transformers would not import
                read = Transformer.load(str(folder), **options)
                model: Any = CrossEncoder(modules=[read, load_token_match(own[0])], device=device)
            else:
                model = CrossEncoder(str(folder), device=device, **options)
    except (OSError, ValueError, KeyError, RuntimeError, TypeError, SafetensorError) as error:
        raise InputError(f"cannot be loaded: {error}", file=folder) from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()
    if model.num_labels != 1:
        raise InputError(f"scores {model.num_labels} labels, not one", file=folder)
    if not getattr(model.tokenizer, "is_fast", False):
        raise InputError("has no fast tokenizer (tokenizer.json)", file=folder)
    model.set_keep_in_fp32_modules(_last_layers(model))
    model.eval()
    return model


def _last_layers(model: Any) -> list[str]:
    """The linear layers that make the one score."""
    import torch

    return [
        name
        for name, module in model.named_modules()
        if type(module) is torch.nn.Linear and module.out_features == 1
    ]


def _window_of(model: Any) -> int:
    """A tokenizer that knows no window says an astronomical number."""
    window = model.max_seq_length
    return int(window) if window is not None and window < 1 << 20 else 512
