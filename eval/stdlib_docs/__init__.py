"""The docstrings of Python's own standard library, as a small demonstration corpus.

Every machine that runs this library already has this corpus: it needs no download and no
licence. It is made of short, well-edited English texts about one subject, and together with
the questions and judgements beside this file (``queries.jsonl`` and ``qrels.tsv``) it lets
anyone measure a retrieval pipeline within seconds. ``README.md`` says how those were made.

The sources are parsed, never imported, so reading the corpus runs none of the code in it.
What is found depends on the Python version that reads: some names come and go between
versions, and whatever is written in C has no docstring in the sources.
"""

from __future__ import annotations

import ast
import os
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["StdlibDoc", "read_stdlib"]

_SKIPPED_DIRS = frozenset(
    {
        "__pycache__",
        "dist-packages",
        "idle_test",
        "idlelib",
        "site-packages",
        "test",
        "tests",
        "turtledemo",
    }
)

# Public modules whose Python sources lie in a private file, in some versions or in all.
_PUBLIC_NAMES = {
    "_collections_abc": "collections.abc",
    "_py_warnings": "warnings",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "pathlib._local": "pathlib",
}

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Named = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


class StdlibDoc(NamedTuple):
    """One docstring: its dotted name, a title to show, the text, and where it comes from."""

    id: str
    title: str
    text: str
    metadata: dict[str, str]


def read_stdlib(root: Path | None = None) -> Iterator[StdlibDoc]:
    """Yield one record for each docstring in the standard library's Python sources.

    Modules, classes, functions and methods are covered, nested classes included; functions
    inside functions are not. Files are read in the order of their paths and each file from
    top to bottom, so the order is the same at every call. Where a name occurs twice (the
    getter and the setter of a property, two variants of a function for two platforms), the
    first one that has a docstring is kept. Files that cannot be read or parsed are skipped.

    ``root`` is the folder to read, by default that of the running interpreter.
    """
    top = Path(sysconfig.get_path("stdlib")) if root is None else root
    seen: set[str] = set()
    for relative in _source_files(top):
        tree = _parse(top / relative)
        if tree is None:
            continue
        module = _module_name(relative)
        for doc in _module_docs(tree, module):
            if doc.id not in seen:
                seen.add(doc.id)
                yield doc


def _source_files(top: Path) -> list[str]:
    """Return the paths of the sources to read, relative to ``top``, sorted."""
    found: list[str] = []
    for folder, subfolders, names in os.walk(top):
        place = Path(folder).relative_to(top)
        subfolders[:] = [name for name in subfolders if not _is_skipped(place / name)]
        found.extend((place / name).as_posix() for name in names if name.endswith(".py"))
    return sorted(found)


def _is_skipped(place: Path) -> bool:
    """Tell whether the folder ``place`` holds tests, third-party code or build products."""
    return (
        place.name in _SKIPPED_DIRS
        or place.name.startswith("config-")
        or place.parts[-2:] == ("ensurepip", "_bundled")
    )


def _parse(path: Path) -> ast.Module | None:
    """Return the syntax tree of a source file, or None where it cannot be had."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as invalid escapes in string literals
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None


def _module_name(relative: str) -> str:
    """Return the dotted name by which users know the module in the file ``relative``."""
    parts = relative.removesuffix(".py").split("/")
    if len(parts) > 1 and parts[-1] == "__init__":
        parts.pop()
    name = ".".join(parts)
    return _PUBLIC_NAMES.get(name, name)


def _module_docs(tree: ast.Module, module: str) -> Iterator[StdlibDoc]:
    """Yield the records of one module, in the order of the source."""
    yield from _record(tree, module, module, "module")
    yield from _body_docs(tree, module, module, "function")


def _body_docs(scope: ast.AST, prefix: str, module: str, kind: str) -> Iterator[StdlibDoc]:
    """Yield the records of what a module or class defines, inside ``if`` or ``try`` as well.

    ``kind`` is what a function found here is: a function or a method.
    """
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, _Function):
            yield from _record(node, f"{prefix}.{node.name}", module, kind)
        elif isinstance(node, ast.ClassDef):
            name = f"{prefix}.{node.name}"
            yield from _record(node, name, module, "class")
            yield from _body_docs(node, name, module, "method")
        elif isinstance(node, ast.stmt | ast.excepthandler | ast.match_case):
            yield from _body_docs(node, prefix, module, kind)


def _record(node: _Named, name: str, module: str, kind: str) -> Iterator[StdlibDoc]:
    """Yield the record of one definition, or nothing where it has no docstring."""
    text = (ast.get_docstring(node) or "").strip()
    if text:
        title = f"{name}({ast.unparse(node.args)})" if isinstance(node, _Function) else name
        yield StdlibDoc(name, title, text, {"module": module, "kind": kind})
