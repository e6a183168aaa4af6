"""What a sparse encoder's folder may hold, found and read without loading a model.

Three layouts: sentence-transformers' ``Transformer`` + ``SpladePooling``; a ``Router`` whose
queries go through a ``SparseStaticEmbedding`` (a table: no model) and whose documents go through
the first; and a bare masked language model of transformers, with OpenSearch's ``idf.json`` beside
it where its queries need no model. Safetensors only, no code, nothing outside the folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError
from .files import read_json, weights_of
from .models import find_model

MODULES = ("Transformer", "MLMTransformer", "SpladePooling", "SparseStaticEmbedding", "Router")
POOLINGS = {"relu": "log1p", "log1p_relu": "log1p_log1p"}
"""SpladePooling's names of activations, and the kernel's."""
IDF_FILE = "idf.json"


class DocumentPart(NamedTuple):
    """The model: its folder, and the head's activation by the kernel's name."""

    folder: Path
    activation: str


class QueryPart(NamedTuple):
    """The table of an inference-free encoder: its tokenizer's folder, and the file of weights."""

    folder: Path
    weights: Path


class SparseFiles(NamedTuple):
    """A sparse encoder on this machine, its files checked; ``query`` None: by the model too."""

    path: Path
    source: str
    document: DocumentPart
    query: QueryPart | None
    prompts: Mapping[str, str]
    default_prompt: str | None


def find_sparse_model(name: str, revision: str | None = None) -> SparseFiles:
    """A sparse encoder by folder or by its name on the Hugging Face hub; nothing is guessed.

    A folder comes first, then the hub's cache, then the hub, which must answer within seconds.

    Raises:
        ModelNotFoundError: in none of them.
        InputError: not a name, or files that this house does not load.
    """
    found = find_model(name, revision, lambda folder: read_sparse_files(folder, ""), owner="")
    return read_sparse_files(found.path, found.source)


def read_sparse_files(folder: Path, source: str) -> SparseFiles:
    """Check a folder's layout; see the top of this file.

    Raises:
        InputError: another layout, foreign modules, or weights that are not safetensors.
    """
    if (folder / "modules.json").is_file():
        entries = read_json(folder / "modules.json")
        document, query = _parts(folder, entries)
    elif (folder / "config.json").is_file():
        document, query = DocumentPart(folder, "log1p"), None
    else:
        raise InputError("holds neither modules.json nor config.json", file=folder)
    if query is None and (folder / IDF_FILE).is_file():
        query = QueryPart(document.folder, folder / IDF_FILE)
    if not weights_of(document.folder):
        raise InputError(
            "holds no model.safetensors; other formats of weights (.bin, .pt) can run code when "
            "they are read and are not loaded",
            file=document.folder,
        )
    if (document.folder / "adapter_config.json").exists():
        raise InputError(
            "holds a LoRA adapter; give the model that it adapts, and this as adapter=", file=folder
        )
    file = folder / "config_sentence_transformers.json"
    said = read_json(file) if file.is_file() else {}
    return SparseFiles(
        folder,
        source,
        document,
        query,
        said.get("prompts") or {},
        said.get("default_prompt_name"),
    )


def check_adapter(folder: Path) -> None:
    """Raise InputError for a folder that holds no LoRA adapter in safetensors."""
    if not (folder / "adapter_model.safetensors").is_file():
        raise InputError("holds no adapter_model.safetensors", file=folder)


def _parts(folder: Path, entries: Any) -> tuple[DocumentPart, QueryPart | None]:
    file = folder / "modules.json"
    if not isinstance(entries, list) or not entries:
        raise InputError("lists no modules", file=file)
    modules = [_module(folder, file, entry) for entry in entries]
    if modules[0][0] != "Router":
        return _document(folder, modules), None
    if len(modules) != 1:
        raise InputError("has modules after its Router, which is not known here", file=file)
    router = modules[0][1] / "router_config.json"
    said = read_json(router)
    types, structure = said.get("types") or {}, said.get("structure") or {}
    routes = {
        route: [
            _module(router.parent, router, {"type": types.get(name), "path": name})
            for name in names
        ]
        for route, names in structure.items()
    }
    if set(routes) != {"query", "document"}:
        raise InputError(f"routes are query and document, got {sorted(routes)}", file=router)
    document = _document(folder, routes["document"])
    kinds = [kind for kind, _ in routes["query"]]
    if kinds != ["SparseStaticEmbedding"]:
        raise InputError(
            f"queries go through one SparseStaticEmbedding, got {', '.join(kinds)}", file=router
        )
    return document, _query(folder, routes["query"][0][1])


def _document(folder: Path, modules: list[tuple[str, Path]]) -> DocumentPart:
    kinds = [kind for kind, _ in modules]
    if len(kinds) != 2 or kinds[0] not in MODULES[:2] or kinds[1] != "SpladePooling":
        raise InputError(
            f"documents go through a Transformer and a SpladePooling, got {', '.join(kinds)}",
            file=folder,
        )
    file = modules[1][1] / "config.json"
    pooling = read_json(file)
    strategy, activation = pooling.get("pooling_strategy"), pooling.get("activation_function")
    if strategy != "max" or activation not in POOLINGS:
        raise InputError(
            f"pools by max over relu or log1p_relu, got {strategy} over {activation}", file=file
        )
    return DocumentPart(modules[0][1], POOLINGS[activation])


def _query(folder: Path, place: Path) -> QueryPart:
    file = place / "config.json"
    path = (read_json(file) if file.is_file() else {}).get("path")
    weights = place / "model.safetensors"
    if path is not None:
        weights = next(
            (base / path for base in (place, folder) if (base / path).is_file()), weights
        )
        if not weights.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"names a table outside the folder: {path!r}", file=file)
    if not weights.is_file():
        raise InputError("holds no model.safetensors and names no table of weights", file=place)
    return QueryPart(place, weights)


def _module(folder: Path, file: Path, entry: Any) -> tuple[str, Path]:
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError("has a module without type and path", file=file)
    name = kind.rpartition(".")[2]
    if not kind.startswith("sentence_transformers.") or name not in MODULES:
        raise InputError(
            f"names the module {kind!r}; sparse encoders are made of sentence_transformers' "
            f"{', '.join(MODULES)}",
            file=file,
        )
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"has a module outside the folder: {path!r}", file=file)
    return name, place
