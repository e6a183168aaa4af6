"""Settings as tagged JSON: ``{"kind": "bm25", "k1": 0.9}`` and back, through one table per kind.

A field may hold settings of its own, told apart by their tags: those that its type names, or those
of the table in its metadata (``field(metadata={"table": TABLE})``), or a tuple of those. A table
maps a tag to ``"module:Class"``; the class is a frozen dataclass with a ``kind``. It is imported
when its tag is first met, so a table may name rooms whose packages are not installed.
"""

from __future__ import annotations

import dataclasses
import importlib
import types
import typing
from collections.abc import Mapping
from typing import Any

from .documents import JsonObject
from .errors import InputError, UnknownNameError


def to_json(value: Any) -> JsonObject:
    """The tagged JSON of a settings value; fields that hold their default are left out."""
    result: JsonObject = {"kind": value.kind}
    for item in dataclasses.fields(value):
        content = getattr(value, item.name)
        if content != item.default:
            result[item.name] = _plain(content)
    return result


def _plain(content: Any) -> Any:
    if isinstance(content, tuple):
        return [_plain(item) for item in content]
    return to_json(content) if dataclasses.is_dataclass(content) else content


def from_json(table: Mapping[str, str], value: Any, what: str) -> Any:
    """The settings value that tagged JSON describes; a bare string is the tag alone.

    Raises :class:`~cormorant.errors.InputError` (naming the field) for anything the settings
    class does not take, and :class:`~cormorant.errors.UnknownNameError` for an unknown tag.
    """
    if isinstance(value, str):
        value = {"kind": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
        raise InputError(f'{what} is a JSON object such as {{"kind": ...}}, got {value!r}')
    settings_class = lookup(table, value["kind"], what)
    fields = {item.name: item for item in dataclasses.fields(settings_class)}
    hints = typing.get_type_hints(settings_class)
    arguments: dict[str, Any] = {}
    for name, content in value.items():
        if name == "kind":
            continue
        if name not in fields:
            raise InputError(
                f"{what} {value['kind']!r} takes {_listed(fields)}, got {name!r}", field=name
            )
        arguments[name] = _checked(name, content, hints[name], fields[name].metadata.get("table"))
    missing = [
        name
        for name, item in fields.items()
        if name not in arguments
        and item.default is dataclasses.MISSING
        and item.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{what} {value['kind']!r} needs it", field=missing[0])
    return settings_class(**arguments)


def lookup(table: Mapping[str, str], tag: str, what: str) -> Any:
    """The class a table names for a tag."""
    if tag not in table:
        raise UnknownNameError(f"there is no {what} {tag!r}; there are: {_listed(table)}")
    module, _, name = table[tag].partition(":")
    return getattr(importlib.import_module(module), name)


def _listed(names: Mapping[str, Any]) -> str:
    return ", ".join(sorted(names)) or "none yet"


def _is_tagged(hint: Any, content: Any) -> bool:
    """Whether the hint is a settings class and the content carries its tag."""
    tag = content.get("kind") if isinstance(content, Mapping) else content
    return dataclasses.is_dataclass(hint) and bool(tag == getattr(hint, "kind", None))


def _checked(name: str, content: Any, hint: Any, table: Mapping[str, str] | None = None) -> Any:
    """The content as the field's type takes it: JSON's numbers, strings, lists and null."""
    if table is not None and isinstance(content, list | tuple):
        return tuple(from_json(table, item, name) for item in content)
    if table is not None and content is not None:
        return from_json(table, content, name)
    origin = typing.get_origin(hint)
    if _is_tagged(hint, content):
        return from_json({hint.kind: f"{hint.__module__}:{hint.__qualname__}"}, content, name)
    if origin in (types.UnionType, typing.Union):
        for option in typing.get_args(hint):
            try:
                return _checked(name, content, option)
            except InputError:
                continue
    elif origin is tuple:
        if isinstance(content, list | tuple):
            inner = typing.get_args(hint)[0]
            return tuple(_checked(name, item, inner) for item in content)
    elif _fits(content, hint):
        return _number(name, content) if hint is float else content
    expected = getattr(hint, "__name__", str(hint))
    raise InputError(f"expected {expected}, got {content!r}", field=name)


def _fits(content: Any, hint: Any) -> bool:
    if hint is int or hint is float:
        numbers = int if hint is int else int | float
        return isinstance(content, numbers) and not isinstance(content, bool)
    if getattr(hint, "_is_protocol", False):  # a stage or a model, which JSON names otherwise
        return False
    return isinstance(hint, type) and isinstance(content, hint)


def _number(name: str, content: float) -> float:
    try:
        return float(content)
    except OverflowError:  # an integer of more than 308 digits
        raise InputError("is too large a number", field=name) from None
