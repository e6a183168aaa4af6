"""Encodings as product codes, and centred by the mean of a segment's tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cormorant as cm
from cormorant.contracts import EVERYTHING, Allowed
from cormorant.errors import CormorantError
from cormorant.indexers.muvera import coded, proxies, proxy
from cormorant.indexers.muvera.coded import Coded
from cormorant.indexers.muvera.index import MuveraIndex
from cormorant.indexers.muvera.proxies import FdeProxy
from cormorant.indexers.muvera.segment import TokenSegment
from cormorant.kernels.maxsim import tokens_of
from cormorant.vectors import TokenVectors

from .test_muvera import DIM, Sink, segment_of
from .test_muvera_proxies import clustered

N = 600
WAYS = ({"codes": "pq"}, {"centre": True}, {"codes": "pq", "centre": True})


def index_of(**more: Any) -> MuveraIndex:
    return cm.Muvera(
        **{"model": None, "proxy_rows": 256, "d_proj": None, "fill": True} | more
    ).index()


def moved(n: int, seed: int) -> TokenVectors:
    """Token vectors that all lie to one side, as many models' do."""
    made = clustered(n, seed)
    vectors = made.vectors + np.linspace(0, 0.2, DIM, dtype=np.float32)
    return TokenVectors(made.starts, vectors)


def merged(index: MuveraIndex, segments: list[TokenSegment], keep: Any = None) -> TokenSegment:
    sink = Sink()
    summary = index.merge(segments, keep or [None] * len(segments), sink)
    return index.open(sink.arrays, summary)


@pytest.mark.parametrize("way", WAYS)
def test_a_search_finds_what_exhaustive_search_finds(way: dict[str, Any]) -> None:
    index = index_of(**way)
    segment = segment_of(index, moved(N, 1))
    assert index.check(segment) == []
    facts = index.describe([segment])
    assert facts["recall@10"] >= 0.95
    assert facts["candidates@10"] < N / 2, "or everything was scored anyhow"
    queries = moved(60, 7)
    found = index.search([segment], queries, 10, EVERYTHING)
    assert "approximate" in found.flags[0]
    exact = index_of(target_recall=None).search([segment], queries, 10, EVERYTHING)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)]
    assert np.mean(shares) >= 0.95
    for number in range(0, 60, 9):
        alone = index.search([segment], queries[number : number + 1], 10, EVERYTHING)
        np.testing.assert_array_equal(alone.rows[0], found.rows[number])
    reason = index.explain([segment], queries[:1], found.rows[0, :1].tolist(), EVERYTHING)[0]
    assert reason["listed"] >= 1


@pytest.mark.parametrize("way", WAYS)
def test_a_filter_lets_only_its_rows_through(way: dict[str, Any]) -> None:
    index = index_of(**way)
    segment = segment_of(index, moved(N, 1))
    through = np.arange(N) % 3 > 0
    queries = moved(20, 7)
    found = index.search([segment], queries, 10, Allowed(None, through))
    assert "approximate" in found.flags[0]
    assert through[found.rows].all()
    exact = index_of(target_recall=None).search([segment], queries, 10, Allowed(None, through))
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)]
    assert np.mean(shares) >= 0.9


@pytest.mark.parametrize("way", WAYS)
def test_opened_again_it_is_the_same(way: dict[str, Any]) -> None:
    index = index_of(**way)
    held = segment_of(index, moved(N, 1))
    again = index.open({name: a.copy() for name, a in held.arrays.items()}, held.summary)
    queries = moved(20, 7)
    assert again.proxy is not None and held.proxy is not None
    assert again.proxy.identity == held.proxy.identity
    one, other = (index.search([s], queries, 10, EVERYTHING) for s in (held, again))
    np.testing.assert_array_equal(one.rows, other.rows)
    np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize("way", WAYS)
def test_a_merge_keeps_the_largest_segments_proxy_and_its_vectors(way: dict[str, Any]) -> None:
    index = index_of(**way)
    large, small = segment_of(index, moved(N, 1)), segment_of(index, moved(300, 2), N)
    assert large.proxy is not None and small.proxy is not None
    assert large.proxy.identity != small.proxy.identity
    keep = np.arange(N) % 5 > 0
    whole = merged(index, [large, small], [keep, None])
    assert index.check(whole) == []
    assert whole.proxy is not None and whole.codes is not None and large.codes is not None
    assert whole.proxy.identity == large.proxy.identity
    np.testing.assert_array_equal(whole.codes[: keep.sum()], large.codes[keep])
    exact = index_of(target_recall=None).search([whole], moved(20, 7), 10, EVERYTHING)
    found = index.search([whole], moved(20, 7), 10, EVERYTHING)
    shares = [len(set(a) & set(b)) / 10 for a, b in zip(found.rows, exact.rows, strict=True)]
    assert np.mean(shares) >= 0.9


