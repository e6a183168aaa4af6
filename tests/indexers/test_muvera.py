"""The parts of the multi-vector index: packing, the proxy's candidates, the measured effort."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed
from cormorant.documents import Chunk
from cormorant.errors import CormorantError
from cormorant.indexers.muvera import proxies, proxy, searching, tuning
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.segment import TokenSegment
from cormorant.kernels.maxsim import tokens_of
from cormorant.vectors import TokenVectors

DIM = 8


class Sink:
    """Memory that counts as files, so that a proxy is made."""

    lasting = True

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}

    def create(self, name: str, dtype: Any, shape: tuple[int, ...]) -> np.ndarray:
        self.arrays[name] = np.zeros(shape, dtype)
        return self.arrays[name]

    def put(self, name: str, values: np.ndarray) -> None:
        self.arrays[name] = values


def ragged(lengths: list[int], seed: int = 0) -> TokenVectors:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    drawn = np.random.default_rng(seed).standard_normal((int(starts[-1]), DIM))
    return TokenVectors(starts, drawn.astype(np.float32))


def segment_of(index: MuveraIndex, vectors: TokenVectors, first: int = 0) -> TokenSegment:
    encodings = index.accept(vectors).data
    chunks = [
        Chunk(first + n, first + n, f"d{n}", "", "", data) for n, data in enumerate(encodings)
    ]
    sink = Sink()
    summary = index.build(chunks, sink)
    return index.open(sink.arrays, summary)


@given(
    st.lists(st.integers(0, 5), min_size=1, max_size=8),
    st.sampled_from(["float32", "float16", "int8"]),
)
@settings(max_examples=40, deadline=None)
def test_what_was_encoded_comes_back_byte_for_byte(lengths: list[int], storage: str) -> None:
    index = cm.Muvera(model=None, storage=storage).index()
    vectors = ragged(lengths)
    given_ = index.accept(vectors).data
    segment = segment_of(index, vectors)
    found = index.encodings([segment], np.arange(len(lengths) + 1))
    if any(lengths):
        assert found == [*given_, None]
    assert index.check(segment) == []
    np.testing.assert_array_equal(segment.starts, vectors.starts)


def test_encodings_of_different_widths_are_refused() -> None:
    index = cm.Muvera(model=None).index()
    mixed = [
        *index.accept(ragged([2])).data,
        *index.accept(TokenVectors(np.array([0, 1]), np.ones((1, 3), np.float32))).data,
    ]
    chunks = [Chunk(n, n, "d", "", "", data) for n, data in enumerate(mixed)]
    with pytest.raises(CormorantError, match="one width"):
        index.build(chunks, Sink())
    with pytest.raises(CormorantError, match="one width"):
        index.build([Chunk(0, 0, "d", "", "", mixed[0][:-1])], Sink())


@given(
    st.integers(1, 200), st.integers(1, 30), st.integers(1, 70), st.booleans(), st.integers(0, 9)
)
@settings(max_examples=40, deadline=None)
def test_the_candidates_are_those_of_the_greatest_products(
    n: int, wanted: int, n_queries: int, filtered: bool, seed: int
) -> None:
    random = np.random.default_rng(seed)
    codes = random.integers(-3, 4, (n, 16)).astype(np.int8)
    scales = random.choice([0.5, 1.0], n).astype(np.float32)
    asked = random.integers(-127, 128, (n_queries, 16)).astype(np.int8)
    places = np.flatnonzero(random.random(n) < 0.5) if filtered else np.arange(n)
    found = proxy.best(codes, scales, asked, wanted, places if filtered else None)
    exact = (asked.astype(np.int64) @ codes.T.astype(np.int64)) * scales
    for own, scores in zip(found, exact, strict=True):
        order = places[np.lexsort((places, -scores[places]))][:wanted]
        assert own[own >= 0].tolist() == order.tolist(), "of equal products the lower place first"


def test_candidates_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    codes = random.integers(-9, 9, (500, 16)).astype(np.int8)
    codes.flags.writeable = False  # as it comes from a file
    scales, asked = np.ones(500, np.float32), random.integers(-9, 9, (5, 16)).astype(np.int8)
    whole = proxy.best(codes, scales, asked, 40, None)
    monkeypatch.setattr(proxy, "_BLOCK", 64)
    np.testing.assert_array_equal(proxy.best(codes, scales, asked, 40, None), whole)
    exact = asked.astype(np.float32) @ codes.T.astype(np.float32)
    np.testing.assert_array_equal(proxy.products(codes, scales, asked), exact)


@pytest.mark.parametrize("size", [131_071, 131_072, 163_840, 300_000])
@pytest.mark.parametrize("code", [127, -128])
def test_sums_of_long_vectors_do_not_overflow(size: int, code: int) -> None:
    """Two vectors of 163,840 codes of 127 gave -1,652,392,000."""
    codes = np.full((3, size), code, np.int8)
    codes[1, 1::2] = 3
    codes.flags.writeable = False
    asked = np.full((2, size), code, np.int8)
    asked[1, ::3] = -5
    exact = asked.astype(np.int64) @ codes.T.astype(np.int64)
    found = proxy.products(codes, np.ones(3, np.float32), asked)
    np.testing.assert_array_equal(found, exact.astype(np.float32))
    places = proxy.best(codes, np.ones(3, np.float32), asked, 2, None)
    np.testing.assert_array_equal(places, np.argsort(-exact, axis=1, kind="stable")[:, :2])


@pytest.mark.skipif(platform.machine() != "x86_64", reason="names of x86 instructions")
@pytest.mark.parametrize("instructions", ["SSE41", "AVX2", "AVX512_CORE"])
def test_sums_are_exact_on_older_processors(instructions: str) -> None:
    """Without VNNI oneDNN adds two products in 16 bits: nearly all of these sums were wrong."""
    program = """
        import numpy as np
        from cormorant.indexers.muvera import proxy
        random = np.random.default_rng(0)
        for queries, documents, size in ((1, 300, 2560), (64, 500, 384), (2, 20, 33)):
            asked = random.integers(-127, 128, (queries, size)).astype(np.int8)
            codes = random.integers(-128, 128, (documents, size)).astype(np.int8)
            asked[0], codes[:5], codes[5:9] = 127, 127, -128
            exact = asked.astype(np.int64) @ codes.T.astype(np.int64)
            found = proxy.products(codes, np.ones(documents, np.float32), asked)
            np.testing.assert_array_equal(found, exact.astype(np.float32))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2_000:]


