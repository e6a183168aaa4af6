"""What a training run has in its folder, so that a killed one goes on and another is refused."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError, MissingDependencyError
from ..progress import Progress
from .material import Source
from .teachers import PairTeacher, Said, Teacher, asked_of


def need(*packages: str) -> None:
    """Raise MissingDependencyError for a package that training needs."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise MissingDependencyError(package, "train")


def digest_of(sources: Sequence[Source]) -> str:
    """Names what is learnt from: documents, queries and who is relevant."""
    digest = hashlib.sha256()
    for source in sources:
        for document in source.documents:
            digest.update(repr(document).encode())
        for query, gains in zip(source.queries, source.gains, strict=True):
            digest.update(repr((query, sorted(gains.items()))).encode())
    return digest.hexdigest()[:16]


def same_run(output: Path, made_of: Mapping[str, Any]) -> None:
    """Note what a run is made of, or raise where the folder holds another one."""
    file = output / "run.json"
    if not file.is_file():
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(made_of, indent=1) + "\n")
        unfinished.rename(file)
        return
    try:
        held = json.loads(file.read_text())
    except ValueError as error:
        raise InputError(f"is damaged ({error}); delete the run's folder", file=file) from None
    if held != json.loads(json.dumps(made_of)):
        raise InputError(
            "holds a run with other sources, teachers or settings; give another folder, or delete "
            "this one",
            file=file,
        )


def kept_said(
    file: Path,
    source: Source,
    teachers: Sequence[Teacher],
    rescorers: Sequence[PairTeacher],
    depth: int,
    progress: Progress,
) -> Said:
    """What the teachers said, from the run's folder where it is there already."""
    if not teachers and not rescorers:
        return Said([{} for _ in source.queries], None)
    if not file.is_file():
        found, table = asked_of(source, teachers, rescorers, depth=depth, progress=progress)
        unfinished = file.with_suffix(".unfinished.npz")
        np.savez(
            unfinished,
            lengths=np.array([len(row) for row in found], np.int64),
            documents=np.array([document for row in found for document in row], np.int64),
            listed=np.array([score for row in found for score in row.values()], np.float32),
            scores=np.zeros((0, 0), np.float16) if table is None else table,
        )
        unfinished.rename(file)
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as stored:
            ends = np.cumsum(stored["lengths"])[:-1]
            documents, listed, scores = stored["documents"], stored["listed"], stored["scores"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(
            f"is damaged ({error}); delete it, and the teachers are asked again", file=file
        ) from None
    candidates = [
        dict(zip(own.tolist(), said.tolist(), strict=True))
        for own, said in zip(np.split(documents, ends), np.split(listed, ends), strict=True)
    ]
    return Said(candidates, scores if len(scores) else None)


def named(teacher: object) -> str:
    """A teacher as a run remembers it: the same in every process."""
    scorer = getattr(teacher, "scorer", None)
    if scorer is None:
        return repr(teacher)
    return f"pairs: {getattr(scorer, 'identity', type(scorer).__qualname__)}"


def unreadable(folder: Path) -> str | None:
    """What is wrong with a folder's JSON and safetensors, by their form; None when nothing is."""
    from safetensors import SafetensorError, safe_open

    for file in sorted(folder.rglob("*")):
        try:
            if file.suffix == ".json":
                json.loads(file.read_text(encoding="utf-8"))
            elif file.suffix == ".safetensors":
                with safe_open(str(file), framework="np"):
                    pass
        except (OSError, ValueError, SafetensorError) as error:
            return f"{file.name}: {error}"
    return None


def last_checkpoint(output: Path, *marks: str) -> Path | None:
    """The last whole checkpoint of a run that was killed.

    It has all of ``marks``, and every file of it can be read; one that a kill left half-written is
    passed over.
    """
    found = sorted(
        output.glob("checkpoint-*"),
        key=lambda path: int(path.name.rpartition("-")[2]),
    )
    for path in reversed(found):
        if all((path / mark).is_file() for mark in marks) and unreadable(path) is None:
            return path
    return None
