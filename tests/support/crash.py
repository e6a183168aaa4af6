"""A child that works on a collection until it is killed, and a record of what it was told was done.

The child notes each operation before it begins and again when it returned, in a file that outlives
it. Whatever it noted as done must be there after the kill; the one operation that was under way may
be there or not, but never in part.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from model import random_document

import cormorant as cm

OPERATIONS = ("add", "add", "add", "later", "delete", "delete", "flush", "merge", "reopen")


def operate(path: Path, log: Path, seed: int, start: int, second: Any = None) -> None:
    """Work until killed; ``second`` are settings of an index that is to come and go."""
    operations = OPERATIONS if second is None else (*OPERATIONS, "second", "second", "later")
    random_ = random.Random(seed)
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    collection = cm.Collection.open(path)
    step = start
    while True:
        step += 1
        kind = random_.choice(operations)
        names = [f"d{number}" for number in random_.sample(range(60), random_.randint(1, 20))]
        os.write(descriptor, f"{json.dumps([step, kind, names])}\n".encode())
        if kind in ("add", "later"):
            when = "now" if kind == "add" else "later"
            collection.add(documents_of(step, names), index=when)
        elif kind == "delete":
            collection.delete(names)
        elif kind == "flush":
            collection.flush()
        elif kind == "merge":
            collection.merge()
        elif kind == "second" and "second" in collection.indexes:
            collection.drop_index("second")
        elif kind == "second":
            collection.add_index("second", second, index=random_.choice(["now", "later"]))
        else:
            collection.close()
            collection = cm.Collection.open(path)
        os.write(descriptor, f"{json.dumps([step, 'done'])}\n".encode())


def die_at(home: Any, name: str, call: int) -> None:
    """Kill this process at the end of the nth call of a function."""
    whole: Callable[..., Any] = getattr(home, name)
    count = 0

    def dying(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        result = whole(*arguments, **named)
        count += 1
        if count == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(home, name, dying)


def documents_of(step: int, names: list[str]) -> list[cm.Document]:
    """The documents that a step adds: the same for parent and child."""
    random_ = random.Random(step)
    return [random_document(random_, name) for name in names]


def apply(
    model: Mapping[str, cm.Document], step: int, kind: str, names: list[str]
) -> dict[str, cm.Document]:
    """The model after an operation."""
    after = dict(model)
    if kind in ("add", "later"):
        for document in documents_of(step, names):
            after.pop(document.id, None)
            after[document.id] = document
    elif kind == "delete":
        for name in names:
            after.pop(name, None)
    return after


def kill_once(
    path: Path, log: Path, seed: int, start: int, after_seconds: float, second: Any = None
) -> None:
    """Fork a child, let it work, kill it with SIGKILL, and wait for it to be gone."""
    child = os.fork()
    if child == 0:
        try:
            operate(path, log, seed, start, second)
        finally:
            os._exit(1)
    time.sleep(after_seconds)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the child ended by itself, status {status}"


def replay(
    log: Path, model: dict[str, cm.Document]
) -> tuple[dict[str, cm.Document], dict[str, cm.Document], int]:
    """The model before and after the operation that was under way, and the last step's number."""
    under_way = dict(model)
    step = 0
    for line in log.read_text().splitlines():
        step, *rest = json.loads(line)
        if rest == ["done"]:
            model = under_way
        else:
            under_way = apply(model, step, *rest)
    log.write_text("")
    return model, under_way, step


def die_with_a_log(path: Path) -> None:
    """Fork a child that adds, deletes, and is killed before the log moves into the catalog."""
    child = os.fork()
    if child == 0:
        collection = cm.Collection.open(path)
        collection.add(documents_of(1, [f"late{number}" for number in range(30)]))
        collection.delete(["late3", "d50"])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
