"""Files of sparse vectors come back as they were written; what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import cormorant as cm
from cormorant.indexers.sparse.files import Line, read_csr, read_jsonl, write_csr, write_jsonl
from cormorant.vectors import SparseVectors

VECTORS = SparseVectors(
    np.array([0, 2, 2, 3]), np.array([1, 5, 0]), np.array([0.5, 2.0, 1.25], np.float32)
)


def test_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "vectors.jsonl"
    lines = [Line("a", "some text", {"fish": 0.5, "é": 2.0}), Line("b", "", {})]
    assert write_jsonl(path, lines) == 2
    assert list(read_jsonl(path)) == lines
    write_jsonl(path, lines, scale=100)
    assert [json.loads(line)["vector"] for line in path.read_text().splitlines()] == [
        {"fish": 50, "é": 200},
        {},
    ]
    path.write_text('{"id": 7, "content": "as Seismic says", "vector": {"x": 1}}\n\n')
    assert list(read_jsonl(path)) == [Line("7", "as Seismic says", {"x": 1.0})]


@pytest.mark.parametrize(
    "line",
    ["{", "[]", '{"vector": {}}', '{"id": "a"}', '{"id": "a", "vector": {"x": "1"}}'],
)
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "vectors.jsonl"
    path.write_text('{"id": "a", "vector": {}}\n' + line + "\n")
    with pytest.raises(cm.InputError, match=r"vectors.jsonl:2"):
        list(read_jsonl(path))


def test_csr(tmp_path: Path) -> None:
    path = tmp_path / "vectors.csr"
    write_csr(path, VECTORS, 9)
    assert path.read_bytes()[:24] == np.array([3, 9, 3], "<i8").tobytes()
    assert path.stat().st_size == 24 + 8 * 4 + 8 * 3
    found = read_csr(path)
    for name in ("starts", "terms", "weights"):
        np.testing.assert_array_equal(getattr(found, name), getattr(VECTORS, name))
    with pytest.raises(cm.InputError, match="n_terms"):
        write_csr(path, VECTORS, 5)


@pytest.mark.parametrize(
    ("place", "value"),
    [(0, 4), (1, 3), (3, 1), (4, 9), (5, 1)],
)
def test_damaged_csr_is_refused(tmp_path: Path, place: int, value: int) -> None:
    path = tmp_path / "vectors.csr"
    write_csr(path, VECTORS)
    content = np.frombuffer(path.read_bytes()[: 8 * 7], "<i8").copy()
    content[place] = value
    path.write_bytes(content.tobytes() + path.read_bytes()[8 * 7 :])
    with pytest.raises(cm.InputError, match="vectors.csr"):
        read_csr(path)
