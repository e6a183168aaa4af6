"""What a model's folder may hold: safetensors, and modules of sentence-transformers' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError

MODULES = ("Transformer", "Pooling", "Normalize", "Dense", "LayerNorm", "Dropout")
"""The modules that are loaded; others can name classes to import, or lack safe weights."""
_WEIGHTLESS = ("Pooling", "Normalize", "Dropout")


class Module(NamedTuple):
    """One line of modules.json: the class's last name, and the module's folder."""

    kind: str
    path: Path


def check_files(folder: Path) -> list[Module]:
    """The modules of a model whose files are safe to load; nothing is executed or unpickled.

    Raises:
        InputError: no modules.json; a module of a foreign type or outside the folder; weights that
            are not safetensors (pickles run code).
    """
    entries = read_json(folder / "modules.json")
    if not isinstance(entries, list) or not entries:
        raise InputError("lists no modules", file=folder / "modules.json")
    modules = [_module(folder, entry) for entry in entries]
    if modules[0].kind != "Transformer":
        raise InputError("does not begin with a Transformer", file=folder / "modules.json")
    for module in modules:
        if module.kind not in _WEIGHTLESS and not weights_of(module.path):
            raise InputError(
                "holds no model.safetensors; other formats of weights (.bin, .pt) can run code "
                "when they are read and are not loaded",
                file=module.path,
            )
    return modules


def weights_of(folder: Path) -> list[Path]:
    """The safetensors of one module: one file, or the shards that its index names; sorted."""
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    names = sorted(set(read_json(index).get("weight_map", {}).values()))
    for name in names:
        if Path(name).name != name or not name.endswith(".safetensors"):
            raise InputError(f"names a shard {name!r}", file=index)
        if not (folder / name).is_file():
            raise InputError(f"names {name}, which is not there", file=index)
    return [folder / name for name in names]


def read_json(file: Path) -> Any:
    """A JSON file of a model.

    Raises:
        InputError: absent, or not JSON.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("holds no " + file.name, file=file.parent) from None
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", file=file) from error


def _module(folder: Path, entry: Any) -> Module:
    file = folder / "modules.json"
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError("has a module without type and path", file=file)
    name = kind.rpartition(".")[2]
    if not kind.startswith("sentence_transformers.") or name not in MODULES:
        raise InputError(
            f"names the module {kind!r}; loaded are sentence_transformers' {', '.join(MODULES)}",
            file=file,
        )
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"has a module outside the folder: {path!r}", file=file)
    return Module(name, place)
