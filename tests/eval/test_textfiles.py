"""Lines in with their numbers; whole files out or nothing."""

import errno
import gzip

import pytest

from cormorant.errors import DiskFullError, InputError, StorageError
from cormorant.eval.textfiles import read_lines, write_lines


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_lines_come_back(tmp_path, name):
    write_lines(tmp_path / name, ["one", "zwei ü", "三"])
    assert list(read_lines(tmp_path / name)) == [(1, "one"), (2, "zwei ü"), (3, "三")]
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_blank_lines_carriage_returns_and_a_byte_order_mark(tmp_path):
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfone\r\n\r\n \ntwo\tthree ")
    assert list(read_lines(tmp_path / "a")) == [(1, "one"), (4, "two\tthree ")]


def test_same_lines_give_the_same_compressed_bytes(tmp_path):
    for name in ("a.gz", "b.gz"):
        write_lines(tmp_path / name, [str(number) for number in range(1000)])
    assert (tmp_path / "a.gz").read_bytes() == (tmp_path / "b.gz").read_bytes()


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.txt: cannot be read: No such file"):
        list(read_lines(tmp_path / "none.txt"))


def test_bytes_that_are_not_utf8_are_named(tmp_path):
    (tmp_path / "a").write_bytes(b"one\ntw\xff\n")
    with pytest.raises(InputError, match=r"a:2: not UTF-8: byte 0xff at column 3"):
        list(read_lines(tmp_path / "a"))


def test_damaged_gzip_of_every_sort_is_an_input_error(tmp_path):
    whole = gzip.compress(b"".join(b"line %d\n" % number for number in range(5000)))
    middle = len(whole) // 2
    damaged = {
        "truncated": whole[:middle],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
        "not gzip": b"plain text\n",
        "deflate": whole[:10] + b"\xff" * 100,
    }
    for content in damaged.values():
        (tmp_path / "a.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"a\.gz"):
            list(read_lines(tmp_path / "a.gz"))


def test_a_failed_write_leaves_what_was_there(tmp_path):
    write_lines(tmp_path / "a", ["old"])

    def fail():
        yield "new"
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFullError, match=r"a: cannot be written: No space left"):
        write_lines(tmp_path / "a", fail())
    assert list(read_lines(tmp_path / "a")) == [(1, "old")]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_lines(tmp_path / "file" / "a", ["x"])
