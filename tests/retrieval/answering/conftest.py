"""A collection of birds, and an endpoint that answers questions about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bird_answers import BIRDS, Serve
from endpoints import Streaming, answering_by

import cormorant as cm
from cormorant.retrieval.answering.settings import MODEL


@pytest.fixture
def birds(tmp_path: Path) -> Iterator[cm.Collection]:
    with cm.Collection.create(tmp_path / "birds.cm") as collection:
        collection.add(BIRDS)
        yield collection


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """An endpoint with this answer, which the environment names."""
    with ExitStack() as stack:
        monkeypatch.setenv(MODEL, "openai:m")

        def begin(answer: Any, *replies: Any) -> Streaming:
            call = answer if callable(answer) else lambda prompt: answer
            return stack.enter_context(answering_by(monkeypatch, call, *replies))

        yield begin
