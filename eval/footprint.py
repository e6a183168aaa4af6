"""What one pipeline takes in memory, measured in a process of its own.

The process that evaluates holds every index and every model that any pipeline has needed so far, so
its size says nothing about one of them. This one opens the collection, answers some queries with
the pipeline, and says how much is resident then: models, libraries, and of the mapped files the
pages that answering read (those read to verify them are let go of).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..errors import CormorantError
from ..retrieval.collection import Collection
from ..retrieval.pipeline import Pipeline, pipeline_from_json

QUERIES = 25
K = 10
_STATUS = Path("/proc/self/status")


def memory_of(collection: Path, pipeline: Pipeline, queries: Sequence[str]) -> int:
    """Resident bytes of a process that has answered the first 25 queries with a pipeline.

    Raises :class:`~cormorant.errors.CormorantError` where that process fails.
    """
    asked = {
        "collection": str(collection),
        "pipeline": pipeline.as_json(),
        "queries": list(queries[:QUERIES]),
    }
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", __name__],
        input=json.dumps(asked),
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        reason = done.stderr.strip().rpartition("\n")[2]
        raise CormorantError(f"the process that measures memory failed: {reason}")
    return int(done.stdout)


def _answer() -> None:
    asked = json.load(sys.stdin)
    pipeline = pipeline_from_json(asked["pipeline"])
    with Collection.open(asked["collection"], read_only=True) as collection:
        for query in asked["queries"]:
            collection.search(query, K, pipeline=pipeline)
        sys.stdout.write(str(_resident()))


def _resident() -> int:
    lines = _STATUS.read_text("ascii", "replace").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


if __name__ == "__main__":
    _answer()
