"""Cross-encoders as teachers: a (query, text) pair through one model, a score out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...contracts import Float32Array
from ...errors import InputError, ModelNotFoundError
from ...indexers.encoders import hub
from ...indexers.encoders.files import weights_of
from ...indexers.encoders.loading import check_packages

PAIRS_AT_ONCE = 32


class CrossEncoderScorer:
    """sentence-transformers' ``CrossEncoder`` with one label; a ``contracts.PairScorer``."""

    def __init__(self, model: str, revision: str | None = None) -> None:
        """``model``: a folder, or a name on the hub.

        Raises:
            ModelNotFoundError, InputError: not there, not safetensors, or several labels.
        """
        check_packages()
        folder = Path(model).expanduser()
        if not folder.is_dir():
            try:
                folder = hub.download(model, revision)
            except LookupError as reason:
                tried = ["no folder of that name", str(reason.args[0])]
                raise ModelNotFoundError(model, tried) from reason
        if not weights_of(folder):
            raise InputError("holds no model.safetensors; no other weights are loaded", file=folder)
        from sentence_transformers import CrossEncoder

        self._model: Any = CrossEncoder(
            str(folder),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
            device="cpu",
        )
        if self._model.num_labels != 1:
            raise InputError(f"scores {self._model.num_labels} labels, not one", file=folder)

    def score_pairs(self, pairs: Sequence[tuple[str, str]]) -> Float32Array:
        """(n,) float32, higher is better."""
        if not pairs:
            return np.zeros(0, np.float32)
        scores = self._model.predict(list(pairs), batch_size=PAIRS_AT_ONCE, show_progress_bar=False)
        return np.ascontiguousarray(scores, np.float32).reshape(len(pairs))
