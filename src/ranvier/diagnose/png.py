"""Writing PNG pictures, in the thirty lines that the format needs.

A PNG file is a signature and a row of chunks: the header (size, bit depth, colour type), the pixels compressed by
zlib with one filter byte in front of each row, and the end mark. Each chunk carries its length and checksum.

Source: W3C, "Portable Network Graphics (PNG) Specification", third edition.
"""

from __future__ import annotations

import base64
import struct
import zlib
from typing import Any

import numpy as np

from ranvier.errors import DTypeError, ShapeError, describe

__all__ = ["encode_png", "png_data_uri"]

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # channels -> grey, grey + alpha, RGB, RGB + alpha


def encode_png(pixels: Any) -> bytes:
    """A picture as the bytes of a PNG file.

    Args:
        pixels: uint8, ``(rows, columns)`` for grey or ``(rows, columns, channels)`` with 1 (grey), 2 (grey and
            opacity), 3 (RGB) or 4 (RGB and opacity) channels.

    Raises:
        DTypeError: not uint8.
        ShapeError: not a picture of at least one pixel.
    """
    array = np.asarray(pixels)
    if array.dtype != np.uint8:
        raise DTypeError(f"encode_png: expected uint8 pixels, got {describe(array)}. Scale to 0..255 and convert.")
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or array.shape[2] not in _COLOUR_TYPES or not array.size:
        raise ShapeError(
            f"encode_png: expected (rows, columns) or (rows, columns, 1 to 4 channels), got {describe(pixels)}."
        )
    rows, columns, channels = array.shape
    lines = np.zeros((rows, 1 + columns * channels), np.uint8)  # the first byte of a line, 0, says "not filtered"
    lines[:, 1:] = array.reshape(rows, -1)
    header = struct.pack(">IIBBBBB", columns, rows, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines.tobytes(), 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def png_data_uri(pixels: Any) -> str:
    """A picture as a ``data:`` address, to stand in a page without a file of its own.

    Args:
        pixels: as in :func:`encode_png`.

    Example:
        >>> import numpy as np
        >>> png_data_uri(np.zeros((1, 1), np.uint8))[:30]
        'data:image/png;base64,iVBORw0K'
    """
    return "data:image/png;base64," + base64.b64encode(encode_png(pixels)).decode("ascii")
