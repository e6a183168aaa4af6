"""Text files of an experiment, plain or ``.gz``: numbered lines in, whole files out.

A file is written under another name beside its place and then renamed, so that a run cut off by a
full disk is never mistaken for a short run. The same lines give the same bytes, compressed or not
(gzip's time stamp and name are left out).
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from ..errors import DiskFullError, InputError, StorageError

_GZIP = b"\x1f\x8b"  # no UTF-8 text starts so


def read_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """(line number from 1, line without its end) of every non-blank line, UTF-8.

    Raises :class:`~cormorant.errors.InputError`, naming file and line: a file that cannot be read,
    a damaged ``.gz``, bytes that are not UTF-8.
    """
    path = Path(path)
    try:
        stream = path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=path) from None
    with stream:
        packed = stream.peek(2)[:2] == _GZIP or path.suffix == ".gz"
        lines: Iterable[bytes] = gzip.GzipFile(fileobj=stream) if packed else stream
        number = 0
        try:
            for number, raw in enumerate(lines, 1):
                text = raw.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                if text and not text.isspace():
                    yield number, text
        except UnicodeDecodeError as error:
            raise InputError(
                f"not UTF-8: byte 0x{error.object[error.start]:02x} at column {error.start + 1}",
                file=path,
                line=number,
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"cannot be read: {error}", file=path, line=number + 1) from None


def prepare_file(path: str | Path | None) -> None:
    """Make the folder of a file that long work is to end in, and make sure that it can be written.

    None, and ``-`` for stdout, are fine. Raises :class:`~cormorant.errors.StorageError`.
    """
    if path is None or str(path) == "-":
        return
    path = Path(path)
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if path.is_file():
            path.open("ab").close()
        elif not path.exists():  # what is neither, such as a pipe, is not touched
            prepare_folder(path.parent)
    except OSError as error:
        raise storage_error(path, error) from None


def prepare_folder(path: str | Path | None) -> None:
    """Make a folder, unless it is None, and make sure that files can be written there.

    Raises :class:`~cormorant.errors.StorageError`.
    """
    if path is None:
        return
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise storage_error(Path(path), error) from None


def write_lines(path: str | Path, lines: Iterable[str]) -> None:
    """Write lines (without their ends), UTF-8; compressed when the name ends in ``.gz``.

    Raises :class:`~cormorant.errors.StorageError` (:class:`~cormorant.errors.DiskFullError` when
    there is no space left); what was at ``path`` before is then still there.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as stream:
            _write(stream, lines, compress=path.suffix == ".gz")
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except OSError as error:
        raise storage_error(path, error) from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _write(stream: IO[bytes], lines: Iterable[str], *, compress: bool) -> None:
    if not compress:
        stream.writelines(f"{line}\n".encode() for line in lines)
        return
    with (
        gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0, compresslevel=6) as packed,
        io.BufferedWriter(packed) as buffered,
    ):
        buffered.writelines(f"{line}\n".encode() for line in lines)


def storage_error(path: Path, error: OSError) -> StorageError:
    """The error to raise when ``path`` could not be written."""
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else StorageError
    return kind(f"{path}: cannot be written: {error.strerror or error}")