def test_what_was_learned_of_few_documents_is_learned_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    index = index_of(codes="pq", centre=True)
    pieces = [segment_of(index, moved(300, n), 300 * n) for n in range(3)]
    assert merged(index, pieces).summary["proxy"]["chosen_on"] == 300
    monkeypatch.setattr("cormorant.indexers.muvera.writing._GROWN", 2)
    assert merged(index, pieces).summary["proxy"]["chosen_on"] == 900


def test_codes_are_a_byte_for_eight_numbers() -> None:
    index = index_of(codes="pq", r_reps=3, d_proj=5, k_sim=1)
    segment = segment_of(index, moved(N, 1))
    assert isinstance(segment.proxy, Coded)
    assert segment.proxy.plain.size == 30, "no whole groups: zeros fill the last"
    assert segment.codes is not None and segment.code_scales is not None
    assert (segment.codes.dtype, segment.codes.shape) == (np.uint8, (N, 4))
    queries = moved(9, 7)
    asked = segment.proxy.plain.asked(queries)
    meant = segment.proxy.product.decode(segment.codes)[:, :30] * segment.code_scales[:, None]
    found = proxy.products(segment.codes, segment.code_scales, segment.proxy.queries(queries))
    np.testing.assert_allclose(found, asked @ meant.T, rtol=1e-4, atol=1e-3)
    assert segment.tokens is not None
    true = segment.proxy.plain.encoded(segment.tokens, 1)
    assert np.linalg.norm(meant - true) < 0.5 * np.linalg.norm(true)


def test_a_long_document_and_a_short_one_have_the_same_code() -> None:
    """A code is of the direction: a document's length is its scale."""
    index = index_of(codes="pq", fill=False)  # of equally near tokens a fill is by their bits
    segment = segment_of(index, moved(N, 1))
    assert segment.proxy is not None and segment.tokens is not None and segment.codes is not None
    twice = segment.tokens._replace(vectors=segment.tokens.vectors * np.float16(2))
    made = segment.proxy.documents(twice, 1)
    np.testing.assert_array_equal(made.codes, segment.codes)
    np.testing.assert_allclose(made.scales, 2 * segment.code_scales, rtol=1e-6)


def test_documents_without_tokens_have_no_length() -> None:
    lengths = np.random.default_rng(0).integers(0, 3, N)
    vectors = moved(N, 1).vectors[: lengths.sum()]
    index = index_of(codes="pq", centre=True)
    segment = segment_of(index, TokenVectors(np.concatenate([[0], np.cumsum(lengths)]), vectors))
    assert index.check(segment) == []
    assert segment.code_scales is not None
    np.testing.assert_array_equal(segment.code_scales == 0, lengths == 0)


def test_the_centroids_are_learned_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    learned = []
    real = coded.product_quantiser

    def noted(sample: np.ndarray, *more: Any, **named: Any) -> Any:
        learned.append(sample.shape)
        return real(sample, *more, **named)

    monkeypatch.setattr(coded, "product_quantiser", noted)
    monkeypatch.setattr(coded, "_NUMBERS", 300 * 96)
    segment_of(index_of(codes="pq", r_reps=12, d_proj=1), moved(N, 1))
    monkeypatch.setattr(coded, "_NUMBERS", 1)
    segment_of(index_of(codes="pq", r_reps=12, d_proj=1), moved(N, 1))
    assert learned == [(300, 96), (256, 96)]