@pytest.mark.parametrize("filtered", [False, True])
def test_long_vectors_are_scored_a_few_at_a_time(
    monkeypatch: pytest.MonkeyPatch, filtered: bool
) -> None:
    """A filter copies the codes that it lets through: no more at a time than a stated size."""
    seen: list[int] = []
    real = proxy._sums

    def noted(codes: Any, asked: Any) -> Any:
        seen.append(codes.nbytes)
        return real(codes, asked)

    monkeypatch.setattr(proxy, "_sums", noted)
    monkeypatch.setattr(proxy, "_BYTES", 1000)
    random = np.random.default_rng(0)
    codes = random.integers(-9, 9, (500, 64)).astype(np.int8)
    asked = random.integers(-9, 9, (5, 64)).astype(np.int8)
    places = np.arange(0, 500, 2) if filtered else np.arange(500)
    scales = np.ones(500, np.float32)
    found = proxy.best(codes, scales, asked, 20, places if filtered else None)
    exact = asked.astype(np.int64) @ codes.T.astype(np.int64)
    for own, scores in zip(found, exact, strict=True):
        assert own.tolist() == places[np.lexsort((places, -scores[places]))][:20].tolist()
    assert max(seen) == 15 * 64
    proxy.products(codes, scales, asked)
    assert max(seen) == 15 * 64


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5, 0.998])
def test_codes_are_copied_only_where_few_pass(
    monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    """One row hidden of 20,000 made the scan five times slower."""
    copied: list[bool] = []
    real = proxy._sums

    def noted(held: Any, asked: Any) -> Any:
        copied.append(not np.shares_memory(held, codes))
        return real(held, asked)

    monkeypatch.setattr(proxy, "_sums", noted)
    monkeypatch.setattr(proxy, "_BLOCK", 128)
    random = np.random.default_rng(0)
    codes = random.integers(-3, 4, (1000, 16)).astype(np.int8)
    asked = random.integers(-9, 9, (3, 16)).astype(np.int8)
    scales = random.choice([0.5, 1.0], 1000).astype(np.float32)
    exact = (asked.astype(np.int64) @ codes.T.astype(np.int64)) * scales

    def scanned(places: Any) -> set[bool]:
        copied.clear()
        found = proxy.best(codes, scales, asked, 30, places)
        for own, scores in zip(found, exact, strict=True):
            order = places[np.lexsort((places, -scores[places]))][:30]
            assert own[own >= 0].tolist() == order.tolist()
        return set(copied)

    drawn = np.sort(random.permutation(1000)[: round(share * 1000)])
    assert scanned(drawn) == {share < 0.3}
    mixed = np.concatenate([np.arange(400), np.arange(400, 1000, 50)])
    assert scanned(mixed) == {False, True}, "as it is best in each part"


def test_long_encodings_are_made_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = proxies.encode_documents

    def noted(fde: Any, tokens: Any, **more: Any) -> Any:
        found = real(fde, tokens, **more)
        made.append(found.size)
        return found

    whole = segment_of(cm.Muvera(model=None, proxy_rows=256, fill=True).index(), ragged([2] * 300))
    monkeypatch.setattr(proxies, "encode_documents", noted)
    monkeypatch.setattr(proxies, "_NUMBERS", 10_000)
    index = cm.Muvera(model=None, proxy_rows=256, fill=True).index()
    held = segment_of(index, ragged([2] * 300))
    assert held.proxy is not None
    assert max(made) <= 10_000
    assert made[0] == held.proxy.at_once * held.proxy.size
    np.testing.assert_array_equal(held.codes, whole.codes)
    asked = held.proxy.queries(ragged([3] * 20))
    assert whole.proxy is not None
    monkeypatch.undo()
    np.testing.assert_array_equal(asked, whole.proxy.queries(ragged([3] * 20)))


def test_one_encoding_at_a_time_at_least() -> None:
    long = cm.Muvera(model=None, k_sim=10, r_reps=16, d_proj=16)
    made = proxies.FdeProxy(proxy.fde_of(long, 64), filled=True)
    assert made.size == 1 << 18
    assert made.at_once * made.size <= proxies._NUMBERS
    assert proxies.FdeProxy(proxy.fde_of(cm.Muvera(), 64), filled=True).at_once > 1000


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k_sim": 10, "r_reps": 1000, "d_proj": 4096}, "lower k_sim, r_reps or d_proj, or set d_"),
        ({"k_sim": 10, "r_reps": 17, "d_proj": 16}, "278,528 numbers a passage, more than 262,144"),
        ({"k_sim": 10, "r_reps": 1000, "d_proj": 17, "d_final": 2048}, "before the final proj"),
    ],
)
def test_encodings_of_too_many_numbers_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(cm.InputError, match=message):
        cm.Muvera(**settings)


