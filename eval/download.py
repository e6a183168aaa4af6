"""The public BEIR data sets, downloaded once and kept under their name.

A download is refused unless it is, byte for byte, the zip whose MD5 the BEIR authors publish: a
figure is then measured on the same documents everywhere. It is unpacked beside its place and then
renamed, so that an interrupted one leaves nothing that looks like a data set.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import CorruptionError, InputError, UnknownNameError
from .progress import Progress, silent
from .textfiles import storage_error

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets/{name}.zip"
TIMEOUT_SECONDS = 5.0
MAX_ZIP_BYTES = 8 << 30
MAX_EXPANSION = 50
_BLOCK = 1 << 20

BEIR_ZIPS = {
    "arguana": "8ad3e3c2a5867cdced806d6503f29b99",
    "climate-fever": "8b66f0a9126c521bae2bde127b4dc99d",
    "cqadupstack": "4e41456d7df8ee7760a7f866133bda78",
    "dbpedia-entity": "c2a39eb420a3164af735795df012ac2c",
    "fever": "5a818580227bfb4b35bb6fa46d9b6c03",
    "fiqa": "17918ed23cd04fb15047f73e6c3bd9d9",
    "hotpotqa": "f412724f78b0d91183a0e86805e16114",
    "msmarco": "444067daf65d982533ea17ebd59501e4",
    "nfcorpus": "a89dba18a62ef92f7d323ec890a0d38d",
    "nq": "d4d3d2e48787a744b6f6e691ff534307",
    "quora": "18fb154900ba42a600f84b839c173167",
    "scidocs": "38121350fc3a4d2f48850f6aff52e4a9",
    "scifact": "5f7d1de60b170fc8027bb7898e2efca1",
    "trec-covid": "ce62140cb23feb9becf6270d0d1fe6d1",
    "webis-touche2020": "46f650ba5a527fc69e0a6521c5a23563",
}
"""Name -> MD5 of its zip, as BEIR's README lists them."""

NOT_PUBLIC = ("bioasq", "robust04", "signal1m", "trec-news")
"""BEIR data sets that their owners do not allow to be passed on."""

OpenUrl = Callable[[str], AbstractContextManager[IO[bytes]]]


def cache_folder() -> Path:
    """Where data sets are kept: ``$CORMORANT_CACHE/datasets``, else in ``~/.cache/cormorant``."""
    root = os.environ.get("CORMORANT_CACHE") or "~/.cache/cormorant"
    return Path(root).expanduser() / "datasets"


def open_url(url: str) -> AbstractContextManager[IO[bytes]]:
    """Open a web address for reading; gives up after five silent seconds."""
    opened: Any = urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS)  # noqa: S310 - one https URL
    return opened  # type: ignore[no-any-return]


def beir_folder(
    name: str,
    *,
    cache: Path | None = None,
    open_url: OpenUrl = open_url,
    progress: Progress = silent,
) -> Path:
    """The folder of a public BEIR data set, downloaded when it is not in the cache yet.

    ``name``: one of :data:`BEIR_ZIPS`; a part of one has a slash, ``cqadupstack/android``.

    Raises :class:`~cormorant.errors.UnknownNameError`, listing the names, for another name;
    :class:`~cormorant.errors.InputError`, saying what to do, when it cannot be downloaded;
    :class:`~cormorant.errors.CorruptionError` when what arrives is not the published file or holds
    anything but plain files in its own folder; :class:`~cormorant.errors.StorageError` when it
    cannot be kept.
    """
    head, _, rest = name.partition("/")
    if head not in BEIR_ZIPS or ".." in PurePosixPath(rest).parts:
        raise UnknownNameError(_unknown_message(name))
    cache = cache_folder() if cache is None else cache
    if not (cache / head).is_dir():
        _fetch(head, cache, open_url, progress)
    folder = cache / head / rest
    if not folder.is_dir():
        parts = sorted(f"{head}/{part.name}" for part in (cache / head).iterdir() if part.is_dir())
        raise UnknownNameError(f"{name!r} is not a part of {head}; it has: {', '.join(parts)}")
    return folder