@pytest.mark.parametrize("storage", ["float16", "int8", "residual4"])
def test_the_mean_is_that_of_the_segments_stored_tokens(
    monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setattr(proxy, "_TOKENS", 100)  # in many parts
    monkeypatch.setattr(proxies, "_NUMBERS", 50 * 20 * 8 * DIM)  # encoded in many batches
    segment = segment_of(index_of(centre=True, storage=storage), moved(N, 1))
    assert isinstance(segment.proxy, FdeProxy) and segment.tokens is not None
    assert segment.proxy.at_once == 50
    mean = segment.tokens.widened(0, len(segment.vectors)).mean(axis=0)
    np.testing.assert_allclose(segment.arrays["proxy_mean"], mean, rtol=1e-5)
    assert segment.codes is not None
    whole = segment.proxy.documents(segment.tokens, 1)
    np.testing.assert_array_equal(whole.codes, segment.codes)
    plain = FdeProxy(segment.proxy.fde, True).documents(segment.tokens, 1)
    assert (plain.codes != whole.codes).any()


def test_centring_is_tried_where_it_is_left_open() -> None:
    index = index_of(centre=None, fill=None)
    segment = segment_of(index, moved(N, 1))
    tried = index.describe([segment])["tried"][0]
    assert set(tried) == {"fde filled", "fde", "fde filled centred", "fde centred"}
    best = min(tried, key=tried.get)
    facts = segment.summary["proxy"]
    assert (facts["filled"], facts["centred"]) == ("filled" in best, "centred" in best)
    assert ("proxy_mean" in segment.arrays) == facts["centred"]
    untried = segment_of(index_of(fill=None), moved(N, 1)).summary["proxy"]
    assert set(untried["tried"]) == {"fde filled", "fde"}
    assert "centred" not in untried or untried["centred"] is False


def test_a_tokens_centre_is_found_by_a_mean_that_is_not_zero() -> None:
    """Vectors far to one side all fall into a few cells, unless their mean is taken from them."""
    made = clustered(N, 1)
    far = TokenVectors(made.starts, made.vectors + np.float32(3))
    tokens = tokens_of(far.vectors, far.starts)
    fde = proxy.fde_of(cm.Muvera(model=None, d_proj=None, r_reps=4), DIM)
    plain = FdeProxy(fde, filled=False).encoded(tokens, 1)
    centred = FdeProxy(fde, filled=False, mean=proxy.mean_of(tokens)).encoded(tokens, 1)
    assert np.count_nonzero(centred) > 2 * np.count_nonzero(plain)


@pytest.mark.parametrize(
    ("name", "spoil", "message"),
    [
        ("proxy_codes", lambda a: a.view(np.int8), "do not fit the rows"),
        ("proxy_codes", lambda a: a[:, :-1], "do not fit the rows"),
        ("proxy_scales", lambda a: a[:-1], "do not fit the rows"),
        ("proxy_centroids", lambda a: a[:-1], "centroids do not fit"),
        ("proxy_centroids", lambda a: a[:, :255], "centroids do not fit"),
        ("proxy_centroids", lambda a: a * np.float32(np.nan), "centroids are not finite"),
        ("proxy_centroids", lambda a: a.astype(np.float64), "centroids are not there"),
        ("proxy_mean", lambda a: a[:-1], "mean does not fit"),
        ("proxy_mean", lambda a: a * np.float32(np.inf), "mean does not fit"),
        ("proxy_mean", lambda a: a.astype(np.float64), "mean is not there"),
    ],
)
def test_arrays_that_are_no_proxy(name: str, spoil: Any, message: str) -> None:
    index = index_of(codes="pq", centre=True)
    held = segment_of(index, moved(300, 1))
    with pytest.raises(CormorantError, match=message):
        index.open({**held.arrays, name: spoil(held.arrays[name])}, held.summary)
    with pytest.raises(CormorantError, match="is no multi-vector segment"):
        index.open({k: v for k, v in held.arrays.items() if k != name}, held.summary)


@pytest.mark.parametrize("name", ["proxy_codes", "proxy_scales", "proxy_centroids", "proxy_mean"])
def test_check_finds_a_proxy_of_other_vectors(name: str) -> None:
    index = index_of(codes="pq", centre=True)
    held = segment_of(index, moved(300, 1))
    opened = index.open({**held.arrays, name: held.arrays[name][::-1].copy()}, held.summary)
    assert index.check(opened) == ["the proxy of row 0 is not that of its vectors"]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"codes": "int4"}, "codes"),
        ({"codes": "pq", "proxy": "lemur"}, "codes"),
        ({"codes": "pq", "proxy": "auto"}, "codes"),
        ({"codes": "pq", "ann": cm.Spann()}, "codes"),
        ({"centre": 1}, "centre"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(cm.InputError, match=field):
        cm.Muvera(**settings)
