"""The PNG writer against a small decoder written here from the specification, and against Pillow where it is there."""

from __future__ import annotations

import base64
import io
import struct
import zlib

import numpy as np
import pytest

from ranvier.diagnose import encode_png, png_data_uri
from ranvier.errors import DTypeError, ShapeError

CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def decode(data: bytes) -> np.ndarray:
    """Pixels of an 8-bit PNG without interlacing; every checksum is compared. Only filter 0 is known."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    position, parts, header = 8, b"", None
    while position < len(data):
        length, kind = struct.unpack(">I4s", data[position : position + 8])
        body = data[position + 8 : position + 8 + length]
        (checksum,) = struct.unpack(">I", data[position + 8 + length : position + 12 + length])
        assert zlib.crc32(kind + body) == checksum
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            parts += body
        position += 12 + length
    assert kind == b"IEND"
    assert position == len(data)
    width, height, depth, colour_type, *rest = header
    assert (depth, rest) == (8, [0, 0, 0])
    channels = CHANNELS[colour_type]
    lines = np.frombuffer(zlib.decompress(parts), np.uint8).reshape(height, 1 + width * channels)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, channels)


SHAPES = [(1, 1), (8, 8), (28, 28), (3, 5, 1), (3, 5, 2), (7, 2, 3), (2, 9, 4), (1, 300)]


@pytest.mark.smoke
@pytest.mark.parametrize("shape", SHAPES)
def test_decodes_to_the_same_pixels(shape):
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    assert np.array_equal(decode(encode_png(pixels)), pixels.reshape(*shape[:2], -1))
    assert np.array_equal(decode(encode_png(pixels[:, ::-1])), pixels[:, ::-1].reshape(*shape[:2], -1))


@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_reads_the_same_pixels(shape):
    image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    read = np.asarray(image.open(io.BytesIO(encode_png(pixels))))
    assert np.array_equal(read.reshape(*shape[:2], -1), pixels.reshape(*shape[:2], -1))


def test_data_uri():
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    prefix, _, data = png_data_uri(pixels).partition(",")
    assert prefix == "data:image/png;base64"
    assert np.array_equal(decode(base64.b64decode(data, validate=True))[:, :, 0], pixels)


@pytest.mark.parametrize("shape", [(), (3,), (0, 4), (4, 0), (2, 2, 5), (2, 2, 2, 2), (2, 2, 0)])
def test_not_a_picture(shape):
    with pytest.raises(ShapeError, match=r"encode_png: expected \(rows, columns\)"):
        encode_png(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool", "object", "U1"])
def test_not_pixels(dtype):
    with pytest.raises(DTypeError, match="encode_png: expected uint8 pixels"):
        encode_png(np.zeros((2, 2), dtype))