def test_whole_tokens_are_refused_when_their_width_is_known() -> None:
    whole = {"model": None, "k_sim": 10, "r_reps": 200, "d_proj": None}
    with pytest.raises(cm.InputError, match="200 repetitions of 1024 cells of 8 are 1,638,400"):
        cm.Muvera(**whole).index().accept(ragged([2]))
    cm.Muvera(**whole, target_recall=None).index().accept(ragged([2]))
    cm.Muvera(**whole, d_final=64).index().accept(ragged([2]))


def test_samples_are_tokens_of_documents() -> None:
    vectors = ragged([int(n) for n in np.random.default_rng(3).integers(0, 9, 300)], seed=3)
    tokens = tokens_of(vectors.vectors, vectors.starts)
    queries, sources = tuning.sample(tokens)
    assert len(set(sources.tolist())) == tuning.SAMPLES
    for number, source in enumerate(sources.tolist()):
        own = queries[number : number + 1].vectors
        held = vectors[source : source + 1].vectors
        assert len(own)
        assert any(np.array_equal(own, held[at : at + len(own)]) for at in range(len(held)))


def test_exhaustive_search_goes_to_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once copied, for as long as the segment is open; scores are those of the CPU."""

    class Device:
        def __init__(self, tokens: Any) -> None:
            self.tokens = tokens
            copied.append(self)

    copied: list[Device] = []
    asked: list[Any] = []
    real = searching.search

    def search(queries: Any, tokens: Any, k: int, mask: Any, threads: int) -> Any:
        asked.append(tokens)
        held = tokens.tokens if isinstance(tokens, Device) else tokens
        found = real(queries, held, k, mask, threads=threads)
        rounded = found.scores + np.float32(1e-3) if isinstance(tokens, Device) else found.scores
        return found._replace(scores=rounded)

    index = cm.Muvera(model=None, target_recall=None).index()
    held = segment_of(index, ragged([3] * 300), first=7)
    coded = segment_of(cm.Muvera(model=None, storage="residual4").index(), ragged([3] * 300))
    queries = ragged([4, 2, 5], seed=5)
    through = Allowed(None, np.arange(307) % 3 > 0)
    expected = [index.search([held], queries, 9, allowed) for allowed in (EVERYTHING, through)]
    monkeypatch.setattr("cormorant.indexers.muvera.segment.placed", Device)
    monkeypatch.setattr(searching, "search", search)
    assert held.placed() is held.tokens, "too few rows"
    monkeypatch.setattr("cormorant.indexers.dense.gpu.LEAST_ROWS", 300)
    for allowed, wanted in zip((EVERYTHING, through), expected, strict=True):
        found = index.search([held], queries, 9, allowed)
        np.testing.assert_array_equal(found.rows, wanted.rows)
        np.testing.assert_array_equal(found.scores, wanted.scores)
    assert len(copied) == 1
    assert asked == copied * 2
    assert coded.placed() is coded.tokens, "codes would be widened"
    monkeypatch.setattr("cormorant.indexers.dense.gpu.MOST_BYTES", 100)
    assert held.placed() is held.tokens


def test_a_narrow_filter_goes_through_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each query's own list of all that pass was 32 bytes a row and query, and slower."""
    index = cm.Muvera(model=None, target_recall=None).index()
    held = segment_of(index, ragged([3] * 300), first=7)
    queries = ragged([4, 2, 5, 0], seed=5)
    through = Allowed(None, np.arange(307) % 9 == 0)
    rows = np.flatnonzero(through.selected)
    rows = rows[rows >= 7]
    scores = index.score([held], queries, np.tile(rows, (4, 1)), EVERYTHING)

    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("a list for each query")

    monkeypatch.setattr(searching, "rescore", never)
    for k in (5, 60):
        found = index.search([held], queries, k, through)
        for own, given_, true in zip(found.rows, found.scores, scores, strict=True):
            order = np.lexsort((rows, -true))[:k]
            assert own[own >= 0].tolist() == rows[order].tolist()
            np.testing.assert_array_equal(given_[own >= 0], true[order])
    together = index.search([held], queries, 5, through)
    monkeypatch.undo()
    alone = index.search([held], queries[1:2], 5, through)
    np.testing.assert_array_equal(alone.rows[0], together.rows[1])
    np.testing.assert_array_equal(alone.scores[0], together.scores[1])
    nothing = Allowed(None, np.zeros(307, np.bool_))
    for some in (queries, queries[1:2]):
        assert (index.search([held], some, 5, nothing).rows == -1).all()


