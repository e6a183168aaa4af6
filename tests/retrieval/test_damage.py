"""Every kind of file, damaged in every way: named in the error, or no answer changes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from crash import die_with_a_log
from damage import DAMAGES, Damage, remove
from model import random_document

import cormorant as cm

QUERIES = ["amber", "beacon cedar", "falcon thistle amber"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A collection with segments, tombstones and a log that was never checkpointed."""
    path = tmp_path_factory.mktemp("sound") / "c.cm"
    random_ = random.Random(5)
    with cm.Collection.create(path) as collection:
        collection.add(random_document(random_, f"d{number}") for number in range(300))
        collection.flush()
        collection.delete([f"d{number}" for number in range(0, 40)])
    die_with_a_log(path)
    assert (path / "catalog.sqlite-wal").stat().st_size > 0
    return path


def _answers(path: Path) -> list[object]:
    with cm.Collection.open(path, read_only=True) as collection:
        hits = [
            [(hit.id, hit.score, hit.text) for hit in collection.search(query, 20)]
            for query in QUERIES
        ]
        filtered = [
            [(hit.id, hit.score) for hit in collection.search(query, 20, filter={"lang": "en"})]
            for query in QUERIES
        ]
        documents = [document.as_json() for document in collection.scroll()]
        got = [collection.get(f"d{number}") for number in range(60)]
        return [len(collection), hits, filtered, documents, got]


def _files(path: Path) -> list[str]:
    """One file of each kind: the catalog, its log, the head, and each array of a segment."""
    chosen: dict[str, str] = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and not file.name.endswith("-shm"):
            index = file.parent.parent.name if file.suffix == ".npy" else ""
            chosen[f"{index}/{file.name}"] = str(file.relative_to(path))
    return list(chosen.values())


def _survives(sound: Path, tmp_path: Path, name: str, damage: Damage, seed: int) -> str:
    copy = tmp_path / "copy.cm"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(sound, copy)
    damage(copy / name, random.Random(seed))
    expected = _answers(sound)
    try:
        answers = _answers(copy)
    except cm.CormorantError as error:
        named = Path(name).name.removesuffix("-wal")
        assert named in str(error), f"{damage.__name__} of {name}: {error}"
        with cm.Collection.open(sound, read_only=True) as collection:
            assert collection.check().problems == ()
        return "named"
    assert answers == expected, f"{damage.__name__} of {name} changed an answer"
    return "harmless"


def _all_ways(sound: Path, tmp_path: Path, seeds: range) -> dict[str, int]:
    outcomes: dict[str, int] = {"named": 0, "harmless": 0}
    for name in _files(sound):
        for damage in DAMAGES:
            for seed in seeds if damage is not remove else range(1):
                outcomes[_survives(sound, tmp_path, name, damage, seed)] += 1
    return outcomes


def test_every_file_damaged_in_every_way(sound: Path, tmp_path: Path) -> None:
    names = _files(sound)
    assert {"catalog.sqlite", "catalog.sqlite-wal", "head"} <= set(names)
    assert len(names) >= 10
    outcomes = _all_ways(sound, tmp_path, range(2))
    assert outcomes["named"] > 2 * len(names)


@pytest.mark.soak
def test_every_file_damaged_in_every_way_many_times(sound: Path, tmp_path: Path) -> None:
    outcomes = _all_ways(sound, tmp_path, range(100, 140))
    print(f"\n{len(_files(sound))} kinds of file, {sum(outcomes.values())} damages: {outcomes}")


def test_an_extra_file_changes_no_answer_and_check_names_it(sound: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.cm"
    shutil.copytree(sound, copy)
    segment = next(path for path in (copy / "segments" / "bm25").iterdir() if path.is_dir())
    for extra in (copy / "notes.txt", segment / "extra.npy"):
        extra.write_bytes(b"surprise")
    assert _answers(copy) == _answers(sound)
    with cm.Collection.open(copy, read_only=True) as collection:
        problems = "\n".join(collection.check().problems)
    assert "notes.txt" in problems
    assert "extra.npy" in problems


def test_check_names_damage_under_an_open_collection(sound: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.cm"
    shutil.copytree(sound, copy)
    with cm.Collection.open(copy, read_only=True) as collection:
        victim = next((copy / "segments" / "bm25").rglob("*.npy"))
        content = bytearray(victim.read_bytes())
        content[-1] ^= 1
        victim.write_bytes(content)
        assert any(victim.name in problem for problem in collection.check().problems)


def test_a_log_that_lost_its_tail_is_noticed(sound: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.cm"
    shutil.copytree(sound, copy)
    (copy / "catalog.sqlite-wal").write_bytes(b"")
    with pytest.raises(cm.CorruptionError, match="lost its tail"):
        cm.Collection.open(copy)
