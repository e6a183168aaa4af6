"""Cross-encoders as teachers: found here or on the hub, scored as the ranker scores."""

from __future__ import annotations

from pathlib import Path

from ...errors import ModelNotFoundError
from ...indexers.encoders import hub
from ...rankers.pair_model import CrossEncoderScorer, load_scorer


def cross_encoder_scorer(model: str, revision: str | None = None) -> CrossEncoderScorer:
    """The scorer of a model: a folder, or a name on the hub, from which it is downloaded.

    Raises:
        ModelNotFoundError, InputError: not there, not safetensors, or several labels.
    """
    if not Path(model).expanduser().is_dir():
        try:
            hub.download(model, revision)
        except LookupError as reason:
            try:
                return load_scorer(model, revision=revision)
            except ModelNotFoundError as error:
                tried = ["no folder of that name", str(reason.args[0])]
                raise ModelNotFoundError(model, tried) from error
    return load_scorer(model, revision=revision)
