"""What can be wrong inside a sparse segment whose files are intact."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...contracts import Array
from ...errors import CormorantError
from ...kernels.postings.layout import BLOCK, LARGEST_WEIGHT, STEPS, Impacts, row_bytes
from .memory import MemorySink
from .segment import SparseSegment
from .vocabulary import Vocabulary
from .writing import invert

_TYPES = {
    "rows": np.int64,
    "starts": np.int64,
    "weights": np.float32,
    "frequencies": np.int32,
    "largest": np.float32,
    "row_numbers": np.int32,
    "row_impacts": np.uint8,
    "row_counts": np.int32,
    "run_starts": np.int64,
    "run_begins": np.int64,
    "listed": np.uint16,
    "impacts": np.uint8,
    "cut": np.bool_,
    "numbers": np.int64,
    "packed": np.uint8,
    "packed_offsets": np.int64,
    "prefixes": np.uint64,
    "word_starts": np.int64,
}
_NUMBERS = ("terms", "words", "run_blocks")


def check_layout(arrays: Mapping[str, Array]) -> None:
    """Refuse arrays whose types, shapes or numbers would send a kernel beyond their end."""
    for name in (*_TYPES, *_NUMBERS):
        if name not in arrays or arrays[name].ndim != 1:
            raise CormorantError(f"is no sparse segment: it has no array {name!r} of one dimension")
        found = arrays[name].dtype
        wanted = [np.dtype(_TYPES[name])] if name in _TYPES else [np.dtype("u2"), np.dtype("u4")]
        if found not in wanted:
            raise CormorantError(f"is no sparse segment: {name} is {found}, not {wanted[0]}")
    sizes = {name: len(array) for name, array in arrays.items()}
    n, v = sizes["rows"], sizes["numbers"] + sizes["prefixes"]
    n_rows = int(np.count_nonzero(arrays["row_numbers"] >= 0))
    expected = {
        "starts": n + 1,
        "cut": n,
        "word_starts": n + 1,
        "weights": sizes["terms"],
        "frequencies": v,
        "largest": v,
        "row_numbers": v,
        "run_starts": v + 1,
        "run_begins": sizes["run_blocks"] + 1,
        "listed": sizes["terms"],
        "impacts": sizes["terms"],
        "packed_offsets": sizes["prefixes"] + 1,
        "row_impacts": n_rows * row_bytes(n),
        "row_counts": n_rows * STEPS,
    }
    ends = {
        "starts": sizes["terms"],
        "word_starts": sizes["words"],
        "run_starts": sizes["run_blocks"],
        "run_begins": sizes["listed"],
        "packed_offsets": sizes["packed"],
    }
    for name, size in expected.items():
        if sizes[name] != size:
            raise CormorantError(f"is no sparse segment: {name} has {sizes[name]}, not {size}")
    for name, end in ends.items():
        offsets = arrays[name]
        if offsets[0] != 0 or offsets[-1] != end or (np.diff(offsets) < 0).any():
            raise CormorantError(f"is no sparse segment: {name} do not ascend from 0 to {end}")
    limits = {
        "terms": v,
        "words": v,
        "row_numbers": n_rows,
        "listed": min(n, BLOCK),
        "run_blocks": (n + BLOCK - 1) // BLOCK,
    }
    for name, limit in limits.items():
        if len(arrays[name]) and arrays[name].max() >= limit:
            raise CormorantError(f"is no sparse segment: {name} has one beyond {limit}")
    _check_lists(arrays, n)


def _check_lists(arrays: Mapping[str, Array], n: int) -> None:
    if n > BLOCK:  # the last block may be short
        lengths = np.diff(arrays["run_begins"])
        of_last = np.repeat(arrays["run_blocks"] == (n - 1) // BLOCK, lengths)
        if arrays["listed"][of_last].max(initial=0) > (n - 1) % BLOCK:
            raise CormorantError(f"is no sparse segment: listed has one beyond document {n - 1}")
    largest = arrays["largest"]
    weighs = (largest > 0) & (largest <= LARGEST_WEIGHT)
    if not np.array_equal(weighs, arrays["frequencies"] > 0):
        raise CormorantError("is no sparse segment: largest and frequencies contradict each other")


def problems_of(segment: SparseSegment) -> list[str]:
    """Empty when nothing is wrong."""
    p, known = segment.impacts, segment.vocabulary
    owners = np.repeat(np.arange(len(p.rows)), np.diff(p.starts))
    word_owners = np.repeat(np.arange(len(p.rows)), np.diff(segment.words.starts))
    width = known.size + 1
    spoken = np.zeros(known.size, np.bool_)
    spoken[segment.words.places] = True
    summary = {
        "n_rows": len(p.rows),
        "n_terms": known.size,
        "n_postings": len(p.terms),
        "n_cut": int(np.count_nonzero(segment.cut)),
        "n_empty": int(np.count_nonzero(np.diff(p.starts) == 0)),
    }
    checks = {
        "rows do not ascend": _ascends(p.rows),
        "the terms of a document do not ascend": _ascends(owners * width + p.terms),
        "the words of a document do not ascend": _ascends(
            word_owners * width + segment.words.places
        ),
        "a weight is not above 0 and finite": bool(
            ((p.weights > 0) & (p.weights <= LARGEST_WEIGHT)).all()
        ),
        "the vocabulary does not ascend": _vocabulary_ascends(known),
        "a term is in no document": bool(((p.frequencies > 0) | spoken).all()),
        "the summary is not that of the arrays": summary
        == {name: segment.summary.get(name) for name in summary},
    }
    problems = [problem for problem, fine in checks.items() if not fine]
    if problems:
        return problems
    facts = {name: getattr(p, name) for name in ("rows", "starts", "terms", "weights")}
    again = invert(facts, known.size, MemorySink())
    return [
        f"{name} are not those of the documents"
        for name in Impacts._fields
        if not np.array_equal(getattr(again, name), getattr(p, name))
    ]


def _ascends(values: Array) -> bool:
    return bool((values[1:] > values[:-1]).all())


def _vocabulary_ascends(known: Vocabulary) -> bool:
    if not known.of_tokens:
        return _ascends(known.numbers)
    text, ends = known.packed.tobytes(), known.packed_offsets.tolist()
    names = [text[a:b] for a, b in zip(ends[:-1], ends[1:], strict=True)]
    prefixes = [int.from_bytes(name[:8].ljust(8, b"\0"), "big") for name in names]
    return (
        all(a < b for a, b in zip(names, names[1:], strict=False))
        and prefixes == known.prefixes.tolist()
        and not len(known.numbers)
    )
