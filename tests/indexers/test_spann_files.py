"""What a spann segment keeps where: lists, pages, memory; what is refused, what is explained."""

from __future__ import annotations

import dataclasses
import os
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spann_segments import (
    LEAST,
    SETTINGS,
    VECTORS,
    Files,
    chunks_of,
    clustered,
    recall,
    segment_of,
)
from threadpoolctl import threadpool_info, threadpool_limits

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed, Encodes, Explains, HasVectors, Searchable
from cormorant.documents import JsonObject
from cormorant.errors import CormorantError, InputError, StorageError
from cormorant.indexers.spann import closure, pages, sampling, tuning, writing
from cormorant.indexers.spann.index import SpannIndex
from cormorant.indexers.spann.nearest import in_groups, near_of, nearest_of
from cormorant.indexers.spann.segment import SpannSegment
from cormorant.indexers.spann.space import Space
from cormorant.indexers.spann.threads import workers
from cormorant.indexers.spann.tracing import Trace
from cormorant.indexers.table import index_settings
from cormorant.retrieval.disk import Disk
from cormorant.retrieval.segments import FileSink, open_arrays
from cormorant.tagged import to_json


@pytest.fixture(autouse=True)
def one_target(monkeypatch: pytest.MonkeyPatch) -> None:
    """The effort for other targets would take most of the time of so small a build."""
    monkeypatch.setattr(tuning, "TARGETS", ())


def test_memory_is_what_was_asked_for() -> None:
    """A tenth of the vectors' bytes at 384 numbers, centroids and tables counted in."""
    vectors = clustered(2000, 384)
    index = SpannIndex(cm.Spann(model=None, list_rows=256, memory=0.1))
    segment = segment_of(index, vectors)
    assert 0.05 * vectors.nbytes < segment.kept_bytes <= 0.1 * vectors.nbytes
    assert recall(index, [segment], vectors) >= LEAST


def test_memory_stays_what_it_was_while_rows_are_deleted(tmp_path: Path) -> None:
    """A byte a row for the newest mask; nothing for those of versions that are over."""
    vectors = clustered(2000, 96)
    index = SpannIndex(dataclasses.replace(SETTINGS, memory=0.2))
    folder = tmp_path / "segments" / "spann" / "1"
    sink = FileSink(folder, Disk())
    summary = index.build(chunks_of(vectors, np.arange(2000)), sink)
    segment = index.open(open_arrays(folder, sink.finish()), summary)
    untouched = segment.kept_bytes
    live = np.ones(2000, np.bool_)
    for row in range(10):
        live = live.copy()
        live[row] = False
        assert recall(index, [segment], vectors, Allowed(live, None), n_queries=20) > 0.8
    one_mask = 2000 + 4 * len(segment.sizes)
    assert untouched + 2000 <= segment.kept_bytes <= untouched + one_mask
    if sys.platform == "linux":
        for name in ("rows", "spann_homes", "spann_copies"):
            assert _resident(folder / f"{name}.npy") == 0


def _resident(path: Path) -> int:
    """KB of a mapped file that this process holds."""
    lines = iter(Path("/proc/self/smaps").read_text().splitlines())
    assert any(line.endswith(str(path)) for line in lines)
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@given(st.lists(st.integers(0, 20_000), max_size=60))
def test_records_touch_no_page_more_than_they_must(sizes: list[int]) -> None:
    offsets, end = writing._laid_out(np.array(sizes, np.int64))
    last = 0
    for first, size in zip(offsets.tolist(), sizes, strict=True):
        assert first >= last
        last = first + size
        if size:
            assert (last - 1) // 4096 - first // 4096 + 1 == -(-size // 4096)
    assert end == last


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_cut_leaves_every_row_in_its_home(n: int, m: int, longest: int, seed: int) -> None:
    """Lists are cut of their farthest copies; the counts and the copies noted say what is left."""
    random = np.random.default_rng(seed)
    lists = np.full((n, 3), -1, np.int32)
    for row in lists:
        held = random.permutation(m)[: random.integers(1, min(m, 3) + 1)]
        row[: len(held)] = held
    apart = random.random((n, m)).astype(np.float32)
    members = writing._members(lists, m, longest, lambda places, number: apart[places, number])
    ends = np.cumsum(members.counts)
    for number in range(m):
        held = members.places[ends[number] - members.counts[number] : ends[number]]
        homes = np.flatnonzero(lists[:, 0] == number)
        assert set(homes.tolist()) <= set(held.tolist())
        assert len(held) <= max(longest, len(homes))
        copies = members.copies[members.copies[:, 1] == number, 0]
        assert sorted([*homes.tolist(), *copies.tolist()]) == sorted(held.tolist())
        cut = np.setdiff1d(np.flatnonzero((lists == number).any(axis=1)), held)
        assert apart[copies, number].max(initial=0.0) <= apart[cut, number].min(initial=1.0)
    assert set(members.places.tolist()) == set(range(n))


