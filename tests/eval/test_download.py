"""Downloads, with no network: what is kept, and what is refused."""

import hashlib
import io
import socket
import stat
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cormorant.errors import CorruptionError, InputError, UnknownNameError
from cormorant.eval import download
from cormorant.eval.datasets import load_dataset
from cormorant.eval.download import beir_folder, cache_folder
from cormorant.eval.unpack import unpack

FILES = {
    "scifact/corpus.jsonl": b'{"_id": "d1", "text": "x"}\n',
    "scifact/queries.jsonl": b'{"_id": "q1", "text": "x"}\n',
    "scifact/qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def published(monkeypatch):
    monkeypatch.setattr(download, "WAIT_SECONDS", 0.0)
    content = zipped({**FILES, "__MACOSX/scifact/._corpus.jsonl": b"x"})
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(download.BEIR_ZIPS, "scifact", md5)
    return content


def left_in(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


class Mirror(ThreadingHTTPServer):
    """A server of one file. ``cuts``: after how many bytes each answer in turn breaks off."""

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Answer)
        self.content, self.cuts, self.asked, self.ranges = content, [], [], True


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range")
        server.asked.append((self.path, wanted))
        start = int(wanted[6:-1]) if wanted and server.ranges else 0
        if self.path != "/beir/scifact.zip":
            self.send_error(404)
            return
        if start >= len(server.content):
            self.send_error(416)
            return
        body = server.content[start:]
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/*")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)

    def log_message(self, *_):
        pass


@pytest.fixture
def mirror(published, monkeypatch):
    with Mirror(published) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("CORMORANT_BEIR_URL", f"http://127.0.0.1:{server.server_port}/beir/")
        yield server
        server.shutdown()
        thread.join()


def test_downloaded_once_and_kept(tmp_path, mirror):
    seen = []
    for _ in range(2):
        folder = beir_folder("scifact", cache=tmp_path, progress=lambda *now: seen.append(now))
    assert mirror.asked == [("/beir/scifact.zip", None)]
    assert folder == tmp_path / "scifact"
    assert left_in(tmp_path) == sorted(FILES)
    assert seen == [("downloading scifact", len(mirror.content), len(mirror.content))]
    assert load_dataset(folder).queries == {"q1": "x"}


def test_what_was_cut_off_is_gone_on_with(tmp_path, mirror):
    mirror.cuts = [100, 50]
    assert left_in(beir_folder("scifact", cache=tmp_path))
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=100-", "bytes=150-"]
    assert left_in(tmp_path) == sorted(FILES)


def test_a_server_that_sends_nothing_is_asked_again(tmp_path, mirror):
    mirror.cuts = [0, 0, 50, 0, 0]
    beir_folder("scifact", cache=tmp_path)
    asked = [None, None, None, *["bytes=50-"] * 3]
    assert [wanted for _, wanted in mirror.asked] == asked
    assert left_in(tmp_path) == sorted(FILES)


def test_another_process_goes_on_where_the_last_was_killed(tmp_path, mirror):
    (tmp_path / ".scifact.zip.part").write_bytes(mirror.content[:60])
    beir_folder("scifact", cache=tmp_path)
    assert mirror.asked == [("/beir/scifact.zip", "bytes=60-")]
    assert left_in(tmp_path) == sorted(FILES)


def test_killed_between_the_last_byte_and_the_unpacking(tmp_path, mirror):
    (tmp_path / ".scifact.zip.part").write_bytes(mirror.content)
    beir_folder("scifact", cache=tmp_path)
    assert left_in(tmp_path) == sorted(FILES)


def test_a_server_without_ranges_begins_again(tmp_path, mirror):
    mirror.ranges, mirror.cuts = False, [100]
    beir_folder("scifact", cache=tmp_path)
    assert len(mirror.asked) == 2
    assert left_in(tmp_path) == sorted(FILES)


def test_a_server_that_sends_no_more_is_given_up_and_resumed_later(tmp_path, mirror):
    mirror.cuts = [100, 0, 0, 0]
    with pytest.raises(
        InputError, match=r"failed \(it ended after 100 of .* after the\s+100 bytes"
    ):
        beir_folder("scifact", cache=tmp_path)
    assert left_in(tmp_path) == [".scifact.zip.part"]
    beir_folder("scifact", cache=tmp_path)
    assert left_in(tmp_path) == sorted(FILES)


def test_without_a_network_it_says_what_to_do(tmp_path, published, monkeypatch):
    with socket.socket() as unused:  # bound and not listening: refused
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("CORMORANT_BEIR_URL", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(InputError, match=r"failed \(.*refused.*\); connect .*scifact"):
            beir_folder("scifact", cache=tmp_path / "new")


def test_an_absent_zip_is_no_corrupt_one(tmp_path, mirror, monkeypatch):
    monkeypatch.setenv("CORMORANT_BEIR_URL", f"http://127.0.0.1:{mirror.server_port}/elsewhere")
    with pytest.raises(InputError, match=r"elsewhere/scifact\.zip failed \(Not Found\)"):
        beir_folder("scifact", cache=tmp_path)


def test_another_file_than_the_published_is_refused_and_fetched_anew(tmp_path, mirror):
    right = mirror.content
    mirror.content = right[:-30] + bytes([right[-30] ^ 0xFF]) + right[-29:]
    with pytest.raises(CorruptionError, match="is not the published file"):
        beir_folder("scifact", cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
    mirror.content = right
    assert left_in(beir_folder("scifact", cache=tmp_path))


def test_a_published_zip_that_leads_out_of_its_folder(tmp_path, mirror, monkeypatch):
    mirror.content = zipped({**FILES, "scifact/../../outside": b"x"})
    md5 = hashlib.md5(mirror.content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(download.BEIR_ZIPS, "scifact", md5)
    with pytest.raises(CorruptionError, match="leads out of the folder"):
        beir_folder("scifact", cache=tmp_path / "cache")
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not (tmp_path / "cache" / "scifact").exists()


def test_a_download_without_end_is_cut_off(tmp_path, mirror, monkeypatch):
    monkeypatch.setattr(download, "MAX_ZIP_BYTES", 200)
    with pytest.raises(CorruptionError, match="more than 200 bytes"):
        beir_folder("scifact", cache=tmp_path)


def test_only_the_web_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("CORMORANT_BEIR_URL", "file:///etc")
    with pytest.raises(InputError, match="https:// or http://"):
        beir_folder("scifact", cache=tmp_path)


@pytest.mark.parametrize("name", ["../scifact", "etc/passwd", "scifact/../..", "", "SciFact"])
def test_only_the_public_names_are_tried(tmp_path, name):
    with pytest.raises(UnknownNameError, match="one of: arguana, climate-fever, "):
        beir_folder(name, cache=tmp_path)


def test_a_part_of_a_data_set(tmp_path):
    (tmp_path / "cqadupstack" / "android").mkdir(parents=True)
    assert beir_folder("cqadupstack/android", cache=tmp_path).name == "android"
    with pytest.raises(UnknownNameError, match="it has: cqadupstack/android"):
        beir_folder("cqadupstack/cooking", cache=tmp_path)


def test_the_cache_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.setenv("CORMORANT_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path / "datasets"
    monkeypatch.delenv("CORMORANT_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "cormorant" / "datasets"


def member(name, mode=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("../outside"), "leads out of the folder"),
        (member("scifact/../../outside"), "leads out of the folder"),
        (member("/outside"), "leads out of the folder"),
        (member("scifact\\..\\outside"), "leads out of the folder"),
        (member("scifact/link", stat.S_IFLNK | 0o777), "not a plain file"),
        (member("scifact/pipe", stat.S_IFIFO | 0o666), "not a plain file"),
    ],
)
def test_only_plain_files_inside_the_folder_are_unpacked(tmp_path, info, message):
    packed = tmp_path / "scifact.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("scifact/corpus.jsonl", "x")
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(CorruptionError, match=message):
        unpack(io.BytesIO(packed.read_bytes()), "scifact", tmp_path)
    assert left_in(tmp_path) == ["scifact.zip"]


def test_a_bomb_is_not_unpacked(tmp_path):
    packed = tmp_path / "scifact.zip"
    packed.write_bytes(zipped({"scifact/corpus.jsonl": b"0" * (1 << 20)}))
    with pytest.raises(CorruptionError, match="unpacks to 1048576 bytes"):
        unpack(io.BytesIO(packed.read_bytes()), "scifact", tmp_path)


@pytest.mark.parametrize("damage", ["not a zip", "flipped", "other folder"])
def test_damaged_zips(tmp_path, damage):
    content = zipped({"scifact/corpus.jsonl": bytes(range(256)) * 40})
    if damage == "not a zip":
        content = b"<html>"
    elif damage == "flipped":
        content = content[:80] + bytes([content[80] ^ 0xFF]) + content[81:]
    else:
        content = zipped({"other/corpus.jsonl": b"x"})
    with pytest.raises(CorruptionError, match=r"scifact\.zip"):
        unpack(io.BytesIO(content), "scifact", tmp_path)
