"""What a reader process does, in a module that a spawned process can import."""

from __future__ import annotations

import multiprocessing
import time

import cormorant as cm

N_DOCUMENTS = 40


def version(number: int) -> list[cm.Document]:
    """Documents that all say which version they are of; their ids never change."""
    return [
        cm.Document(id=f"d{place}", text=f"common version{number} place{place}")
        for place in range(N_DOCUMENTS)
    ]


def read_dense(path: str, until: float, answers: multiprocessing.Queue) -> None:
    """:func:`read` through a toy dense index; it must encode no document."""
    from toys import ToyEncoder, use_here

    use_here()
    ToyEncoder.error = AssertionError("a reader encoded a document")
    read(path, until, answers, "dense")


def read(
    path: str, until: float, answers: multiprocessing.Queue, pipeline: str | None = None
) -> None:
    """Search until the time is up; answers how many searches, or what was wrong."""
    try:
        seen, searches = 0, 0
        with cm.Collection.open(path, read_only=True) as collection:
            while time.time() < until:
                result = collection.search("common", N_DOCUMENTS + 5, pipeline=pipeline)
                texts = {hit.text.split()[1] for hit in result}
                if len(result) != N_DOCUMENTS or len(texts) != 1:
                    answers.put(f"a search saw {len(result)} documents of versions {texts}")
                    return
                number = int(texts.pop().removeprefix("version"))
                if number < seen:
                    answers.put(f"went back from version {seen} to {number}")
                    return
                seen = number
                searches += 1
        answers.put(searches)
    except Exception as error:
        answers.put(f"{type(error).__name__}: {error}")