def test_files_and_pages(tmp_path: Path) -> None:
    """Through files: same bytes each time, and lists do not touch more pages than they must."""
    vectors = VECTORS["cosine"][:1000]
    index = SpannIndex(dataclasses.replace(SETTINGS, memory=0.2))
    contents = []
    for number in (1, 2):
        sink = FileSink(tmp_path / "segments" / "spann" / str(number), Disk())
        summary = index.build(chunks_of(vectors, np.arange(1000)), sink)
        files = sink.finish()
        contents.append([file.checksum for file in files])
    assert contents[0] == contents[1]
    segment = index.open(open_arrays(tmp_path / "segments" / "spann" / "2", files), summary)
    assert segment.lists is not None
    assert segment.posting_pages is not None
    assert segment.posting_pages.mapped
    first = 128 + segment.lists.offsets
    pages = (first + segment.sizes - 1) // 4096 - first // 4096 + 1
    assert np.all(pages <= -(-segment.sizes // 4096))
    assert recall(index, [segment], vectors) >= LEAST
    trace = Trace()
    index._traced(segment, vectors[:5], 10, EVERYTHING, trace)
    assert trace.bytes_read == 4096 * trace.as_json()["pages"] > 0
    assert index.check(segment) == []


@pytest.mark.parametrize("name", ["vectors", "spann_postings"])
def test_a_file_cut_short_under_an_open_segment_is_an_error(tmp_path: Path, name: str) -> None:
    """Not a poorer answer, and not the end of the process."""
    vectors = VECTORS["cosine"][:600]
    index = SpannIndex(dataclasses.replace(SETTINGS, memory=0.0))
    sink = FileSink(tmp_path / "segments" / "spann" / "1", Disk())
    summary = index.build(chunks_of(vectors, np.arange(600)), sink)
    folder = tmp_path / "segments" / "spann" / "1"
    segment = index.open(open_arrays(folder, sink.finish()), summary)
    index.search([segment], vectors[:3], 10, EVERYTHING)
    with (folder / f"{name}.npy").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(StorageError, match="5,000 of its"):
        index.search([segment], vectors[:3], 10, EVERYTHING)
    if name == "vectors":
        with pytest.raises(StorageError, match="5,000 of its"):
            index.score([segment], vectors[:1], np.array([[1]]), EVERYTHING)


@pytest.mark.parametrize("waits", [True, False])
@pytest.mark.parametrize("similarity", ["cosine", "l2"])
def test_a_file_cut_short_after_it_was_checked_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, similarity: str, waits: bool
) -> None:
    """Where every vector, few of them, or lists are looked at; it was the end of the process."""
    if not waits:
        monkeypatch.setattr(pages, "_can_wait", lambda _: False)
    for number, (name, n) in enumerate((("vectors", 250), ("spann_postings", 600))):
        vectors = VECTORS[similarity][:n]
        index = SpannIndex(dataclasses.replace(SETTINGS, similarity=similarity, memory=0.0))
        folder = tmp_path / "segments" / "spann" / str(number)
        sink = FileSink(folder, Disk())
        summary = index.build(chunks_of(vectors, np.arange(n)), sink)
        segment = index.open(open_arrays(folder, sink.finish()), summary)
        assert recall(index, [segment], vectors) >= LEAST
        some = Allowed(None, np.arange(n) % 20 == 0) if name == "vectors" else EVERYTHING
        cut = partial(os.truncate, folder / f"{name}.npy", 5000)
        with monkeypatch.context() as later:
            later.setattr(SpannSegment, "check_files", lambda _, cut=cut: cut())
            for allowed in (EVERYTHING, some):
                with pytest.raises(StorageError, match="5,000 of its"):
                    index.search([segment], vectors[:3], 10, allowed)
        if name == "vectors":
            for read in (index.vectors, index.encodings):
                with pytest.raises(StorageError, match="5,000 of its"):
                    read([segment], np.arange(n))


def test_stretches_of_pages_are_joined(tmp_path: Path) -> None:
    from cormorant.indexers.spann.pages import Pages

    sink = FileSink(tmp_path / "segments" / "s" / "1", Disk())
    array = sink.create("a", np.uint8, (20 * 4096 - 128,))
    pages = Pages(array)  # begins 128 bytes into its file
    # Two pages that touch, one two pages on, one nine pages on from there.
    firsts = np.array([0, 4096 - 128 - 1, 3 * 4096 - 128, 13 * 4096 - 128])
    assert pages.spans(firsts, 2).tolist() == [[0, 4 * 4096], [13 * 4096, 14 * 4096]]
    inside = np.array([0, 4096 - 128])  # the longer one begins before and ends after the other
    assert pages.spans(inside, np.array([9000, 1])).tolist() == [[0, 3 * 4096]]
    assert pages.spans(firsts[:0], 2).shape == (0, 2)
    assert Pages(np.zeros(5)).spans(firsts, 2).shape == (0, 2)


def test_rows_are_copied_from_their_file_and_a_failed_read_is_an_error(tmp_path: Path) -> None:
    from cormorant.indexers.spann.pages import Pages

    sink = FileSink(tmp_path / "segments" / "s" / "1", Disk())
    written = np.arange(6000, dtype=np.float32).reshape(1000, 6)
    sink.put("a", written)
    folder = tmp_path / "segments" / "s" / "1"
    array = open_arrays(folder, sink.finish())["a"]
    numbers = np.array([999, 0, 512, 0])
    for copied, polled in ((True, True), (True, False), (False, False)):
        pages = Pages(array, copied=copied)
        assert pages._polled == (copied and hasattr(os, "RWF_NOWAIT"))
        pages._polled &= polled
        if hasattr(os, "posix_fadvise"):  # of the page cache, too
            pages.drop_all()
            with (folder / "a.npy").open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        assert pages.begin(numbers) == 6 * 4096
        assert np.array_equal(pages.rows(numbers), written[numbers])
    pages = Pages(array, copied=True)
    every = pages.spans(np.zeros(1, np.int64), array.nbytes)
    pages.wait(every)
    with (folder / "a.npy").open("r+b") as file:
        file.truncate(4096)
    for asked in (lambda: pages.rows(numbers), lambda: pages.wait(every)):
        with pytest.raises(StorageError, match="4,096 of its"):
            asked()
    assert pages.rows(np.array([3])).tolist() == [written[3].tolist()]
    (folder / "a.npy").unlink()
    with pytest.raises(StorageError, match=r"a\.npy"):
        Pages(array, copied=True)


def test_centroids_in_blocks_are_the_same_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = VECTORS["cosine"][:900]
    space = Space("cosine", 24, 1.0)
    centroids = space.of_vectors(vectors, slice(0, 70))
    whole, blocks = np.full((2, 900, 4), -1, np.int32)
    closure.assign(vectors, space, np.arange(900), centroids, 10.0, whole)
    monkeypatch.setattr(closure, "_CENTROIDS", 9)
    closure.assign(vectors, space, np.arange(900), centroids, 10.0, blocks)
    assert np.array_equal(blocks, whole)


def test_centroids_of_near_groups_are_nearly_all_that_are_near() -> None:
    centroids, vectors = clustered(3000, 24, seed=8), clustered(500, 24, seed=9)
    groups = in_groups(centroids)
    assert groups is not None
    assert sorted(groups.numbers.tolist()) == list(range(3000))
    found, apart = near_of(vectors, groups, 16)
    exact, wanted = nearest_of(vectors, [centroids], 16)
    assert (found[:, 0] == exact[:, 0]).mean() > 0.99
    assert np.mean([np.isin(*both).mean() for both in zip(exact, found, strict=True)]) > 0.98
    same = found == exact
    assert np.allclose(apart[same], wanted[same], atol=1e-5)
    assert in_groups(centroids[:2000]) is None


def test_products_of_matrices_stay_in_the_threads_of_a_build() -> None:
    """With BLAS's own threads besides, assigning took ten times as long on a busy machine."""

    def counts() -> set[int]:
        return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}

    with threadpool_limits(2, "blas"):
        with workers():
            assert counts() == {1}
            with workers():
                pass
            assert counts() == {1}  # another build's end is not this one's
        assert counts() == {2}


