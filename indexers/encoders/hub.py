"""The Hugging Face hub: its cache, read without the network, and downloads that fail in seconds."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...errors import InputError

PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model", "artifact.metadata"]
"""What is downloaded: no pickle, no code. The last is JSON too, of Stanford's ColBERT models."""
REQUEST_SECONDS = 4.0
ANSWER_SECONDS = 8.0
"""How long the hub has for its first answer, names resolved and redirects followed."""


def cached(repository: str, revision: str | None, check: Callable[[Path], object]) -> Path | None:
    """The model's folder in the hub's cache; None where ``check`` does not find it whole."""
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        return None
    try:
        found = huggingface_hub.snapshot_download(
            repository, revision=revision, local_files_only=True, allow_patterns=PATTERNS
        )
        check(Path(found))
    except (huggingface_hub.errors.LocalEntryNotFoundError, InputError):
        return None  # not there, or in part: the next place may have it whole
    return Path(found)


def download(repository: str, revision: str | None) -> Path:
    """The model's folder, downloaded into the hub's cache.

    Raises:
        LookupError: the hub does not have it or does not answer; the argument says which.
    """
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise LookupError("the hub needs the package huggingface_hub") from None
    if huggingface_hub.constants.HF_HUB_OFFLINE:
        raise LookupError("the hub was not asked (HF_HUB_OFFLINE is set)")
    commit = _commit(repository, revision)
    try:
        return Path(
            huggingface_hub.snapshot_download(
                repository,
                revision=commit,
                allow_patterns=PATTERNS,
                etag_timeout=REQUEST_SECONDS,
            )
        )
    except Exception as error:
        raise LookupError(f"the download from the hub broke off ({_line(error)})") from error


def _commit(repository: str, revision: str | None) -> str:
    """The commit a revision stands for; asked in a thread, since resolving a name can hang."""
    import huggingface_hub

    answer: list[Any] = []

    def ask() -> None:
        try:
            info = huggingface_hub.HfApi().model_info(
                repository, revision=revision, timeout=REQUEST_SECONDS
            )
            answer.append(info.sha)
        except Exception as error:  # whatever it is, the caller's thread tells of it
            answer.append(error)

    thread = threading.Thread(target=ask, name="hub", daemon=True)
    thread.start()
    thread.join(ANSWER_SECONDS)
    where = huggingface_hub.constants.ENDPOINT
    if not answer:
        raise LookupError(f"the hub ({where}) did not answer in {ANSWER_SECONDS:.0f} s")
    if isinstance(answer[0], huggingface_hub.errors.RepositoryNotFoundError):
        raise LookupError(f"the hub ({where}) has no such model, or does not show it to you")
    if isinstance(answer[0], huggingface_hub.errors.RevisionNotFoundError):
        raise LookupError(f"the hub ({where}) has no revision {revision!r} of it")
    if isinstance(answer[0], Exception):
        raise LookupError(f"the hub ({where}) could not be asked ({_line(answer[0])})")
    return str(answer[0])


def _line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
