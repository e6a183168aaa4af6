"""A model read straight from its files is the model that sentence-transformers reads."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cormorant.errors import ModelNotFoundError
from cormorant.indexers.encoders import encoder, hub
from cormorant.indexers.encoders.direct import read_plain
from cormorant.indexers.encoders.files import check_files
from cormorant.indexers.encoders.models import MINILM, find_model

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from tiny_models import make_model  # noqa: E402

TEXTS = ["", "A cormorant dives deep.", "我 爱 Ünïcode \U0001f426 a\u0301 x\u0000y", "Fish " * 300]


@pytest.fixture(autouse=True)
def quiet_and_offline(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import torch

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    logging.getLogger("sentence_transformers").setLevel(logging.ERROR)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _both(monkeypatch: pytest.MonkeyPatch, folder: Path) -> tuple[Any, Any]:
    """The encoder read directly, and the one read through sentence-transformers."""
    monkeypatch.setattr(encoder, "_loaded", {})
    direct = encoder.load_encoder(str(folder), precision="float32", device="cpu")
    monkeypatch.setattr(encoder, "_loaded", {})
    monkeypatch.setattr(encoder, "read_plain", lambda *_: None)
    return direct, encoder.load_encoder(str(folder), precision="float32", device="cpu")


def _assert_same(direct: Any, through: Any) -> None:
    for fact in ("identity", "dim", "max_tokens", "engine", "query_prompt", "document_prompt"):
        assert getattr(direct, fact) == getattr(through, fact), fact
    for role in ("encode_query", "encode_document"):
        own, other = getattr(direct, role)(TEXTS), getattr(through, role)(TEXTS)
        assert np.array_equal(own.vectors, other.vectors)
        assert np.array_equal(own.cut, other.cut)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"pooling": "cls", "normalize": False},
        {"prompts": {"query": "query: ", "document": "passage: "}},
        {"activation": "relu", "window": 16},
    ],
)
def test_both_ways_give_the_same_vectors(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_model(tmp_path, **options)
    import torch

    assert read_plain(check_files(folder), torch.float32) is not None, "it went the long way"
    _assert_same(*_both(monkeypatch, folder))


def test_both_ways_give_the_same_vectors_of_minilm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "download", _no_network)
    try:
        folder = find_model(MINILM).path
    except ModelNotFoundError as error:
        pytest.skip(f"all-MiniLM-L6-v2 is not on this machine: {error}")
    _assert_same(*_both(monkeypatch, folder))


def _no_network(*_: object) -> Path:
    raise LookupError("tests do not ask the hub")


def _without(file: str) -> Callable[[Path], None]:
    return lambda folder: (folder / file).unlink()


def _changed(file: str, **values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **values}))

    return change


@pytest.mark.parametrize(
    "unusual",
    [
        _without("tokenizer.json"),
        _without("sentence_bert_config.json"),
        _changed("sentence_bert_config.json", do_lower_case=True),
        _changed("sentence_bert_config.json", max_seq_length=5_000),
        _changed("tokenizer_config.json", do_lower_case=False),
        _changed("config.json", model_type="distilbert"),
        _changed("config.json", hidden_act="silu"),
        _changed("1_Pooling/config.json", include_prompt=False),
        _changed("1_Pooling/config.json", pooling_mode="max", pooling_mode_max_tokens=True),
        _changed("config.json", num_hidden_layers=3),
    ],
)
def test_what_is_unusual_goes_the_long_way(unusual: Callable[[Path], None], tmp_path: Path) -> None:
    import torch

    folder = make_model(tmp_path)
    unusual(folder)
    assert read_plain(check_files(folder), torch.float32) is None


def test_a_plain_model_imports_neither_transformers_nor_sentence_transformers(
    tmp_path: Path,
) -> None:
    """Their import takes several seconds, of every search on the command line."""
    code = (
        "import sys\n"
        "from cormorant.indexers.encoders.encoder import load_encoder\n"
        f"load_encoder({str(make_model(tmp_path))!r}, device='cpu').encode_query(['deep'])\n"
        "heavy = {'transformers', 'sentence_transformers', 'sklearn'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
