"""Damage to a dense index: named, or no answer changes; and no array leads FAISS astray."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from crash import die_with_a_log
from damage import DAMAGES, Damage, remove
from model import WORDS, random_document
from toys import ToyDense, use

import cormorant as cm
from cormorant.contracts import EVERYTHING
from cormorant.documents import Chunk
from cormorant.indexers.dense.index import DenseIndex
from cormorant.indexers.dense.vectors import pack
from cormorant.retrieval.segments import MemorySink

INDEXES = {
    "dense": ToyDense(dim=6),
    "graph": ToyDense(dim=6, ann=cm.HNSW(m=4), ann_rows=256),
    "lists": ToyDense(dim=6, ann=cm.IVF(lists=4, quantizer="sq8"), ann_rows=256),
}


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Segments of every form, and encodings that are in the log alone."""
    path = tmp_path_factory.mktemp("sound") / "c.cm"
    random_ = random.Random(5)
    with pytest.MonkeyPatch.context() as patch:
        use(patch)
        with cm.Collection.create(path, INDEXES) as collection:
            collection.add(random_document(random_, f"d{number}") for number in range(300))
            collection.flush()
            collection.delete([f"d{number}" for number in range(40)])
        with cm.Collection.open(path) as collection:
            collection.add([cm.Document(id="checkpointed", text="amber beacon")])
        die_with_a_log(path)
        yield path


def _answers(path: Path) -> list[object]:
    queries = [" ".join(WORDS[start : start + 3]) for start in range(10)]
    with cm.Collection.open(path, read_only=True) as collection:
        return [
            [(hit.id, hit.score, hit.text) for hit in result]
            for name in INDEXES
            for filter in (None, {"lang": "en"})
            for result in collection.search_batch(queries, 5, pipeline=name, filter=filter)
        ]


def _files(path: Path) -> list[str]:
    kinds = {
        f"{file.parent.parent.name}/{file.name}": str(file.relative_to(path))
        for file in sorted((path / "segments").rglob("*.npy"))
        if file.parent.parent.name in INDEXES
    }
    return list(kinds.values())