def test_a_vector_is_one_sample_however_often_it_is_there() -> None:
    vectors = np.repeat(clustered(5, 8), 3, axis=0)
    assert sampling.distinct(vectors, np.array([7, 1, 6, 0, 14])).tolist() == [7, 1, 14]


def test_vectors_that_are_read_together_lie_together() -> None:
    """Each is found where it went; the ten nearest lie in fewer stretches than they came in."""
    vectors = clustered(3000, 64)
    segment = segment_of(SpannIndex(SETTINGS), vectors)
    assert segment.slots is not None
    everything = np.arange(3000)
    assert np.array_equal(segment.vectors_at(everything), vectors)
    assert np.array_equal(segment.vectors[segment.slots], vectors)
    nearest = np.argsort(-(vectors[::50] @ vectors.T), axis=1)[:, :10]

    def stretches(slots: np.ndarray) -> float:
        return float(np.mean([1 + (np.diff(np.sort(slots[own])) > 1).sum() for own in nearest]))

    assert stretches(segment.slots) < 0.9 * stretches(everything)


def test_explained() -> None:
    index = SpannIndex(SETTINGS)
    vectors = VECTORS["cosine"]
    segment = segment_of(index, vectors)
    told = index.explain([segment], vectors[:1], [0, 5], EVERYTHING)
    assert [item["similarity"] for item in told] == ["cosine", "cosine"]
    assert told[0]["score"] == pytest.approx(1.0, abs=1e-6)
    (work,) = told[0]["segments"]
    assert work["postings"] == sum(work["postings_pruned"].values()) + work["postings_read"]
    assert work["cache_hits"] == work["postings_read"] > 0
    effort = tuning.effort_for(segment.summary["spann"], 10, index.spann)
    assert work["postings_pruned"]["too_far"] > 0
    assert work["postings_read"] <= effort.most
    assert 0 < work["vectors_reranked"] <= work["codes_scanned"] <= 3600
    assert set(work["milliseconds"]) >= {"postings_chosen", "codes_scanned", "vectors_read"}
    some = np.arange(3000) % 30 == 0
    told = index.explain([segment], vectors[:1], [0, 30], Allowed(None, some))
    (work,) = told[0]["segments"]
    assert work["postings_pruned"]["no_allowed_row"] > 0
    assert work["postings"] == sum(work["postings_pruned"].values()) + work["postings_read"]
    small = segment_of(index, vectors[:200])
    (work,) = index.explain([small], vectors[:1], [0], EVERYTHING)[0]["segments"]
    assert work["exact"]
    assert work["vectors_reranked"] == 200
    assert set(work["milliseconds"]) == {"scored"}
    assert index.highlights("a", "b") == []
    assert isinstance(index, Searchable | Encodes | HasVectors | Explains)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("spann_homes", lambda a: a[:-1], "spann_homes is int32"),
        ("spann_homes", lambda a: a + 10_000, "points nowhere"),
        ("spann_offsets", lambda a: a + 1_000_000, "outside its file"),
        ("spann_counts", lambda a: -a, "outside its file"),
        ("spann_centroids", lambda a: a[:, :-1], "spann_centroids is int8"),
        ("spann_postings", lambda a: a | 0x7F, "names a row that is not there"),
        ("spann_slots", lambda a: a[:-1], "spann_slots is int32"),
        ("spann_slots", lambda a: a // 2, "does not name each vector once"),
        ("spann_slots", lambda a: a + 1, "does not name each vector once"),
    ],
)
def test_arrays_that_do_not_fit(name: str, change: object, message: str) -> None:
    index = SpannIndex(SETTINGS)
    sink = Files()
    summary = index.build(chunks_of(VECTORS["cosine"][:600], np.arange(600)), sink)
    sink.arrays[name] = change(sink.arrays[name])
    with pytest.raises(CormorantError, match=message):
        index.open(sink.arrays, summary)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("spann_group_starts", lambda a: a[:-1], "spann_group_starts is int32"),
        ("spann_group_starts", lambda a: a[::-1], "do not hold each list once"),
        ("spann_group_starts", lambda a: a - 1, "do not hold each list once"),
        ("spann_group_starts", lambda a: beyond(a), "do not hold each list once"),
        ("spann_group_centroids", lambda a: a[:, :-1], "spann_group_centroids is int8"),
    ],
)
def test_groups_that_do_not_fit(
    name: str, change: object, message: str, grouped: tuple[Files, JsonObject]
) -> None:
    sink, summary = grouped
    arrays = {**sink.arrays, name: change(sink.arrays[name])}
    with pytest.raises(CormorantError, match=message):
        SpannIndex(SETTINGS).open(arrays, summary)


