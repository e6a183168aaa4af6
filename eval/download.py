"""The public BEIR data sets, downloaded once and kept under their name.

A download is refused unless it is, byte for byte, the zip whose MD5 the BEIR authors publish: a
figure is then measured on the same documents everywhere. What has arrived stays in
``.<name>.zip.part``, where the next attempt goes on; whole and checked, it is unpacked beside its
place and then renamed, so that an interrupted one leaves nothing that looks like a data set.
``$CORMORANT_BEIR_URL`` names a mirror: the address of a folder with the same zips.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ..errors import CorruptionError, InputError, UnknownNameError
from .progress import Progress, silent
from .textfiles import storage_error
from .unpack import unpack

BEIR_URL = "https://public.ukp.informatik.tu-darmstadt.de/thakur/BEIR/datasets"
MIRROR = "CORMORANT_BEIR_URL"
TIMEOUT_SECONDS = 30.0
TRIES = 3
WAIT_SECONDS = 1.0
MAX_ZIP_BYTES = 8 << 30
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


def cache_folder() -> Path:
    """Where data sets are kept: ``$CORMORANT_CACHE/datasets``, else in ``~/.cache/cormorant``."""
    root = os.environ.get("CORMORANT_CACHE") or "~/.cache/cormorant"
    return Path(root).expanduser() / "datasets"


def beir_folder(name: str, *, cache: Path | None = None, progress: Progress = silent) -> Path:
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
        _fetch(head, cache, progress)
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


def _fetch(name: str, cache: Path, progress: Progress) -> None:
    url, part = _url(name), cache / f".{name}.zip.part"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with part.open("a+b") as packed:
            fcntl.flock(packed, fcntl.LOCK_EX)
            if (cache / name).is_dir():  # another process was first
                return
            _download(name, url, packed, cache / name, progress)
            packed.seek(0)
            md5 = hashlib.file_digest(packed, _md5).hexdigest()
            if md5 != BEIR_ZIPS[name]:
                part.unlink(missing_ok=True)
                raise CorruptionError(
                    url,
                    f"what arrived (MD5 {md5}) is not the published file (MD5 {BEIR_ZIPS[name]}); "
                    f"try again, or unpack a copy that you trust to {cache / name}",
                )
            with tempfile.TemporaryDirectory(prefix=f".{name}.", dir=cache) as scratch:
                unpack(packed, name, Path(scratch))
                (Path(scratch) / name).rename(cache / name)
            part.unlink(missing_ok=True)
    except OSError as error:
        raise storage_error(cache / name, error) from None


def _md5() -> Any:
    return hashlib.md5(usedforsecurity=False)


def _url(name: str) -> str:
    base = os.environ.get(MIRROR) or BEIR_URL
    if not base.startswith(("https://", "http://")):
        raise InputError(f"is an address with https:// or http://, got {base!r}", field=MIRROR)
    return f"{base.rstrip('/')}/{name}.zip"


def _download(name: str, url: str, packed: IO[bytes], place: Path, progress: Progress) -> None:
    """Bring the rest of the zip, going on after a break, until three tries bring nothing."""
    most, in_vain = packed.seek(0, os.SEEK_END), 0
    while in_vain < TRIES:
        if in_vain:
            time.sleep(WAIT_SECONDS)
        try:
            _receive(f"downloading {name}", url, packed, progress)
        except (OSError, HTTPException) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
        else:
            return
        have = packed.seek(0, os.SEEK_END)
        in_vain = 0 if have > most else in_vain + 1
        most = max(most, have)
    raise InputError(
        f"{name!r} is not a folder here, and downloading it from {url} failed ({reason}); "
        f"connect to the network, or set {MIRROR} to a mirror, and try again: it goes on after the "
        f"{most:,} bytes that have arrived. Or unpack that zip on another machine and give the "
        f"folder, or put it at {place}"
    )


def _receive(what: str, url: str, packed: IO[bytes], progress: Progress) -> None:
    """One request for what is missing; raises when the connection ends before the file does."""
    have = packed.tell()
    request = urllib.request.Request(url)  # noqa: S310 - http or https, see _url
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        opened = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)  # noqa: S310
    except urllib.error.HTTPError as error:
        error.close()
        if have and error.code == 416:  # nothing is missing; the checksum says if it is right
            return
        raise
    with opened as source:
        rest = source.status == 206
        if rest and not source.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise HTTPException(f"asked from byte {have}, got {source.headers['Content-Range']!r}")
        if not rest:
            have = 0
            packed.truncate(0)
        length = source.headers.get("Content-Length")
        total = have + int(length) if length else None
        while block := source.read(_BLOCK):
            have += len(block)
            if have > MAX_ZIP_BYTES:
                packed.truncate(0)
                raise CorruptionError(url, f"more than {MAX_ZIP_BYTES} bytes")
            _write(packed, block)
            progress(what, have, total)
    if total is not None and have < total:
        raise HTTPException(f"it ended after {have:,} of {total:,} bytes")


def _write(packed: IO[bytes], block: bytes) -> None:
    try:
        packed.write(block)
    except OSError as error:
        raise storage_error(Path(packed.name), error) from None
