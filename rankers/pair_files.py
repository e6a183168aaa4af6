"""Where a cross-encoder's files are on this machine, that they are safe to load, and their name."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelNotFoundError
from .token_match import NAME as TOKEN_MATCH

_PATTERNS = ["*.json", "*.safetensors", "*.txt", "*.model"]


def find_files(model: str, revision: str | None = None) -> Path:
    """The folder of a model: a folder of that name, or the Hugging Face hub's cache.

    A ranker downloads nothing: a search must not wait for the network.

    Raises:
        ModelNotFoundError: in neither of them.
        InputError: files that this house does not load (see :func:`check_files`).
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"{model} is a folder; only the hub has revisions", field="revision")
        folder = folder.resolve()
    else:
        folder = _cached(model, revision)
    check_files(folder)
    return folder


def _cached(model: str, revision: str | None) -> Path:
    tried = ["no folder of that name"]
    try:
        import huggingface_hub
    except ModuleNotFoundError:
        raise ModelNotFoundError(model, [*tried, "no huggingface_hub to look further"]) from None
    try:
        found = huggingface_hub.snapshot_download(
            model, revision=revision, local_files_only=True, allow_patterns=_PATTERNS
        )
    except (huggingface_hub.errors.LocalEntryNotFoundError, ValueError):
        raise ModelNotFoundError(model, [*tried, "not in the hub's cache"]) from None
    return Path(found)


def check_files(folder: Path) -> None:
    """Raise InputError for weights that are no safetensors, and for modules with foreign code."""
    places = [folder, *(place for _, place in modules_of(folder))]
    if not any(weights_of(place) for place in places):
        raise InputError(
            "holds no model.safetensors; other formats of weights (.bin, .pt) can run code when "
            "they are read and are not loaded",
            file=folder,
        )


def modules_of(folder: Path) -> list[tuple[str, Path]]:
    """The modules that ``modules.json`` lists, by type and folder; none without such a file.

    Raises :class:`~cormorant.errors.InputError` for modules with foreign code, or from elsewhere.
    """
    file = folder / "modules.json"
    if not file.is_file():
        return []
    entries = _read(file)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError("lists no modules", file=file)
    found = []
    for entry in entries:
        kind, path = str(entry.get("type", "")), str(entry.get("path", ""))
        if not kind.startswith("sentence_transformers.") and kind != TOKEN_MATCH:
            raise InputError(f"names the module {kind!r}, which is not loaded", file=file)
        place = (folder / path).resolve()
        if not place.is_relative_to(folder.resolve()):
            raise InputError(f"has a module outside the folder: {path!r}", file=file)
        found.append((kind, place))
    return found


def weights_of(folder: Path) -> list[Path]:
    """The safetensors in a folder, sorted."""
    return sorted(folder.glob("*.safetensors"))


def identity_of(folder: Path, reads: tuple[int, ...]) -> str:
    """A name made of what decides a score: weights, configurations, vocabulary, what is read."""
    digest = hashlib.sha256(repr(reads).encode())
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".json", ".safetensors", ".txt", ".model") and file.is_file():
            stat = file.stat()
            digest.update(file.relative_to(folder).as_posix().encode())
            digest.update(_sha256(file, stat.st_size, stat.st_mtime_ns).encode())
    kind = "cross-encoder"
    config = folder / "config.json"
    if config.is_file():
        kind = str(_read(config).get("model_type", kind))
    return f"{kind}-{digest.hexdigest()[:16]}"


@functools.lru_cache(maxsize=256)
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", file=file) from error
