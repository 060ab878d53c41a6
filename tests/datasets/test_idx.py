"""The IDX reader against files made by hand, byte by byte, and against everything that can be wrong with one."""

from __future__ import annotations

import contextlib
import gzip
import os
import re
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ranvier.data import read_idx, write_idx
from ranvier.data.atomic import atomic_write
from ranvier.errors import ArgumentError, DataError, DTypeError

# Two 2 x 3 images, written out from the format's description rather than by our writer.
SMALL = bytes([0, 0, 8, 3]) + struct.pack(">III", 2, 2, 3) + bytes([0, 1, 2, 250, 251, 252, 7, 8, 9, 10, 11, 255])
PIXELS = [[[0, 1, 2], [250, 251, 252]], [[7, 8, 9], [10, 11, 255]]]


def put(folder: Path, data: bytes, name: str = "small-idx") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@pytest.mark.smoke
def test_reads_a_file_written_by_hand(tmp_path):
    array = read_idx(put(tmp_path, SMALL))
    assert array.dtype == np.uint8
    assert array.tolist() == PIXELS
    array[0, 0, 0] = 9  # a new, writable array


def test_reads_gzip_whatever_its_name(tmp_path):
    assert read_idx(put(tmp_path, gzip.compress(SMALL), "no-suffix")).tolist() == PIXELS
    assert read_idx(put(tmp_path, SMALL, "plain.gz")).tolist() == PIXELS


@pytest.mark.parametrize(
    "code, text, values",
    [
        (8, ">B", [0, 255]),
        (9, ">b", [-128, 127]),
        (11, ">h", [-32768, 258]),
        (12, ">i", [-(2**31), 16909060]),
        (13, ">f", [-1.5, 3.0e38]),
        (14, ">d", [-0.1, 1e300]),
    ],
)
def test_every_type_of_the_format(tmp_path, code, text, values):
    data = bytes([0, 0, code, 1]) + struct.pack(">I", 2) + b"".join(struct.pack(text, value) for value in values)
    array = read_idx(put(tmp_path, data))
    assert array.dtype.isnative
    assert array.tolist() == [struct.unpack(text, struct.pack(text, value))[0] for value in values]
    write_idx(tmp_path / "again", array)
    assert (tmp_path / "again").read_bytes() == data


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_truncated_at_every_byte(tmp_path, length):
    path = put(tmp_path, SMALL[:length])
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: (not an IDX file|truncated)") as caught:
        read_idx(path)
    assert "expected" in str(caught.value) or "needs" in str(caught.value) or "need" in str(caught.value)


def test_gzip_truncated_at_every_byte(tmp_path):
    whole = gzip.compress(SMALL, mtime=0)
    for length in range(len(whole)):
        path = put(tmp_path, whole[:length])
        with pytest.raises(DataError, match=re.escape(str(path))):
            read_idx(path)


def test_every_flipped_bit_of_a_gzip_file_is_noticed_or_harmless(tmp_path):
    whole = gzip.compress(SMALL, mtime=0)
    for position in range(len(whole)):
        for bit in range(8):
            data = bytearray(whole)
            data[position] ^= 1 << bit
            path = put(tmp_path, bytes(data))
            try:
                array = read_idx(path)
            except DataError:
                continue
            assert array.tolist() == PIXELS  # a bit of the gzip header that means nothing, such as the time


@pytest.mark.parametrize(
    "data, message",
    [
        (b"", "not an IDX file: expected at least 4 bytes, found 0"),
        (b"\x89PNG\r\n\x1a\n", "found the bytes 89 50 4e 47"),
        (bytes([0, 0, 10, 1, 0, 0, 0, 0]), "found the bytes 00 00 0a 01"),
        (bytes([0, 0, 8, 0]), "expected 1 to 32 dimensions, the header says 0"),
        (bytes([0, 0, 8, 33]) + bytes(4 * 33), "expected 1 to 32 dimensions, the header says 33"),
        (bytes([0, 0, 8, 255]), "truncated in the header: 255 dimensions need 1024 bytes, found 4"),
        (SMALL + b"\0", r"too long: shape \(2, 2, 3\) of uint8 needs 28 bytes, found 29"),
        (bytes([0, 0, 8, 1]) + b"\xff\xff\xff\xff", "more than the limit of 2,147,483,648"),
        (bytes([0, 0, 8, 2]) + b"\xff" * 8, "more than the limit"),
        (bytes([0, 0, 14, 32]) + b"\xff" * 128, "more than the limit"),
        (bytes([0, 0, 8, 3]) + b"\0\0\0\0" + b"\xff" * 8, "more than the limit"),
    ],
)
def test_malformed(tmp_path, data, message):
    path = put(tmp_path, data)
    with pytest.raises(DataError, match=message) as caught:
        read_idx(path)
    assert str(path) in str(caught.value)
    with pytest.raises(DataError, match=message.replace("found 29", "but more bytes follow")):
        read_idx(put(tmp_path, gzip.compress(data)))