def test_a_narrow_filter_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """What passes is scored there, a few queries at a time, and the best of it again here."""

    class Device:
        def __init__(self, tokens: Any) -> None:
            self.tokens = tokens

    pairs: list[int] = []
    real = searching.rescore

    def rescore(queries: Any, tokens: Any, places: Any, starts: Any, threads: int) -> Any:
        if not isinstance(tokens, Device):
            return real(queries, tokens, places, starts, threads=threads)
        pairs.append(len(places))
        return real(queries, tokens.tokens, places, starts, threads=1) + np.float32(1e-3)

    index = cm.Muvera(model=None, target_recall=None).index()
    held = segment_of(index, ragged([3] * 300))
    queries, through = ragged([4, 2, 5, 1, 3], seed=5), Allowed(None, np.arange(300) % 9 == 0)
    expected = index.search([held], queries, 6, through)
    monkeypatch.setattr("cormorant.indexers.muvera.segment.placed", Device)
    monkeypatch.setattr("cormorant.indexers.dense.gpu.LEAST_ROWS", 300)
    monkeypatch.setattr(searching, "rescore", rescore)
    monkeypatch.setattr(searching, "_PAIRS", 80)
    found = index.search([held], queries, 6, through)
    assert pairs == [68, 68, 34]
    np.testing.assert_array_equal(found.rows, expected.rows)
    np.testing.assert_array_equal(found.scores, expected.scores)
    nothing = Allowed(None, np.zeros(300, np.bool_))
    assert (index.search([held], queries, 6, nothing).rows == -1).all()