def beyond(starts: np.ndarray) -> np.ndarray:
    """Differences of int32 would be those of ascending numbers."""
    changed = starts.copy()
    changed[1:3] = 2**31 - 1, -2
    return changed


@pytest.fixture(scope="module")
def grouped() -> tuple[Files, JsonObject]:
    """An index of more than a thousand lists."""
    index = SpannIndex(dataclasses.replace(SETTINGS, posting=8))
    sink = Files()
    vectors = clustered(12_000, 8)
    summary = index.build(chunks_of(vectors, np.arange(len(vectors))), sink)
    assert summary["spann"]["groups"] > 8
    return sink, summary


def test_vectors_and_lists_of_two_generations() -> None:
    """Lists made of other vectors are found out."""
    index = SpannIndex(SETTINGS)
    old, new = Files(), Files()
    index.build(chunks_of(VECTORS["cosine"][:600], np.arange(600)), old)
    summary = index.build(chunks_of(VECTORS["cosine"][600:1200], np.arange(600)), new)
    arrays = {**new.arrays, "vectors": old.arrays["vectors"]}
    problems = index.check(index.open(arrays, summary))
    assert any("not those of its vectors" in problem for problem in problems)
    homes = np.roll(new.arrays["spann_homes"], 7)
    problems = index.check(index.open({**new.arrays, "spann_homes": homes}, summary))
    assert problems == ["rows do not stand where they should"]


def test_settings() -> None:
    settings = cm.Spann(model=None, similarity="l2", bits=2, eps2=0.3)
    assert index_settings(to_json(settings)) == settings
    for wrong in (
        {"similarity": "euclid"},
        {"bits": 5},
        {"bits": True},
        {"eps1": float("nan")},
        {"eps2": -1.0},
        {"target_recall": 0.0},
        {"memory": "much"},
        {"posting": 2},
        {"replicas": 0},
        {"postings": 0},
        {"list_rows": 10},
        {"model": ""},
        {"precision": "double"},
        {"dim": 0},
    ):
        (name,) = wrong
        with pytest.raises(InputError) as caught:
            cm.Spann(**wrong)
        assert caught.value.field == name


def test_a_query_of_another_dimension() -> None:
    index = SpannIndex(SETTINGS)
    segment = segment_of(index, VECTORS["cosine"][:600])
    with pytest.raises(ValueError, match="for vectors"):
        index.search([segment], np.ones((1, 23), np.float32), 1, EVERYTHING)
    for bad in (np.full((1, 24), np.nan), np.zeros((1, 24))):
        with pytest.raises(InputError):
            index.accept_queries(bad)