def test_size_zero_axis(tmp_path):
    assert read_idx(put(tmp_path, bytes([0, 0, 8, 2]) + struct.pack(">II", 0, 28))).shape == (0, 28)


def test_gzip_trailing_garbage(tmp_path):
    with pytest.raises(DataError, match=r"damaged gzip file"):
        read_idx(put(tmp_path, gzip.compress(SMALL) + b"garbage"))


def test_gzip_bomb_is_never_inflated(tmp_path):
    """200 MB of zeros behind a header that promises 12 bytes, and a header that promises more than can be there."""
    bomb = put(tmp_path, gzip.compress(SMALL + bytes(200_000_000), 9))
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"too long: .* more bytes follow"):
            read_idx(bomb)
        promise = put(tmp_path, gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 2**30)))
        with pytest.raises(DataError, match=r"compressed bytes cannot hold that many"):
            read_idx(promise)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_max_bytes(tmp_path):
    path = put(tmp_path, SMALL)
    assert read_idx(path, max_bytes=12).shape == (2, 2, 3)
    with pytest.raises(DataError, match=r"more than the limit of 11. Raise max_bytes"):
        read_idx(path, max_bytes=11)


def test_not_a_regular_file(tmp_path):
    with pytest.raises(DataError, match=r"No such file"):
        read_idx(tmp_path / "absent")
    with pytest.raises(DataError, match=r"expected a regular file"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match=r"cannot be opened"):
        read_idx(str(tmp_path) + "\0")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match=r"expected a regular file, found a folder, pipe or device"):
        read_idx(tmp_path / "pipe")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=64))
def test_random_bytes_never_raise_anything_else(tmp_path, data):
    for content in (data, bytes([0, 0, 8, 1]) + data, b"\x1f\x8b\x08" + data):
        with contextlib.suppress(DataError):
            read_idx(put(tmp_path, content))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_round_trip(tmp_path, dtype, suffix):
    array = np.arange(-30, 30).astype(dtype).reshape(3, 4, 5)
    path = tmp_path / f"a{suffix}"
    write_idx(path, array[::-1, :, ::2])  # not contiguous
    back = read_idx(path)
    assert back.dtype == array.dtype
    assert np.array_equal(back, array[::-1, :, ::2])
    first = path.read_bytes()
    write_idx(path, array[::-1, :, ::2])
    assert path.read_bytes() == first


def test_writer_refuses(tmp_path):
    with pytest.raises(DTypeError, match=r"IDX format holds .*got ndarray\(shape=\(2,\), dtype=int64\)"):
        write_idx(tmp_path / "a", np.zeros(2, np.int64))
    with pytest.raises(DTypeError, match=r"IDX format holds"):
        write_idx(tmp_path / "a", np.array(["x"]))
    with pytest.raises(ArgumentError, match=r"expected 1 to 32 dimensions"):
        write_idx(tmp_path / "a", np.uint8(3))
    assert os.listdir(tmp_path) == []


def test_atomic_write_leaves_the_old_file_when_the_block_fails(tmp_path):
    path = put(tmp_path, b"old", "file")

    def fail():
        with atomic_write(path) as file:
            file.write(b"half of the new")
            raise KeyboardInterrupt("stop")

    with pytest.raises(KeyboardInterrupt, match="stop"):
        fail()
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(FileNotFoundError, match=r"absent"):
        with atomic_write(tmp_path / "absent" / "file") as file:
            file.write(b"x")