def _survives(sound: Path, copy: Path, name: str, damage: Damage, seed: int) -> bool:
    """Whether the damage was named; else no answer changed."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sound, copy)
    damage(copy / name, random.Random(seed))
    if damage is not remove and (copy / name).read_bytes() == (sound / name).read_bytes():
        return True  # its tail was zero already
    try:
        answers = _answers(copy)
    except cm.CormorantError as error:
        assert Path(name).name.removesuffix("-wal") in str(error), f"{damage.__name__}: {error}"
        return True
    assert answers == _answers(sound), f"{damage.__name__} of {name} changed an answer"
    return False


def test_every_array_damaged_in_every_way(sound: Path, tmp_path: Path) -> None:
    names = _files(sound)
    kinds = {Path(name).stem for name in names}
    assert kinds >= {"vectors", "cut", "hnsw_links", "hnsw_levels", "ivf_lists", "ivf_codes"}
    named = [
        _survives(sound, tmp_path / "copy.cm", name, damage, seed)
        for seed, name in enumerate(names)
        for damage in DAMAGES
    ]
    assert all(named), "every byte of an array is under its checksum"


@pytest.mark.parametrize("seed", range(6))
def test_the_catalog_damaged(sound: Path, tmp_path: Path, seed: int) -> None:
    for name in ("catalog.sqlite", "catalog.sqlite-wal"):
        for damage in DAMAGES:
            if damage is not remove:
                _survives(sound, tmp_path / "copy.cm", name, damage, seed)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("UPDATE encodings SET encoding = zeroblob(length(encoding))", "encoding"),
        ("UPDATE encodings SET row = row + 1000", "encoding"),
        ("DELETE FROM encodings WHERE row % 2", "encoding"),
        ("UPDATE encodings SET index_name = 'graph' WHERE index_name = 'dense'", "encoding"),
        ("UPDATE indexes SET encoder = '{}'", "indexes"),
    ],
)
def test_rows_changed_under_an_open_collection(
    sound: Path, tmp_path: Path, statement: str, message: str
) -> None:
    """Behind the checksum of the whole file: each row has one of its own."""
    copy = tmp_path / "copy.cm"
    shutil.copytree(sound, copy)
    with cm.Collection.open(copy, read_only=True) as collection:
        collection.search("amber", pipeline="dense")
        connection = sqlite3.connect(copy / "catalog.sqlite", isolation_level=None)
        try:
            connection.execute(statement)
        except sqlite3.IntegrityError:
            connection.execute("DELETE FROM encodings WHERE index_name = 'graph'")
            connection.execute(statement)
        connection.close()
        problems = "\n".join(collection.check().problems)
        assert message in problems
    with pytest.raises(cm.CorruptionError, match="catalog"):
        _answers(copy)


# -- arrays whose checksums are right and whose content is not ------------------------------------

N, DIM = 600, 8
Arrays = Mapping[str, np.ndarray]
Change = Callable[[dict[str, np.ndarray], dict], None]


class Files(MemorySink):
    """As if it were for files."""

    lasting = True


def _built(ann: cm.HNSW | cm.IVF) -> tuple[DenseIndex, dict[str, np.ndarray], dict]:
    index = DenseIndex(cm.Dense(model=None, ann=ann, ann_rows=256))
    vectors = np.random.default_rng(3).standard_normal((N, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1)[:, None]
    chunks = [
        Chunk(row, row, f"d{row}", "", "")._replace(encoding=encoding)
        for row, encoding in enumerate(pack(vectors, np.zeros(N, np.bool_)))
    ]
    sink = Files()
    summary = index.build(chunks, sink)
    assert "ann" in summary
    return index, sink.arrays, summary


def _put(name: str, value: float, place: object = 5) -> Change:
    def change(arrays: dict[str, np.ndarray], summary: dict) -> None:
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    change.__name__ = f"{name}[{place}] = {value}"
    return change


def _cast(name: str, dtype: type) -> Change:
    def change(arrays: dict[str, np.ndarray], summary: dict) -> None:
        arrays[name] = arrays[name].astype(dtype)

    change.__name__ = f"{name} as {dtype.__name__}"
    return change


def _short(name: str) -> Change:
    def change(arrays: dict[str, np.ndarray], summary: dict) -> None:
        arrays[name] = arrays[name][:-1]

    change.__name__ = f"{name} cut short"
    return change


def _gone(name: str) -> Change:
    def change(arrays: dict[str, np.ndarray], summary: dict) -> None:
        del arrays[name]

    change.__name__ = f"{name} missing"
    return change


def _said(**values: object) -> Change:
    def change(arrays: dict[str, np.ndarray], summary: dict) -> None:
        summary["ann"] = {**summary["ann"], **values}

    change.__name__ = f"summary {values}"
    return change


def _tower(arrays: dict[str, np.ndarray], summary: dict) -> None:
    """More levels than FAISS has link counts for; everything else fits together."""
    m, levels = summary["ann"]["m"], arrays["hnsw_levels"].copy()
    levels[0] = 60
    arrays["hnsw_levels"] = levels
    arrays["hnsw_links"] = np.full(
        int((2 * m + (levels.astype(np.int64) - 1) * m).sum()), -1, np.int32
    )
    summary["ann"] = {**summary["ann"], "max_level": 59, "entry_point": 0}


def _link_below_its_level(arrays: dict[str, np.ndarray], summary: dict) -> None:
    m, levels = summary["ann"]["m"], arrays["hnsw_levels"].astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(2 * m + (levels - 1) * m)])
    high = int(np.argmax(levels))
    links = arrays["hnsw_links"].copy()
    links[starts[high] + 2 * m] = int(np.argmin(levels))
    arrays["hnsw_links"] = links


GRAPH: list[Change] = [
    _put("hnsw_links", N),
    _put("hnsw_links", -2),
    _put("hnsw_links", 2**31 - 1, -1),
    _put("hnsw_levels", 0),
    _put("hnsw_levels", 2**30),
    _put("hnsw_levels", -5),
    _cast("hnsw_links", np.int64),
    _cast("hnsw_levels", np.float32),
    _short("hnsw_links"),
    _short("hnsw_levels"),
    _gone("hnsw_links"),
    _said(entry_point=N),
    _said(entry_point=-1),
    _said(max_level=50),
    _said(m=8),
    _said(m=-1),
    _tower,
    _link_below_its_level,
]
LISTS: list[Change] = [
    _put("ivf_lists", 4),
    _put("ivf_lists", -1),
    _put("ivf_lists", 2**31 - 1),
    _cast("ivf_lists", np.float32),
    _cast("ivf_codes", np.float64),
    _cast("ivf_trained", np.float64),
    _cast("ivf_centroids", np.float64),
    _short("ivf_lists"),
    _short("ivf_codes"),
    _short("ivf_trained"),
    _short("ivf_centroids"),
    _gone("ivf_centroids"),
    _gone("ivf_codes"),
    _said(lists=5),
    _said(lists=0),
    _said(quantizer="sq4"),
    _said(quantizer="pq", pq_bytes=4),
]
LAYOUT: list[Change] = [
    _short("rows"),
    _short("vectors"),
    _short("cut"),
    _cast("vectors", np.float64),
    _cast("rows", np.int32),
    _gone("vectors"),
    _gone("cut"),
]
CASES = [(cm.HNSW(m=4), change) for change in [*GRAPH, *LAYOUT]] + [
    (cm.IVF(lists=4, quantizer="sq8"), change) for change in LISTS
]


@pytest.mark.parametrize(
    ("ann", "change"), CASES, ids=[f"{ann.kind} {change.__name__}" for ann, change in CASES]
)
def test_arrays_that_lie_are_refused(ann: cm.HNSW | cm.IVF, change: Change) -> None:
    index, arrays, summary = _built(ann)
    sound = index.open(arrays, summary)
    assert index.check(sound) == []
    queries = np.ascontiguousarray(sound.vectors[:3])
    assert index.search([sound], queries, 1, EVERYTHING).rows[:, 0].tolist() == [0, 1, 2]
    altered, said = dict(arrays), dict(summary)
    change(altered, said)
    with pytest.raises(cm.CormorantError, match="cannot be used|is no dense segment"):
        segment = index.open(altered, said)
        assert index.check(segment) != []
        index.search([segment], queries, 5, EVERYTHING)


def test_check_names_what_is_wrong_with_vectors() -> None:
    index, arrays, summary = _built(cm.HNSW(m=4))
    for value, problem in ((np.nan, "not finite"), (np.inf, "not finite"), (3.0, "length 1")):
        altered = {**arrays, "vectors": arrays["vectors"].copy()}
        altered["vectors"][7, 2] = value
        assert problem in " ".join(index.check(index.open(altered, summary)))
    unsorted = {**arrays, "rows": arrays["rows"][::-1].copy()}
    assert index.check(index.open(unsorted, summary)) == ["rows do not ascend"]
