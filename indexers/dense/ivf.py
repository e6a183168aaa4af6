"""FAISS's inverted lists as arrays: centroids, each vector's list, and its code where quantised."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...contracts import Array, ArraySink, Float32Array, Int64Array
from ...documents import JsonObject
from ...errors import CormorantError, InputError
from .settings import IVF

_POINTS_PER_LIST = 39
"""FAISS's own least number of training points for a centroid."""
PQ_LEAST_ROWS = 256 * _POINTS_PER_LIST


def build(vectors: Float32Array, settings: IVF, sink: ArraySink) -> JsonObject:
    """Write ``ivf_centroids`` (lists, dim) and ``ivf_lists`` (n,).

    Quantised, also ``ivf_codes`` (n, bytes) and ``ivf_trained``, what the quantiser learned.
    """
    import faiss

    n, dim = vectors.shape
    lists = min(settings.lists or 4 * math.isqrt(n), max(1, n // _POINTS_PER_LIST))
    if settings.quantizer == "pq" and dim % settings.pq_bytes:
        raise InputError(f"divides the dimension {dim}, got {settings.pq_bytes}", field="pq_bytes")
    summary: JsonObject = {"lists": lists, "quantizer": settings.quantizer}
    if settings.quantizer == "pq":
        summary["pq_bytes"] = settings.pq_bytes
    index = _empty(dim, summary)
    index.train(vectors)
    index.add(vectors)
    sink.put("ivf_centroids", index.quantizer.reconstruct_n(0, lists))
    numbers = sink.create("ivf_lists", np.int32, (n,))
    quantised = settings.quantizer != "none"
    size = index.code_size
    codes = sink.create("ivf_codes", np.uint8, (n, size)) if quantised else None
    for number in range(lists):
        length = index.invlists.list_size(number)
        if length == 0:
            continue
        places = faiss.rev_swig_ptr(index.invlists.get_ids(number), length)
        numbers[places] = number
        if codes is not None:
            held = faiss.rev_swig_ptr(index.invlists.get_codes(number), length * size)
            codes[places] = held.reshape(length, size)
    if quantised:
        sink.put("ivf_trained", faiss.vector_to_array(_learned(index)))
    return summary


def opened(arrays: Mapping[str, Array], summary: JsonObject) -> Any:
    """The lists, filled.

    Raises :class:`~cormorant.errors.CormorantError` for arrays that do not fit together.
    """
    import faiss

    problems = problems_of(arrays, summary)
    if problems:
        raise CormorantError(f"the inverted lists of this index cannot be used: {problems[0]}")
    vectors, numbers = arrays["vectors"], arrays["ivf_lists"]
    index = _empty(vectors.shape[1], summary)
    index.quantizer.add(np.ascontiguousarray(arrays["ivf_centroids"]))
    held = vectors
    if "ivf_codes" in arrays:
        held = arrays["ivf_codes"]
        faiss.copy_array_to_vector(np.array(arrays["ivf_trained"], np.float32), _learned(index))
    order = np.argsort(numbers, kind="stable")
    ends = np.cumsum(np.bincount(numbers, minlength=summary["lists"]))
    start = 0
    for number, end in enumerate(ends.tolist()):
        places = order[start:end]
        if end > start:
            codes = np.ascontiguousarray(held[places]).view(np.uint8)
            index.invlists.add_entries(
                number, end - start, faiss.swig_ptr(places), faiss.swig_ptr(codes)
            )
        start = end
    index.is_trained = True
    index.ntotal = len(vectors)
    if summary["quantizer"] == "pq":
        index.precompute_table()
    return index


def search(index: Any, queries: Float32Array, k: int, probes: int, selector: Any) -> Int64Array:
    """Places (n_queries, k), -1 for none."""
    import faiss

    parameters = faiss.SearchParametersIVF(nprobe=probes)
    if selector is not None:
        parameters.sel = selector
    places: Int64Array = index.search(queries, k, params=parameters)[1]
    return places


def problems_of(arrays: Mapping[str, Array], summary: JsonObject) -> list[str]:
    """Arrays that do not fit together."""
    n, dim = arrays["vectors"].shape
    lists = summary["lists"]
    types = {"ivf_centroids": "<f4", "ivf_lists": "<i4"}
    if summary["quantizer"] != "none":
        types |= {"ivf_codes": "|u1", "ivf_trained": "<f4"}
    if any(name not in arrays or arrays[name].dtype != type_ for name, type_ in types.items()):
        return ["the inverted lists are not there"]
    numbers = arrays["ivf_lists"]
    if arrays["ivf_centroids"].shape != (lists, dim):
        return ["the centroids do not fit the vectors"]
    if numbers.shape != (n,) or (n and (numbers.min() < 0 or numbers.max() >= lists)):
        return ["a vector is in no list"]
    if summary["quantizer"] != "none":
        index = _empty(dim, summary)
        if arrays["ivf_codes"].shape != (n, index.code_size):
            return ["the codes do not fit the vectors"]
        if arrays["ivf_trained"].size != _learned_size(dim, summary):
            return ["the quantiser does not fit the vectors"]
    return []


def _empty(dim: int, summary: JsonObject) -> Any:
    import faiss

    metric, lists, quantizer = faiss.METRIC_INNER_PRODUCT, summary["lists"], summary["quantizer"]
    coarse = faiss.IndexFlatIP(dim)
    if quantizer == "none":
        index = faiss.IndexIVFFlat(coarse, dim, lists, metric)
    elif quantizer == "pq":
        index = faiss.IndexIVFPQ(coarse, dim, lists, summary["pq_bytes"], 8, metric)
    else:
        types = {
            "fp16": faiss.ScalarQuantizer.QT_fp16,
            "sq8": faiss.ScalarQuantizer.QT_8bit,
            "sq6": faiss.ScalarQuantizer.QT_6bit,
            "sq4": faiss.ScalarQuantizer.QT_4bit,
        }
        index = faiss.IndexIVFScalarQuantizer(coarse, dim, lists, types[quantizer], metric)
    coarse.this.disown()
    index.own_fields = True
    return index


def _learned(index: Any) -> Any:
    """The numbers that a quantiser learned."""
    return index.pq.centroids if hasattr(index, "pq") else index.sq.trained


def _learned_size(dim: int, summary: JsonObject) -> int:
    if summary["quantizer"] == "pq":
        return 256 * dim
    return 0 if summary["quantizer"] == "fp16" else 2 * dim