def _unknown_message(name: str) -> str:
    reason = "is neither a folder nor the name of a public BEIR data set"
    if name in NOT_PUBLIC:
        reason = "is a BEIR data set that its owner does not allow to be downloaded by this name"
    return f"{name!r} {reason}; give a folder in BEIR's layout, or one of: {', '.join(BEIR_ZIPS)}"


def _fetch(name: str, cache: Path, open_url: OpenUrl, progress: Progress) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}.", dir=cache))
    except OSError as error:
        raise storage_error(cache, error) from None
    try:
        packed = scratch / f"{name}.zip"
        md5 = _download(name, packed, cache, open_url, progress)
        if md5 != BEIR_ZIPS[name]:
            raise CorruptionError(
                BEIR_URL.format(name=name),
                f"what arrived (MD5 {md5}) is not the published file (MD5 {BEIR_ZIPS[name]}); try "
                f"again, or unpack a copy that you trust to {cache / name}",
            )
        unpack(packed, name, scratch)
        (scratch / name).rename(cache / name)
    except OSError as error:
        if not (cache / name).is_dir():  # another process was first
            raise storage_error(cache / name, error) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _download(name: str, packed: Path, cache: Path, open_url: OpenUrl, progress: Progress) -> str:
    """Write the zip to ``packed``; returns its MD5."""
    url = BEIR_URL.format(name=name)
    md5 = hashlib.md5(usedforsecurity=False)
    size = 0
    with packed.open("wb") as target:
        try:
            with open_url(url) as source:
                while block := source.read(_BLOCK):
                    size += len(block)
                    if size > MAX_ZIP_BYTES:
                        raise CorruptionError(url, f"more than {MAX_ZIP_BYTES} bytes")
                    md5.update(block)
                    _write(target, block, packed)
                    progress(f"downloading {name}", size, None)
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise InputError(
                f"{name!r} is not a folder here, and downloading it from {url} failed ({reason}); "
                f"connect to the network, or unpack that zip on another machine and give the "
                f"folder, or put it at {cache / name}"
            ) from None
    return md5.hexdigest()


def _write(target: IO[bytes], block: bytes, packed: Path) -> None:
    try:
        target.write(block)
    except OSError as error:
        raise storage_error(packed, error) from None


def unpack(packed: Path, name: str, folder: Path) -> None:
    """Unpack ``name/...`` of a zip into ``folder``: plain files, inside their folder, and bounded.

    Members beside ``name/`` are left out. Raises :class:`~cormorant.errors.CorruptionError` for a
    path that leads elsewhere, a link or device, an encrypted or damaged member, or more than 50
    bytes for each of the zip's.
    """
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                _check_member(member, packed)
            if len({member.filename for member in members}) != len(members):
                raise CorruptionError(packed.name, "a name occurs twice in this zip")
            unpacked = sum(member.file_size for member in members)
            if unpacked > MAX_EXPANSION * packed.stat().st_size:
                raise CorruptionError(packed.name, f"unpacks to {unpacked} bytes")
            for member in members:
                path = PurePosixPath(member.filename)
                if path.parts[0] != name:
                    continue
                target = folder.joinpath(*path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise CorruptionError(packed.name, f"not a zip that can be unpacked: {error}") from None
    if not (folder / name).is_dir():
        raise CorruptionError(packed.name, f"no folder {name!r} in this zip")


def _check_member(member: zipfile.ZipInfo, packed: Path) -> None:
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or not path.parts:
        raise CorruptionError(packed.name, f"the path {member.filename!r} leads out of the folder")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise CorruptionError(packed.name, f"{member.filename!r} is not a plain file")
    if member.flag_bits & 0x1:
        raise CorruptionError(packed.name, f"{member.filename!r} is encrypted")
