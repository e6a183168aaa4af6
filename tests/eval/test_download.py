"""Downloads, with no network: what is kept, and what is refused."""

import hashlib
import io
import stat
import urllib.error
import zipfile

import pytest

from cormorant.errors import CorruptionError, InputError, UnknownNameError
from cormorant.eval import download
from cormorant.eval.datasets import load_dataset
from cormorant.eval.download import beir_folder, cache_folder, unpack

FILES = {
    "scifact/corpus.jsonl": b'{"_id": "d1", "text": "x"}\n',
    "scifact/queries.jsonl": b'{"_id": "q1", "text": "x"}\n',
    "scifact/qrels/test.tsv": b"query-id\tcorpus-id\tscore\nq1\td1\t1\n",
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*_, **__):
        pytest.fail("a test reached for the network")

    monkeypatch.setattr("urllib.request.urlopen", refuse)


def zipped(files):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@pytest.fixture
def published(monkeypatch):
    content = zipped({**FILES, "__MACOSX/scifact/._corpus.jsonl": b"x"})
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setitem(download.BEIR_ZIPS, "scifact", md5)
    return content


def left_in(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def test_downloaded_once_and_kept(tmp_path, published, monkeypatch):
    asked, seen = [], []

    def open_url(url):
        asked.append(url)
        return io.BytesIO(published)

    for _ in range(2):
        folder = beir_folder(
            "scifact", cache=tmp_path, open_url=open_url, progress=lambda *now: seen.append(now)
        )
    assert asked == [
        "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/scifact.zip"
    ]
    assert folder == tmp_path / "scifact"
    assert left_in(tmp_path) == sorted(FILES)
    assert seen == [("downloading scifact", len(published), None)]
    assert load_dataset(folder).queries == {"q1": "x"}


def test_without_a_network_it_says_what_to_do(tmp_path):
    def open_url(url):
        raise urllib.error.URLError("Name or service not known")

    with pytest.raises(
        InputError, match=r"failed \(Name or service not known\); connect .*scifact"
    ):
        beir_folder("scifact", cache=tmp_path / "new", open_url=open_url)
    assert left_in(tmp_path) == []


def test_a_connection_that_breaks_leaves_nothing(tmp_path, published):
    class Broken(io.BytesIO):
        def read(self, size=-1):
            if self.tell():
                raise TimeoutError("timed out")
            return super().read(10)

    with pytest.raises(InputError, match=r"failed \(timed out\)"):
        beir_folder("scifact", cache=tmp_path, open_url=lambda _: Broken(published))
    assert list(tmp_path.iterdir()) == []


def test_another_file_than_the_published_is_refused(tmp_path, published):
    other = zipped({**FILES, "scifact/corpus.jsonl": b'{"_id": "d1", "text": "forged"}\n'})
    with pytest.raises(CorruptionError, match="is not the published file"):
        beir_folder("scifact", cache=tmp_path, open_url=lambda _: io.BytesIO(other))
    assert list(tmp_path.iterdir()) == []


def test_a_download_without_end_is_cut_off(tmp_path, monkeypatch):
    class Endless(io.RawIOBase):
        def read(self, size=-1):
            return b"x" * size

    monkeypatch.setattr(download, "MAX_ZIP_BYTES", 1 << 22)
    with pytest.raises(CorruptionError, match="more than 4194304 bytes"):
        beir_folder("scifact", cache=tmp_path, open_url=lambda _: Endless())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["../scifact", "etc/passwd", "scifact/../..", "", "SciFact"])
def test_only_the_public_names_are_tried(tmp_path, name):
    with pytest.raises(UnknownNameError, match="one of: arguana, climate-fever, "):
        beir_folder(name, cache=tmp_path, open_url=lambda _: pytest.fail("was tried"))


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
        unpack(packed, "scifact", tmp_path)
    assert left_in(tmp_path) == ["scifact.zip"]


def test_a_bomb_is_not_unpacked(tmp_path):
    packed = tmp_path / "scifact.zip"
    packed.write_bytes(zipped({"scifact/corpus.jsonl": b"0" * (1 << 20)}))
    with pytest.raises(CorruptionError, match="unpacks to 1048576 bytes"):
        unpack(packed, "scifact", tmp_path)


@pytest.mark.parametrize("damage", ["not a zip", "flipped", "other folder"])
def test_damaged_zips(tmp_path, damage):
    content = zipped({"scifact/corpus.jsonl": bytes(range(256)) * 40})
    if damage == "not a zip":
        content = b"<html>"
    elif damage == "flipped":
        content = content[:80] + bytes([content[80] ^ 0xFF]) + content[81:]
    else:
        content = zipped({"other/corpus.jsonl": b"x"})
    (tmp_path / "scifact.zip").write_bytes(content)
    with pytest.raises(CorruptionError, match=r"scifact\.zip"):
        unpack(tmp_path / "scifact.zip", "scifact", tmp_path)