@pytest.fixture
def segment() -> tuple[MuveraIndex, TokenSegment]:
    index = cm.Muvera(model=None, proxy_rows=256, storage="int8").index()
    lengths = np.random.default_rng(1).integers(0, 6, 400).tolist()
    return index, segment_of(index, ragged(lengths))


def test_a_segment_with_a_proxy_is_sound(segment: tuple[MuveraIndex, TokenSegment]) -> None:
    index, held = segment
    assert held.codes is not None
    assert index.check(held) == []


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("vectors", lambda a: a.astype(np.float32), "vectors is float32"),
        ("starts", lambda a: a[::-1].copy(), "do not ascend"),
        ("starts", lambda a: a[:-1], "do not fit"),
        ("scales", lambda a: a[:-1], "scales do not fit"),
        ("cut", lambda a: a[:-1], "do not fit"),
        ("proxy_codes", lambda a: a[:, :-1], "do not fit the rows"),
        ("proxy_scales", lambda a: a[:-1], "do not fit the rows"),
    ],
)
def test_arrays_that_are_no_segment(
    segment: tuple[MuveraIndex, TokenSegment], name: str, spoil: Any, message: str
) -> None:
    index, held = segment
    with pytest.raises(CormorantError, match=message):
        index.open({**held.arrays, name: spoil(held.arrays[name])}, held.summary)
    missing = {key: value for key, value in held.arrays.items() if key != name}
    with pytest.raises(CormorantError, match="is no multi-vector segment"):
        index.open(missing, held.summary)


def test_another_rows_centroid_is_noticed_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cormorant.indexers.muvera.segment._TOKENS", 50)
    index = cm.Muvera(model=None, storage="residual4").index()
    held = segment_of(index, ragged([3, 0, 70, 2] * 20))
    assert index.check(held) == []
    for token in (0, 2, 3, 700, 1499):
        owners = held.arrays["owners"].copy()
        owners[token] = owners[(token + 200) % 1500]
        opened = index.open({**held.arrays, "owners": owners}, held.summary)
        assert index.check(opened) == ["a token's centroid is another row's"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rows", 7, "rows do not ascend"),
        ("scales", np.nan, "a scale is negative or not finite"),
        ("proxy_codes", 5, "the proxy of row 0 is not that of its vectors"),
        ("cut", True, "the summary is not that of the arrays"),
    ],
)
def test_what_check_finds(
    segment: tuple[MuveraIndex, TokenSegment], name: str, value: Any, message: str
) -> None:
    index, held = segment
    spoilt = held.arrays[name].copy()
    spoilt[0] = value
    opened = index.open({**held.arrays, name: spoilt}, held.summary)
    assert index.check(opened) == [message]
