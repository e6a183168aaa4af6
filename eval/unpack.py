"""Unpack a zip that came from elsewhere: plain files, inside their folder, and bounded."""

from __future__ import annotations

import os
import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import IO

from ..errors import CorruptionError

MAX_EXPANSION = 50
_BLOCK = 1 << 20


def unpack(packed: IO[bytes], name: str, folder: Path) -> None:
    """Unpack ``name/...`` of the zip ``<name>.zip`` into ``folder``.

    Members beside ``name/`` are left out. Raises :class:`~cormorant.errors.CorruptionError` for a
    path that leads elsewhere, a link or device, an encrypted or damaged member, or more than 50
    bytes for each of the zip's.
    """
    what, size = f"{name}.zip", packed.seek(0, os.SEEK_END)
    try:
        with zipfile.ZipFile(packed) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            for member in members:
                _check_member(member, what)
            if len({member.filename for member in members}) != len(members):
                raise CorruptionError(what, "a name occurs twice in this zip")
            unpacked = sum(member.file_size for member in members)
            if unpacked > MAX_EXPANSION * size:
                raise CorruptionError(what, f"unpacks to {unpacked} bytes")
            for member in members:
                path = PurePosixPath(member.filename)
                if path.parts[0] != name:
                    continue
                target = folder.joinpath(*path.parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(member) as source, target.open("xb") as sink:
                    shutil.copyfileobj(source, sink, _BLOCK)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise CorruptionError(what, f"not a zip that can be unpacked: {error}") from None
    if not (folder / name).is_dir():
        raise CorruptionError(what, f"no folder {name!r} in this zip")


def _check_member(member: zipfile.ZipInfo, what: str) -> None:
    path = PurePosixPath(member.filename)
    mode = member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename or not path.parts:
        raise CorruptionError(what, f"the path {member.filename!r} leads out of the folder")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise CorruptionError(what, f"{member.filename!r} is not a plain file")
    if member.flag_bits & 0x1:
        raise CorruptionError(what, f"{member.filename!r} is encrypted")
