"""What is needed to get a figure again: code, libraries, machine, data; one JSON object.

Nothing in it says where things lie on this machine: files are named within their data set, and
paths on the command line are cut down to their last part. Time is passed in.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..documents import JsonObject
from ..errors import InputError
from ..tagged import to_json
from .datasets import Dataset

if TYPE_CHECKING:
    from ..contracts import IndexSettings
    from ..retrieval.pipeline import Pipeline

PACKAGES = (
    "ir_measures",
    "numba",
    "numpy",
    "optuna",
    "PyStemmer",
    "pytrec_eval-terrier",
    "sentence-transformers",
    "torch",
    "transformers",
    "xxhash",
)
THREAD_SETTINGS = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_CHECKOUT = Path(__file__).resolve().parents[1]
_ABSOLUTE = re.compile(r"(?<![^=:,\s])(?!//)~?/[^\s,:=]*")


def environment(
    command: Sequence[str],
    date: str,
    *,
    data: Mapping[str, str] | None = None,
    models: Mapping[str, str] | None = None,
) -> JsonObject:
    """The record beside a figure.

    ``command``: the words of the command line; ``date``: as it shall be written, ISO 8601;
    ``data``: file -> checksum, see :func:`dataset_checksums`; ``models``: name -> identity, see
    :func:`models_of`.
    """
    return {
        "command": [without_folders(word) for word in command],
        "date": date,
        "cormorant": {"version": _own_version(), **_commit(_CHECKOUT)},
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {name: _package_version(name) for name in PACKAGES},
        "sqlite": sqlite3.sqlite_version,
        "machine": machine(),
        "data": dict(data or {}),
        "models": dict(models or {}),
    }


def machine() -> JsonObject:
    """CPU, cores this process may use and their quota (null: none), memory, system, threads."""
    settings = {name: os.environ[name] for name in THREAD_SETTINGS if name in os.environ}
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "cpu_quota": _cpu_quota(),
        "memory_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "thread_settings": settings,
    }


def dataset_checksums(dataset: Dataset) -> dict[str, str]:
    """``<data set>/<file>`` -> ``sha256:...`` of the corpus, the queries and the qrels."""
    return checksums(dataset.files, folder=dataset.path)


def checksums(paths: Iterable[str | Path], *, folder: str | Path | None = None) -> dict[str, str]:
    """File -> ``sha256:`` and 64 hexadecimal digits, of the bytes on disk.

    A file inside ``folder`` is named from that folder's name on, any other by its own name alone.
    Raises :class:`~cormorant.errors.InputError`: a file that cannot be read, two with one name.
    """
    sums: dict[str, str] = {}
    for path in map(Path, paths):
        name = path.name
        if folder is not None and path.is_relative_to(folder):
            name = (Path(folder).name / path.relative_to(folder)).as_posix()
        if name in sums:
            raise InputError(f"two files have the name {name!r}", file=path)
        try:
            with path.open("rb") as stream:
                sums[name] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    return sums


def models_of(collection: Any) -> dict[str, str]:
    """Index -> the identity of the model that encoded a collection's documents for it."""
    indexes = collection.describe()["indexes"]
    return {
        name: index["made_by"]["model"]
        for name, index in indexes.items()
        if "model" in index.get("made_by", {})
    }


def settings_of(
    pipelines: Mapping[str, Pipeline], indexes: Mapping[str, IndexSettings]
) -> JsonObject:
    """The pipelines and the indexes by name, as JSON without this machine's folders."""
    values: JsonObject = {
        "pipelines": {name: pipeline.as_json() for name, pipeline in pipelines.items()},
        "indexes": {name: to_json(settings) for name, settings in indexes.items()},
    }
    found: JsonObject = _without_folders(values)
    return found


def _without_folders(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_folders(content) for name, content in value.items()}
    if isinstance(value, list):
        return [_without_folders(item) for item in value]
    return without_folders(value) if isinstance(value, str) else value


def without_folders(word: str) -> str:
    """A word of a command line with every absolute path in it cut down to its last part."""
    if word.startswith(("/", "~/")):
        return Path(word).name
    return _ABSOLUTE.sub(lambda path: Path(path[0]).name, word)


def _own_version() -> str | None:
    """The version of the code that runs: the checkout's, else the installed one."""
    project = _CHECKOUT / "pyproject.toml"
    if _is_checkout(_CHECKOUT):
        return str(tomllib.loads(project.read_text("utf-8"))["project"]["version"])
    return _package_version("cormorant")


def _package_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _is_checkout(root: Path) -> bool:
    """Whether this is Cormorant's own checkout, not a project that has it installed inside."""
    return (root / "pyproject.toml").is_file() and (root / "src" / "cormorant").is_dir()


def _commit(root: Path) -> JsonObject:
    """The commit, and whether tracked files differ from it; nothing where there is no checkout."""
    if not _is_checkout(root) or not (root / ".git").exists():
        return {}
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return {}
    return {"commit": commit, "modified": bool(_git(root, "status", "--porcelain", "-uno"))}


def _git(root: Path, *words: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    variables = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            [git, "--no-optional-locks", "-C", str(root), *words],
            capture_output=True,
            check=True,
            env=variables,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_model() -> str:
    for line in _read("/proc/cpuinfo").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _cpu_quota() -> float | None:
    """How many cores' time a container may use (cgroup v2), None for no such bound."""
    quota, _, period = _read("/sys/fs/cgroup/cpu.max").partition(" ")
    return int(quota) / int(period) if quota.isdigit() and period.strip().isdigit() else None


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace")
    except OSError:
        return ""
