"""What a token encoder's folder may hold, found and read without loading a model.

Three layouts: a late-interaction model of sentence-transformers or PyLate (``Transformer``, token
``Dense``, and ``MultiVectorMask`` and ``Normalize``, which PyLate leaves unsaid); one in Stanford's
own layout (``HF_ColBERT``); and any other encoder, of which only the transformer is used.
Safetensors only, no code, nothing outside the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from ...errors import InputError
from .files import MODULES, Module, read_json, weights_of
from .models import find_model

_LATE_MODULES = ("Transformer", "Dense", "MultiVectorMask", "Normalize", "LayerNorm", "Dropout")
_LATE_TYPES = ("MultiVectorEncoder", "ColBERT")
_HOMES = ("sentence_transformers.", "pylate.models.")
_PYLATE_KEYS = (
    "query_prefix", "document_prefix", "query_length", "document_length",
    "attend_to_expansion_tokens", "skiplist_words", "do_query_expansion",
)  # fmt: skip
"""What PyLate writes of a model; where it writes no ``model_type``, it means ColBERT."""
_WEIGHTLESS = ("MultiVectorMask", "Normalize", "Dropout", "Pooling")
STANFORD = "artifact.metadata"


class TokenFiles(NamedTuple):
    """A token encoder on this machine, its files checked.

    ``late``: trained for late interaction, with all its modules; else the first of ``modules`` is a
    transformer whose last hidden states are the token vectors.
    """

    path: Path
    source: str
    modules: tuple[Module, ...]
    late: bool


def find_token_model(name: str, revision: str | None = None) -> TokenFiles:
    """A token encoder by folder or by its name on the Hugging Face hub; nothing is guessed.

    A folder comes first, then the hub's cache, then (for all-MiniLM-L6-v2) its package, then the
    hub, which must answer within seconds.

    Raises:
        ModelNotFoundError: in none of them.
        InputError: not a name, or files that this house does not load.
    """
    found = find_model(name, revision, lambda folder: read_token_files(folder, ""))
    return read_token_files(found.path, found.source)


def read_token_files(folder: Path, source: str) -> TokenFiles:
    """Check a folder's layout; see the top of this file.

    Raises:
        InputError: another layout, foreign modules, or weights that are not safetensors.
    """
    said = _said(folder)
    kind = said.get("model_type")
    named = kind in _LATE_TYPES
    late = named or (kind is None and any(key in said for key in _PYLATE_KEYS))
    if (folder / "modules.json").is_file():
        entries = read_json(folder / "modules.json")
        if not isinstance(entries, list) or not entries:
            raise InputError("lists no modules", file=folder / "modules.json")
        late = late or any(_is_late(entry) for entry in entries)
        modules = tuple(_module(folder, entry, late) for entry in entries)
        if late and not named and not any(module.kind == "Dense" for module in modules):
            raise InputError(
                "is a late-interaction model without a Dense module, which sentence-transformers "
                "would make up of random numbers",
                file=folder / "modules.json",
            )
    elif (folder / "config.json").is_file():
        modules = (Module("Transformer", folder),)
        late = "HF_ColBERT" in (read_json(folder / "config.json").get("architectures") or ())
        if late and not (folder / STANFORD).is_file():
            raise InputError(
                f"is a ColBERT model without its {STANFORD}, which says how queries and documents "
                "are marked; save it with sentence-transformers' MultiVectorEncoder first",
                file=folder,
            )
    else:
        raise InputError("holds neither modules.json nor config.json", file=folder)
    if modules[0].kind != "Transformer":
        raise InputError("does not begin with a Transformer", file=folder / "modules.json")
    for module in modules if late else modules[:1]:
        if module.kind not in _WEIGHTLESS and not weights_of(module.path):
            raise InputError(
                "holds no model.safetensors; other formats of weights (.bin, .pt) can run code "
                "when they are read and are not loaded",
                file=module.path,
            )
    return TokenFiles(folder, source, modules, late)


def _said(folder: Path) -> dict[str, Any]:
    file = folder / "config_sentence_transformers.json"
    said = read_json(file) if file.is_file() else {}
    return said if isinstance(said, dict) else {}


def _is_late(entry: Any) -> bool:
    kind = entry.get("type") if isinstance(entry, dict) else None
    return _kind(entry) == "MultiVectorMask" or str(kind).startswith("pylate.")


def _kind(entry: Any) -> str:
    kind = entry.get("type") if isinstance(entry, dict) else None
    return kind.rpartition(".")[2] if isinstance(kind, str) else ""


def _module(folder: Path, entry: Any, late: bool) -> Module:
    file = folder / "modules.json"
    kind, path = (entry.get("type"), entry.get("path")) if isinstance(entry, dict) else (None, None)
    if not isinstance(kind, str) or not isinstance(path, str):
        raise InputError("has a module without type and path", file=file)
    known = _LATE_MODULES if late else MODULES
    if not kind.startswith(_HOMES) or _kind(entry) not in known:
        raise InputError(
            f"names the module {kind!r}; loaded are sentence_transformers' {', '.join(known)}",
            file=file,
        )
    place = folder / path
    if not place.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"has a module outside the folder: {path!r}", file=file)
    return Module(_kind(entry), place)
